from datetime import timedelta

import pytest
from django.utils import timezone
from django_delayed import stats
from django_delayed.databases import Filters
from django_delayed.models import DelayedJob
from django_delayed.states import State

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def job(state, queue="default", **columns):
    now = timezone.now()
    times = {
        State.SCHEDULED: {"run_at": now + HOUR},
        State.ENQUEUED: {"run_at": now - HOUR},
        State.RETRYING: {"run_at": now + HOUR, "attempts": 1},
        State.RUNNING: {"run_at": now - HOUR, "attempts": 1, "locked_at": now, "locked_by": "w"},
        State.FAILED: {"run_at": now - HOUR, "attempts": 25, "failed_at": now},
        State.FINISHED: {"run_at": now - HOUR, "attempts": 1, "finished_at": now, "keep_for": HOUR},
    }
    return DelayedJob.objects.create(name="Import", payload="{}", queue=queue, **(times[state] | columns))


@pytest.fixture
def one_and_more_of_each_state():
    for number, state in enumerate(State, 1):
        for _ in range(number):
            job(state, queue="even" if number % 2 == 0 else "odd")


def test_the_counts_are_those_of_the_named_querysets(one_and_more_of_each_state):
    counts = stats.count_by_state()
    assert counts == {state: getattr(DelayedJob.objects, state.value)().count() for state in State}
    assert list(counts.values()) == [1, 2, 3, 4, 5, 6]


def test_all_states_are_counted_in_one_query(one_and_more_of_each_state, django_assert_num_queries):
    with django_assert_num_queries(1):
        stats.count_by_state()


def test_states_without_jobs_count_zero():
    assert stats.count_by_state() == dict.fromkeys(State, 0)


def test_only_the_given_jobs_are_counted(one_and_more_of_each_state):
    counts = stats.count_by_state(DelayedJob.objects.filter(queue="odd"))
    assert counts[State.SCHEDULED] == 1
    assert counts[State.ENQUEUED] == 0


def test_latency_is_the_wait_of_the_job_that_fell_due_first():
    job(State.ENQUEUED, queue="mail", run_at=timezone.now() - 3 * HOUR)
    job(State.ENQUEUED, queue="index", run_at=timezone.now() - 2 * HOUR)
    assert 2.9 * HOUR < stats.latency() < 3.5 * HOUR
    assert 1.9 * HOUR < stats.latency(Filters(queues=("index",))) < 2.5 * HOUR


def test_nothing_due_is_no_latency():
    for state in set(State) - {State.ENQUEUED}:
        job(state)
    assert stats.latency() == timedelta(0)


def test_queues_are_named_whatever_state_their_jobs_are_in(settings):
    settings.DJANGO_DELAYED = {"DEFAULT_QUEUE": "standard", "QUEUE_ATTRIBUTES": {"mail": {"priority": -5}}}
    for state in State:
        job(state, queue=f"of-{state.value}")
    assert stats.queues() == sorted(["standard", "mail", *(f"of-{state.value}" for state in State)])


def test_queues_cost_the_same_queries_whatever_the_table_holds(django_assert_num_queries):
    with django_assert_num_queries(4):
        stats.queues()
    for number in range(20):
        job(State.ENQUEUED, queue=f"queue-{number}")
        job(State.FAILED, queue=f"queue-{number}")
    with django_assert_num_queries(4):
        stats.queues()
