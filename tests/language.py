"""The language of the thread of a test."""

import pytest
from django.utils import translation


@pytest.fixture(autouse=True)
def english():
    """A request of the test client leaves its language behind in this thread."""
    with translation.override("en"):
        yield
