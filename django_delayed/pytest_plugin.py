"""The fixture for pytest. Its entry point loads this module before there are settings."""

from __future__ import annotations

from types import ModuleType

import pytest


@pytest.fixture
def delayed_jobs(db: None) -> ModuleType:
    """The module `django_delayed.testing`, in a test that may use the database."""
    # Only now: it imports models.
    from . import testing

    return testing
