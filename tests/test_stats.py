from datetime import timedelta

import pytest
from django.utils import timezone
from django_delayed import claiming, stats
from django_delayed.databases import Filters, virtual_time
from django_delayed.models import DelayedJob, FailedAttempt, JobStat
from django_delayed.states import State
from django_delayed.stats import counts, failures, waiting

pytestmark = pytest.mark.django_db

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


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


def test_the_latency_is_zero_when_nothing_is_due():
    for state in set(State) - {State.ENQUEUED}:
        job(state)
    assert stats.latency() == timedelta(0)


def test_queues_are_named_whatever_state_their_jobs_are_in(settings):
    settings.DJANGO_DELAYED = {"DEFAULT_QUEUE": "standard", "QUEUE_ATTRIBUTES": {"mail": {"priority": -5}}}
    for state in State:
        job(state, queue=f"of-{state.value}")
    assert stats.queues() == sorted(["standard", "mail", *(f"of-{state.value}" for state in State)])


def test_queues_take_the_same_queries_whatever_the_table_holds(django_assert_num_queries):
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
    assert (one.fingerprint, one.jobs, one.newest) == ("one", 3, newest.pk)
    assert (one.first, one.last, one.queues) == (now - 3 * HOUR, now - HOUR, {"mail": 2, "index": 1})
    assert (two.fingerprint, two.newest, two.queues) == ("other", other.pk, {"default": 1})


def test_causes_say_how_many_jobs_failed_in_the_last_hour_and_on_each_day():
    now = timezone.now()
    ages = [HOUR / 2, 2 * HOUR, 23 * HOUR, 25 * HOUR, 6.5 * stats.DAY, 8 * stats.DAY]
    for age in ages:
        failed("one", failed_at=now - age)
    for cause in (*stats.causes(10), stats.cause("one")):
        assert (cause.jobs, cause.hour, cause.days) == (6, 1, [1, 0, 0, 0, 0, 1, 3])
        assert now <= cause.now < now + HOUR


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("jobs", ["old", "busy", "new"]),
        ("hour", ["busy", "new", "old"]),
        ("last", ["busy", "new", "old"]),
        ("first", ["new", "busy", "old"]),
    ],
)
def test_causes_can_be_sorted(by, names):
    now = timezone.now()
    ages = {"old": [50, 40, 30, 20], "busy": [2, 0.1, 0.2], "new": [0.9]}
    for fingerprint, hours in ages.items():
        for age in hours:
            failed(fingerprint, failed_at=now - age * HOUR)
    assert [cause.fingerprint for cause in stats.causes(10, by)] == names


@pytest.mark.parametrize("by", ["", "-jobs", "queue", None])
def test_causes_are_not_sorted_by_anything_else(by):
    with pytest.raises(ValueError, match="by must be one of jobs, hour, last, first, not"):
        stats.causes(10, by)


def test_one_cause_has_its_queues_in_the_order_of_their_jobs():
    for queue, count in [("a", 1), ("b", 3), ("c", 2)]:
        for _ in range(count):
            failed("one", queue=queue)
    failed("other", queue="d")
    cause = stats.cause("one")
    assert (cause.jobs, [*cause.queues.items()]) == (6, [("b", 3), ("c", 2), ("a", 1)])
    assert stats.cause("none") is None


def test_a_cause_says_on_which_hosts_and_workers_its_jobs_failed():
    now = timezone.now()
    for number, (hostname, worker) in enumerate(
        [("web-1", "a"), ("web-2", "b"), ("web-2", "b"), ("web-2", "c")]
    ):
        row = failed("one")
        attempts = {"delayed_job": row, "ended_at": now, "error_class": "E"}
        FailedAttempt.objects.create(**attempts, number=1, hostname="of an earlier attempt", worker="d")
        FailedAttempt.objects.create(
            **attempts, number=2, hostname=hostname, worker=worker, error=f"E {number}"
        )
    assert stats.failed_on("one") == [("web-2", "b", 2), ("web-1", "a", 1), ("web-2", "c", 1)]
    assert stats.failed_on("none") == []


def test_jobs_that_will_be_tried_again_have_causes_too():
    first = job(State.RETRYING, "mail", error_fingerprint="one")
    newest = job(State.RETRYING, "index", error_fingerprint="one")
    job(State.RETRYING, "mail", error_fingerprint="one", run_at=timezone.now())
    other = job(State.RETRYING, error_fingerprint="other")
    failed("one")
    causes = stats.retrying_causes()
    assert causes["one"].jobs == 3
    assert causes["one"].newest > newest.pk > first.pk
    assert sorted(causes["one"].queues) == ["index", "mail"]
    assert causes["other"] == stats.RetryingCause(1, other.pk, ["default"])


