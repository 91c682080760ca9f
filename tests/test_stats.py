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


def failed(fingerprint, **columns):
    return job(State.FAILED, error_fingerprint=fingerprint, **columns)


def test_causes_say_how_many_jobs_failed_when_and_in_which_queues():
    now = timezone.now()
    failed("one", queue="mail", failed_at=now - 2 * HOUR)
    failed("one", queue="index", failed_at=now - 3 * HOUR)
    newest = failed("one", queue="mail", failed_at=now - HOUR)
    other = failed("other", failed_at=now)
    one, two = stats.causes(10)
    assert one == stats.Cause("one", 3, now - 3 * HOUR, now - HOUR, newest.pk, ["index", "mail"])
    assert two == stats.Cause("other", 1, now, now, other.pk, ["default"])


def test_only_failed_jobs_have_a_cause():
    for state in set(State) - {State.FAILED}:
        job(state, error_fingerprint="one")
    assert stats.causes(10) == []


def test_the_causes_of_most_failures_come_first_and_the_others_are_left_out():
    for fingerprint, count in [("few", 1), ("many", 3), ("", 2), ("newer", 1)]:
        for _ in range(count):
            failed(fingerprint)
    assert [cause.fingerprint for cause in stats.causes(3)] == ["many", "", "newer"]


def test_causes_cost_two_queries_that_read_no_wide_column(django_assert_num_queries):
    for number in range(5):
        failed(f"cause {number % 2}", last_error="x" * 1000)
    with django_assert_num_queries(2) as queries:
        stats.causes(10)
    assert not any("last_error" in query["sql"] for query in queries)


def test_ids_are_grouped_by_state_in_their_order(one_and_more_of_each_state):
    ids = list(DelayedJob.objects.order_by("-pk").values_list("pk", flat=True))
    groups = stats.ids_by_state([*ids, 10**9])
    assert {state: len(found) for state, found in groups.items()} == stats.count_by_state()
    assert all(found == sorted(found, reverse=True) for found in groups.values())
    assert list(groups) == list(State)
    one = job(State.RUNNING)
    assert stats.ids_by_state([one.pk]) == {State.RUNNING: [one.pk]}
    assert stats.ids_by_state([]) == {}


def test_ten_thousand_ids_are_grouped_in_one_query(django_assert_num_queries):
    row = job(State.FAILED)
    with django_assert_num_queries(1):
        assert stats.ids_by_state(range(1, row.pk + 10_000)) == {State.FAILED: [row.pk]}
