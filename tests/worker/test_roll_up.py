"""A row for each minute in which a worker has performed something."""

import logging
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone
from django_delayed import enqueue_all
from django_delayed.models import JobStat, all_stats
from django_delayed.worker import roll_up as module
from django_delayed.worker.activity import Activity
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.roll_up import RollUp
from django_delayed.worker.tally import Tally
from django_delayed.worker.work_off import work_off
from tests.blog.jobs import Plain
from tests.connections import wrapped

W1 = "1" * 32

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def activity():
    activity = Activity(slots=2)
    yield activity
    activity.close()


@pytest.fixture
def minute(monkeypatch):
    """The minute by the clock of this machine, which only `minute.now += 1` moves on."""

    class Minute:
        now = 7

    monkeypatch.setattr(module, "_minute", lambda: Minute.now)
    return Minute


@pytest.fixture
def roll_up(activity, minute):
    return RollUp(W1, activity)


def written():
    """The rows, those with the fewest jobs first."""
    columns = ("processed", "failed", "waited", "ran", "longest")
    return sorted(Tally(*row) for row in JobStat.objects.values_list(*columns))


def test_the_numbers_of_a_minute_are_written_when_it_is_over(roll_up, activity, minute):
    first, second = activity.slots
    first.count(Tally(3, 1, 6.0, 1.5, 4.0))
    second.count(Tally(1, 0, 5.0, 0.5, 5.0))
    roll_up.write_if_due()
    assert written() == []
    minute.now += 1
    roll_up.write_if_due()
    assert written() == [Tally(4, 1, 11.0, 2.0, 5.0)]
    first.count(Tally(2, 0, 1.0, 0.25, 0.5))
    roll_up.write_if_due()
    minute.now += 1
    roll_up.write_if_due()
    assert written() == [Tally(2, 0, 1.0, 0.25, 0.5), Tally(4, 1, 11.0, 2.0, 5.0)]
    assert activity.tally == Tally(6, 1, 12.0, 2.25, 0.0)


def test_a_minute_takes_one_statement_and_none_if_nothing_was_performed(
    roll_up, activity, minute, django_assert_num_queries
):
    activity.slots[0].count(Tally(1))
    with django_assert_num_queries(1):
        for _ in range(10):
            minute.now += 1
            roll_up.write_if_due()


def test_the_time_of_a_row_is_the_middle_of_the_time_that_it_counts(roll_up, activity, minute, monkeypatch):
    began = module.time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: began + 100)
    roll_up._since = began
    activity.slots[0].count(Tally(1))
    minute.now += 1
    before = timezone.now()
    roll_up.write_if_due()
    ago = timezone.now() - JobStat.objects.get().minute
    slack = timezone.now() - before + timedelta(milliseconds=5)
    assert timedelta(seconds=50) - slack <= ago <= timedelta(seconds=50) + slack


def test_jobs_that_another_process_has_settled_are_counted_too(roll_up, activity, minute):
    activity.slots[0].count(Tally(1))
    roll_up.count(Tally(1, 1, 9.0, 0.0, 9.0))
    minute.now += 1
    roll_up.write_if_due()
    activity.slots[0].count(Tally(1))
    minute.now += 1
    roll_up.write_if_due()
    assert written() == [Tally(1), Tally(2, 1, 9.0, 0.0, 9.0)]


def test_a_worker_that_has_ended_leaves_nothing_uncounted(roll_up, activity):
    activity.slots[0].count(Tally(3, 1, 6.0, 1.5, 4.0))
    last = activity.tally
    roll_up.end(last)
    roll_up.end(last)
    assert written() == [Tally(3, 1, 6.0, 1.5, 4.0)]


class Lost:
    """Loses the answer to the first INSERT; with `before`, the INSERT itself."""

    def __init__(self, before=False):
        self.before = before
        self.inserts = 0

    def __call__(self, execute, sql, *how):
        if not sql.startswith("INSERT"):
            return execute(sql, *how)
        self.inserts += 1
        answer = None if self.before else execute(sql, *how)
        if self.inserts == 1:
            raise OperationalError("gone")
        return answer or execute(sql, *how)


@pytest.mark.parametrize("before", [True, False], ids=["before the insert", "after the insert"])
def test_a_row_whose_answer_is_lost_is_written_once(roll_up, activity, minute, before):
    activity.slots[0].count(Tally(1))
    minute.now += 1
    with wrapped(Lost(before)):
        with pytest.raises(OperationalError):
            roll_up.write_if_due()
        activity.slots[0].count(Tally(5))
        roll_up.write_if_due()
    assert written() == [Tally(1)]
    minute.now += 1
    roll_up.write_if_due()
    assert written() == [Tally(1), Tally(5)]


def test_a_worker_ends_without_its_numbers_if_the_database_refuses_them(roll_up, activity, caplog):
    activity.slots[0].count(Tally(1))
    with wrapped(Lost(before=True)), caplog.at_level(logging.WARNING, "django_delayed"):
        roll_up.end(activity.tally)
    assert "performed in its last minute is not counted: gone" in caplog.text
    assert written() == []


def test_counting_a_job_costs_no_statement():
    counted = []

    def note(execute, sql, *how):
        counted.append("jobstat" in sql)
        return execute(sql, *how)

    enqueue_all([Plain(number) for number in range(20)])
    with wrapped(note):
        work_off(Configuration())
    assert sum(counted) == 1
    row = JobStat.objects.get()
    assert (row.processed, row.failed) == (20, 0)
    assert row.waited > 0


def test_rows_are_removed_after_three_days():
    now = timezone.now()
    for hours in (71, 73, 1000):
        numbers = dict.fromkeys(("processed", "failed", "waited", "ran", "longest"), 1)
        JobStat.objects.create(id=hours, minute=now - timedelta(hours=hours), **numbers)
    assert all_stats().prune() == 2
    assert JobStat.objects.get().pk == 71
