import json
import logging
from datetime import timedelta

import pytest
from django.db import InterfaceError, OperationalError, ProgrammingError
from django_delayed import DeserializationError, Job, JobTimeout, RecordNotFound
from django_delayed.conf import CENTURY
from django_delayed.execution.deaths import decide_after_crash, decide_after_kill
from django_delayed.execution.outcomes import Discarded, Failed, Rescheduled, decide, is_given_up
from django_delayed.models import DelayedJob
from tests.blog.jobs import Discarded as DiscardingJob
from tests.blog.jobs import DiscardedWithItsRecord, DiscardedWithWhateverIsGone, Impatient, Leaving, Plain


def row(attempts=1, max_attempts=25):
    return DelayedJob(pk=1, name="a job", attempts=attempts, max_attempts=max_attempts)


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 6), (2, 21), (3, 86), (4, 261), (10, 10_005), (24, 331_781)]
)
def test_the_waits_are_those_of_delayed_job(attempt, seconds):
    outcome = decide(row(attempt), Plain(), ValueError("x"))
    assert (type(outcome), outcome.wait) == (Rescheduled, timedelta(seconds=seconds))
    assert (outcome.error.error_class, outcome.error.message) == ("ValueError", "x")


def test_the_waits_of_25_attempts_are_20_days():
    waits = [decide(row(attempt), Plain(), ValueError()).wait for attempt in range(1, 25)]
    assert 20.4 < sum(waits, timedelta(0)) / timedelta(days=1) < 20.5


def test_the_last_attempt_fails_for_good():
    assert isinstance(decide(row(24, 25), Plain(), ValueError()), Rescheduled)
    assert isinstance(decide(row(25, 25), Plain(), ValueError()), Failed)
    assert isinstance(decide(row(26, 25), Plain(), ValueError()), Failed)
    assert isinstance(decide(row(1, 1), Plain(), ValueError()), Failed)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, JobTimeout, GeneratorExit, MemoryError])
def test_whatever_a_job_raises_is_tried_again(error):
    outcome = decide(row(), Plain(), error("x"))
    assert isinstance(outcome, Rescheduled)
    assert outcome.error.error_class == error.__name__


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DeserializationError, Failed),
        (RecordNotFound, Failed),
        (ImportError, Rescheduled),
        (SystemExit, Rescheduled),
        (KeyError, Rescheduled),
        (ConnectionError, Rescheduled),
        (OperationalError, Rescheduled),
        (InterfaceError, Rescheduled),
        (ProgrammingError, Rescheduled),
    ],
)
def test_only_what_is_gone_fails_at_once_when_a_job_cannot_be_loaded(error, kind):
    outcome = decide(row(), None, error("x"))
    assert (type(outcome), outcome.job) == (kind, None)
    if kind is Rescheduled:
        assert outcome.wait == timedelta(seconds=6)
        assert isinstance(decide(row(25), None, error("x")), Failed)


def test_a_job_is_discarded_on_the_errors_that_it_names_and_their_subclasses():
    job = DiscardingJob("lookup")
    assert isinstance(decide(row(), job, KeyError("x")), Discarded)
    assert isinstance(decide(row(25), job, LookupError("x")), Discarded)
    assert isinstance(decide(row(), job, ValueError("x")), Rescheduled)


@pytest.mark.parametrize("job_class", [DiscardedWithItsRecord, DiscardedWithWhateverIsGone])
def test_a_job_is_discarded_when_its_record_is_gone_if_it_says_so(job_class):
    written = DelayedJob(pk=1, name="a job", payload=job_class(1).dump(), attempts=1, max_attempts=25)
    outcome = decide(written, None, RecordNotFound("blog.post:9"))
    assert (type(outcome), outcome.job) == (Discarded, None)
    assert isinstance(decide(written, None, DeserializationError("signature")), Failed) is (
        job_class is DiscardedWithItsRecord
    )


def test_a_job_is_not_discarded_because_the_database_is_unavailable_while_it_is_loaded():
    written = DelayedJob(
        pk=1, name="a job", payload=DiscardedWithWhateverIsGone(1).dump(), attempts=1, max_attempts=25
    )
    assert isinstance(decide(written, None, OperationalError("x")), Rescheduled)


