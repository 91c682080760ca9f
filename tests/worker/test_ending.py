"""Why a worker ends between two batches although there is work."""

import threading

import pytest
from django_delayed.worker import ending as module
from django_delayed.worker.configuration import CANNOT_FORK, USED_UP, Configuration
from django_delayed.worker.ending import Ending


def test_without_limits_it_goes_on():
    ending = Ending(Configuration(), None)
    ending.claimed(10**6)
    ending.performed(10**6, of=10**6)
    assert ending.exit_code() is None
    assert ending.limit(100) == 100


def test_it_claims_no_more_than_it_may_perform_and_ends_then(caplog):
    caplog.set_level("INFO", "django_delayed")
    ending = Ending(Configuration(max_jobs=7), None)
    assert ending.limit(5) == 5
    ending.claimed(5)
    ending.performed(5, of=5)
    assert ending.exit_code() is None
    assert ending.limit(5) == 2
    ending.claimed(2)
    ending.performed(2, of=2)
    assert ending.exit_code() == USED_UP
    assert "7 jobs performed: another worker replaces this one" in caplog.text


@pytest.mark.parametrize(("taken", "code"), [(99, None), (100, None), (101, USED_UP)])
def test_it_ends_when_it_has_taken_more_memory_than_it_may(monkeypatch, caplog, taken, code):
    caplog.set_level("INFO", "django_delayed")
    monkeypatch.setattr(module, "memory_taken", lambda: taken * 1024 * 1024)
    ending = Ending(Configuration(max_memory=100 * 1024 * 1024), None)
    # Otherwise a worker might end before it has performed anything.
    assert ending.exit_code() is None
    ending.claimed(1)
    ending.performed(1, of=1)
    assert ending.exit_code() == code
    assert ("101 MB taken" in caplog.text) is (code == USED_UP)


def test_a_worker_that_forks_ends_when_it_has_threads(caplog):
    ending = Ending(Configuration(isolate=True), None)
    over = threading.Event()
    before = ending.exit_code()
    thread = threading.Thread(target=over.wait, name="exporter")
    thread.start()
    try:
        assert ending.exit_code() == CANNOT_FORK
        assert Ending(Configuration(), None).exit_code() is None
    finally:
        over.set()
        thread.join()
    assert "exporter. Let only jobs and receivers of their signals start threads" in caplog.text
    assert ending.exit_code() == before
