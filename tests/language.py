"""The language of the thread of a test."""

import pytest
from django.utils import translation


@pytest.fixture(autouse=True)
def english():
    """Set the language, because a request of the test client leaves its own behind in this thread."""
    with translation.override("en"):
        yield
