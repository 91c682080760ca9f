"""Why a worker ends between two batches although there is work."""

import pytest
from django_delayed.worker import ending as module
from django_delayed.worker.configuration import USED_UP, Configuration
from django_delayed.worker.ending import Ending


def test_without_limits_it_goes_on():
    ending = Ending(Configuration(), None)
    ending.performed(10**6)
    assert ending.exit_code() is None
    assert ending.limit(100) == 100


def test_it_claims_no_more_than_it_may_perform_and_ends_then(caplog):
    caplog.set_level("INFO", "django_delayed")
    ending = Ending(Configuration(max_jobs=7), None)
    assert ending.limit(5) == 5
    ending.performed(5)
    assert ending.exit_code() is None
    assert ending.limit(5) == 2
    ending.performed(2)
    assert ending.exit_code() == USED_UP
    assert "7 jobs performed: another worker takes the place of this one" in caplog.text


@pytest.mark.parametrize(("taken", "code"), [(99, None), (100, None), (101, USED_UP)])
def test_it_ends_when_it_has_taken_more_memory_than_it_may(monkeypatch, caplog, taken, code):
    caplog.set_level("INFO", "django_delayed")
    monkeypatch.setattr(module, "memory_taken", lambda: taken * 1024 * 1024)
    ending = Ending(Configuration(max_memory=100 * 1024 * 1024), None)
    # Else no worker might ever perform anything.
    assert ending.exit_code() is None
    ending.performed(1)
    assert ending.exit_code() == code
    assert ("101 MB taken" in caplog.text) is (code == USED_UP)
