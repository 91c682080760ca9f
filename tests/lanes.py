"""The lanes that a process remembers."""

import pytest
from django_delayed import claiming


@pytest.fixture(autouse=True)
def no_lanes_are_remembered():
    """Forget the lanes: a long list of them is remembered for a second, which is longer than a test."""
    claiming.forget_lanes()
    yield
    claiming.forget_lanes()
