"""The lanes that a process remembers."""

import pytest
from django_delayed import claiming


@pytest.fixture(autouse=True)
def no_lanes_are_remembered():
    """A long list of lanes is good for a second: longer than a test."""
    claiming.forget_lanes()
    yield
    claiming.forget_lanes()
