import logging
from datetime import timedelta

import pytest
from django.db import InterfaceError, OperationalError, ProgrammingError
from django_delayed import DeserializationError, JobTimeout, RecordNotFound
from django_delayed.models import DelayedJob
from django_delayed.outcomes import LONGEST_WAIT, Discarded, Failed, Retried, choose
from tests.blog.jobs import Discarded as DiscardingJob
from tests.blog.jobs import Impatient, Leaving, Plain


def row(attempts=1, max_attempts=25):
    return DelayedJob(name="a job", attempts=attempts, max_attempts=max_attempts)


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 6), (2, 21), (3, 86), (4, 261), (10, 10_005), (24, 331_781)]
)
def test_the_waits_are_those_of_delayed_job(attempt, seconds):
    outcome = choose(row(attempt), Plain(), ValueError("x"))
    assert (type(outcome), outcome.wait) == (Retried, timedelta(seconds=seconds))
    assert (outcome.error.error_class, outcome.error.message) == ("ValueError", "x")


def test_the_waits_of_25_attempts_are_20_days():
    waits = [choose(row(attempt), Plain(), ValueError()).wait for attempt in range(1, 25)]
    assert 20.4 < sum(waits, timedelta(0)) / timedelta(days=1) < 20.5


def test_the_last_attempt_fails_for_good():
    assert isinstance(choose(row(24, 25), Plain(), ValueError()), Retried)
    assert isinstance(choose(row(25, 25), Plain(), ValueError()), Failed)
    assert isinstance(choose(row(26, 25), Plain(), ValueError()), Failed)
    assert isinstance(choose(row(1, 1), Plain(), ValueError()), Failed)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, JobTimeout, GeneratorExit, MemoryError])
def test_whatever_a_job_raises_is_tried_again(error):
    outcome = choose(row(), Plain(), error("x"))
    assert isinstance(outcome, Retried)
    assert outcome.error.error_class == error.__name__


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DeserializationError, Failed),
        (RecordNotFound, Failed),
        (ImportError, Failed),
        (SystemExit, Failed),
        (OperationalError, Retried),
        (InterfaceError, Retried),
        (ProgrammingError, Retried),
    ],
)
def test_what_cannot_be_loaded_fails_at_once_unless_the_database_is_away(error, kind):
    outcome = choose(row(), None, error("x"))
    assert (type(outcome), outcome.job) == (kind, None)
    if kind is Retried:
        assert outcome.wait == timedelta(seconds=6)
        assert isinstance(choose(row(25), None, error("x")), Failed)


def test_a_job_is_discarded_on_the_errors_that_it_names_and_their_subclasses():
    job = DiscardingJob("lookup")
    assert isinstance(choose(row(), job, KeyError("x")), Discarded)
    assert isinstance(choose(row(25), job, LookupError("x")), Discarded)
    assert isinstance(choose(row(), job, ValueError("x")), Retried)


@pytest.mark.parametrize(
    ("number", "wait", "logged"),
    [
        (0, timedelta(minutes=3), False),
        (1, timedelta(seconds=90), False),
        (2, timedelta(seconds=6), True),
        (3, timedelta(seconds=6), True),
        (4, LONGEST_WAIT, False),
    ],
)
def test_a_job_may_say_how_long_to_wait(caplog, number, wait, logged):
    assert choose(row(), Impatient(number), ValueError()).wait == wait
    assert ("its wait_before_retry() is broken; the usual wait is taken" in caplog.text) is logged


def test_a_policy_that_ends_the_process_ends_nothing(caplog):
    caplog.set_level(logging.CRITICAL)
    assert choose(row(), Leaving(), ValueError()).wait == timedelta(seconds=6)


def test_any_number_of_attempts_has_a_wait():
    assert choose(row(10**6, 2 * 10**6), Plain(), ValueError()).wait == LONGEST_WAIT
    assert choose(row(2**31 - 2, 2**31 - 1), None, OperationalError()).wait == LONGEST_WAIT