@pytest.mark.parametrize("error", [OperationalError, DeserializationError, PermissionError])
def test_a_job_that_was_loaded_is_discarded_on_an_error_of_the_database_that_it_names(error):
    job = DiscardedWithWhateverIsGone(1)
    outcome = decide(row(), job, error("x"))
    assert (type(outcome), outcome.job) == (Discarded, job)
    assert isinstance(decide(row(), job, ProgrammingError("x")), Rescheduled)


def test_a_job_that_could_not_be_loaded_is_discarded_on_an_error_of_a_model_that_it_names():
    payload = DiscardedWithWhateverIsGone(1).dump()
    written = DelayedJob(pk=1, name="a job", payload=payload, attempts=1, max_attempts=25)
    assert isinstance(decide(written, None, PermissionError("key server")), Discarded)
    assert isinstance(decide(written, None, KeyError("x")), Rescheduled)


def test_code_that_exits_when_it_is_imported_does_not_end_the_worker(monkeypatch, tmp_path, settings):
    (tmp_path / "trusted_and_leaving.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    settings.DJANGO_DELAYED = {"TRUSTED_MODULES": ["trusted_and_leaving"]}
    payload = json.dumps({"v": 1, "job": "trusted_and_leaving:Job", "args": [], "kwargs": {}})
    written = DelayedJob(pk=1, name="a job", payload=payload, attempts=1, max_attempts=25)
    with pytest.raises(SystemExit):
        Job.load(written, lambda block: None)
    assert isinstance(decide(written, None, SystemExit(3)), Rescheduled)


@pytest.mark.parametrize(
    ("number", "wait", "logged"),
    [
        (0, timedelta(minutes=3), False),
        (1, timedelta(seconds=90), False),
        (2, timedelta(0), False),
        (3, timedelta(seconds=6), True),
        (4, CENTURY, False),
    ],
)
def test_a_job_may_say_how_long_to_wait(caplog, number, wait, logged):
    assert decide(row(), Impatient(number), ValueError()).wait == wait
    assert ("its wait_before_retry() is broken; the default wait is used" in caplog.text) is logged


def test_a_policy_that_exits_does_not_end_the_worker(caplog):
    caplog.set_level(logging.CRITICAL)
    assert decide(row(), Leaving(), ValueError()).wait == timedelta(seconds=6)


def test_any_number_of_attempts_has_a_wait():
    assert decide(row(10**6, 2 * 10**6), Plain(), ValueError()).wait == CENTURY
    assert decide(row(2**31 - 2, 2**31 - 1), None, OperationalError()).wait == CENTURY


# After the worker's process died


def crashed(attempts=1, max_attempts=25, crashes=0):
    return DelayedJob(pk=1, name="a job", attempts=attempts, max_attempts=max_attempts, crashes=crashes)


def test_a_crash_is_tried_again_at_once_and_the_second_after_half_a_minute():
    assert decide_after_crash(crashed(), "its worker fell").wait == timedelta(0)
    assert decide_after_crash(crashed(crashes=1), "its worker fell").wait == timedelta(seconds=30)


def test_a_job_is_given_up_after_its_third_crash():
    outcome = decide_after_crash(crashed(crashes=2), "its worker fell")
    assert outcome.wait is None
    assert is_given_up(outcome)
    assert not is_given_up(decide_after_crash(crashed(crashes=1), "its worker fell"))


def test_a_crash_spends_the_last_attempt():
    assert is_given_up(decide_after_crash(crashed(attempts=1, max_attempts=1), "its worker fell"))


def test_the_error_of_a_crash_says_why_the_job_did_not_end():
    error = decide_after_crash(crashed(), "its worker was killed by SIGKILL").error
    assert error.error_class == "WorkerCrashed"
    assert error.message == "The job did not end: its worker was killed by SIGKILL."


def test_a_job_that_was_killed_at_its_deadline_is_tried_again_like_after_any_error():
    outcome = decide_after_kill(row(2), timedelta(seconds=90))
    assert (type(outcome), outcome.job, outcome.wait) == (Rescheduled, None, timedelta(seconds=21))
    assert outcome.error.message == "a job ran longer than its max_run_time of 90 s, and was killed."
    assert isinstance(decide_after_kill(row(25), timedelta(seconds=90)), Failed)
