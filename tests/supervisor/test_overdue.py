"""Jobs that run too long in a worker with threads."""

from datetime import timedelta

from django_delayed.supervisor.overdue import OverdueJobs
from django_delayed.worker.slot import Current

SECOND = timedelta(seconds=1)


def job(id, age, limit=SECOND, token=1):
    return Current(id, age * SECOND, limit, token)


def test_a_job_is_found_once_when_it_has_outlived_its_limit_and_not_again():
    overdue = OverdueJobs()
    assert overdue.find([job(7, 1), job(8, 99, limit=None), job(9, 0)]) == []
    assert overdue.find([job(7, 1.1), job(9, 0)]) == [job(7, 1.1)]
    assert overdue.find([job(7, 1.2), job(9, 2)]) == [job(9, 2)]
    assert overdue.find([job(7, 1.3), job(9, 3)]) == []


def test_the_same_row_by_another_claim_is_another_job():
    overdue = OverdueJobs()
    assert len(overdue.find([job(7, 2)])) == 1
    assert len(overdue.find([job(7, 2, token=2)])) == 1
    assert len(overdue.find([job(7, 2, token=2)])) == 0


def test_only_overdue_jobs_are_left_once_the_others_have_ended():
    overdue = OverdueJobs()
    assert not overdue.are_all_of([])
    overdue.find([job(7, 2), job(8, 0)])
    assert not overdue.are_all_of([job(7, 2), job(8, 0)])
    # A job that is being settled has no limit: that may last as long as the database is unavailable.
    assert not overdue.are_all_of([job(7, 2), job(8, 5, limit=None)])
    assert not overdue.are_all_of([job(7, 0.1, token=2)])
    assert overdue.are_all_of([job(7, 9)])
    assert overdue.are_all_of([])