def test_causes_of_retrying_jobs_read_a_limited_number_of_rows(monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(failures, "MOST_RETRYING", 2)
    for _ in range(3):
        job(State.RETRYING, error_fingerprint="one")
    with django_assert_num_queries(1):
        assert stats.retrying_causes()["one"].jobs == 2


def test_only_failed_jobs_have_a_cause():
    for state in set(State) - {State.FAILED}:
        job(state, error_fingerprint="one")
    assert stats.causes(10) == []


def test_the_causes_of_most_failures_come_first_and_the_others_are_left_out():
    for fingerprint, count in [("few", 1), ("many", 3), ("", 2), ("newer", 1)]:
        for _ in range(count):
            failed(fingerprint)
    assert [cause.fingerprint for cause in stats.causes(3)] == ["many", "", "newer"]


def test_causes_take_two_queries_that_read_no_wide_column(django_assert_num_queries):
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


def test_the_numbers_of_each_queue():
    for state, count in [(State.ENQUEUED, 3), (State.SCHEDULED, 2), (State.RUNNING, 1)]:
        for number in range(count):
            job(state, queue="mail", priority=number)
    failed("one", queue="images")
    job(State.FINISHED, queue="done")
    claiming.forget_lanes()
    numbers = stats.queue_numbers(stats.lanes(), 10)
    assert list(numbers) == ["mail", "images"]
    assert (numbers["mail"].waiting, numbers["mail"].due, numbers["mail"].running) == (5, 3, 1)
    assert 0.9 * HOUR < numbers["mail"].oldest < 1.5 * HOUR
    assert numbers["images"] == stats.QueueNumbers(failed=1)


def test_failed_jobs_are_counted_by_queue_among_those_that_failed_last(monkeypatch):
    for number, queue in enumerate(["old", "mail", "mail", "images"]):
        job(State.FAILED, queue=queue, failed_at=timezone.now() + number * HOUR)
    monkeypatch.setattr(waiting, "MOST_COUNTED", 3)
    numbers = stats.queue_numbers([], 10)
    assert {name: each.failed for name, each in numbers.items()} == {"images": 1, "mail": 2}


def test_the_numbers_of_the_queues_take_four_statements(django_assert_num_queries):
    for number in range(30):
        for state in (State.ENQUEUED, State.RUNNING, State.FAILED):
            job(state, queue=f"queue {number}", priority=number % 3)
    claiming.forget_lanes()
    with django_assert_num_queries(4):
        assert len(stats.queue_numbers(stats.lanes(), 20)) == 20


def test_the_newest_of_some_rows_come_first():
    first, second, third = (job(State.RETRYING) for _ in range(3))
    found = stats.newest_first(DelayedJob.objects.exclude(pk=second.pk))
    assert [row.pk for row in found] == [third.pk, first.pk]


def test_many_counts_take_one_statement_and_stop(monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(counts, "MOST_COUNTED", 2)
    for state, count in [(State.ENQUEUED, 4), (State.FAILED, 2)]:
        for _ in range(count):
            job(state)
    rows = stats.by_index(DelayedJob.objects.all(), "delayed_job_lanes")
    with django_assert_num_queries(1):
        assert stats.capped_counts([rows.waiting(), rows.failed(), rows.running()]) == [3, 2, 0]
    with django_assert_num_queries(0):
        assert stats.capped_counts([]) == []
    with django_assert_num_queries(2):
        assert stats.capped_counts([rows.failed()] * 501) == [2] * 501


# What was performed.


def minute(now, ago, **numbers):
    """Write the row of a minute that was so long ago."""
    given = {"processed": 1, "failed": 0, "waited": 0.0, "ran": 0.0, "longest": 0.0} | numbers
    return JobStat.objects.create(id=JobStat.objects.count() + 1, minute=now - ago, **given)


@pytest.fixture
def now():
    """A time in the middle of a minute, when all rows of the minute before are written."""
    here = timezone.now()
    if not 15 <= here.second < 50:
        # Virtual time: the clock of the database goes ahead for this process.
        ahead = timedelta(seconds=(75 - here.second) % 60)
        with virtual_time() as time:
            time.advance(ahead)
            yield here + ahead
    else:
        yield here


@pytest.mark.parametrize(("name", "unit", "count"), [("hour", MINUTE, 60), ("day", HOUR, 24)])
def test_performed_jobs_are_counted_in_their_minute_or_hour(now, name, unit, count):
    last = now - MINUTE - timedelta(seconds=10)
    last = last.replace(second=0, microsecond=0, **({} if unit == MINUTE else {"minute": 0}))
    minute(last, -SECOND, processed=3, failed=1, waited=6.0, longest=4.0)
    minute(last, -2 * SECOND, processed=2, waited=1.0, longest=1.0)
    minute(last, 5 * unit, processed=7)
    minute(last, (count - 1) * unit, processed=9)
    minute(last, count * unit, processed=1000)
    performed = stats.throughput(stats.SPANS[name])
    assert len(performed) == count
    assert [each.at for each in performed] == [last - n * unit for n in range(count - 1, -1, -1)]
    assert performed[-1] == stats.Performed(last, 5, 1, 7.0, 4.0)
    assert performed[-1].average == 1.4
    assert (performed[-6].processed, performed[0].processed) == (7, 9)
    assert stats.total(performed) == stats.Performed(performed[0].at, 21, 1, 7.0, 4.0)


def test_the_minute_that_is_not_over_is_left_out(now):
    minute(now, timedelta(0))
    assert stats.throughput(stats.SPANS["hour"]) == []


def test_without_a_job_nothing_was_performed():
    for span in stats.SPANS.values():
        assert stats.throughput(span) == []
    assert stats.Performed(timezone.now()).average == 0.0


def test_three_days_take_one_statement(now, django_assert_num_queries):
    for hours in range(1, 72):
        minute(now, hours * HOUR)
    with django_assert_num_queries(1):
        performed = stats.throughput(stats.SPANS["three-days"])
    assert len(performed) == 72
    assert stats.total(performed).processed == 71
