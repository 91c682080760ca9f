"""A worker that performs several jobs at the same time, as a process."""

import signal

import pytest
from django.db import connection
from django.utils import timezone, translation
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob, FailedAttempt, WorkerProcess
from django_delayed.operations import CANCEL
from django_delayed.states import SUSPECT
from tests.connections import sessions
from tests.playground.jobs import (
    FailingWhenTold,
    Gated,
    LongGated,
    Note,
    Pill,
    ShortGated,
    ShortSleepy,
    ShortStubborn,
    Stubborn,
    Told,
    Whereabouts,
    Work,
)
from tests.playground.processes import (
    command,
    is_alive,
    ledger,
    no_job_is_left,
    nothing_is_held,
    until,
    work,
)

__all__ = ["command", "ledger", "work"]


def gated(ledger, count, kind=Gated):
    return [kind.perform_later(str(ledger), str(ledger.gate)) for _ in range(count)]


def all_have_begun(ledger, rows):
    for row in rows:
        ledger.has(f"begin {row.pk}")


def attempts(rows):
    rows = DelayedJob.objects.filter(pk__in=[row.pk for row in rows]).order_by("pk")
    return [(row.attempts, row.crashes) for row in rows]


def test_it_performs_as_many_jobs_at_once_as_it_has_threads(work, ledger):
    run = work("--threads", "3")
    rows = gated(ledger, 4)
    until(lambda: len(ledger.lines) == 3)
    [row] = WorkerProcess.objects.all()
    assert row.pid == run.child
    # The fourth waits for one of them to end.
    assert [DelayedJob.objects.running().count(), DelayedJob.objects.enqueued().count()] == [3, 1]
    ledger.open_gate()
    until(no_job_is_left)
    assert sorted(ledger.lines) == sorted(f"{word} {row.pk}" for row in rows for word in ("begin", "end"))
    assert run.stop() == 0
    assert len(run.said("Worker [0-9a-f]{32} started: .*, all queues, 3 threads, database")) == 1
    assert len(run.said("Worker [0-9a-f]{32} stopped")) == 1
    assert nothing_is_held()


def test_many_short_jobs_are_performed_once_each(work, ledger):
    rows = enqueue_all([Work(str(ledger)) for _ in range(300)])
    run = work("--threads", "4")
    until(no_job_is_left)
    assert ledger.starts == {row.pk: 1 for row in rows}
    assert run.stop() == 0
    assert nothing_is_held()


def test_a_stop_lets_all_its_jobs_finish_and_releases_what_has_not_begun(work, ledger):
    run = work("--threads", "2")
    rows = gated(ledger, 2)
    all_have_begun(ledger, rows)
    waiting = gated(ledger, 3)
    run.send(signal.SIGTERM)
    run.has_said("was told to stop")
    ledger.open_gate()
    assert run.ends() == 0
    assert sorted(ledger.lines) == sorted(f"{word} {row.pk}" for row in rows for word in ("begin", "end"))
    assert attempts(waiting) == [(0, 0)] * 3
    assert nothing_is_held()


def test_a_stop_that_takes_too_long_releases_all_its_jobs(work, ledger):
    run = work("--threads", "3", delayed={"SHUTDOWN_TIMEOUT": 0.3})
    rows = gated(ledger, 3)
    all_have_begun(ledger, rows)
    assert run.stop() == 0
    assert attempts(rows) == [(0, 0)] * 3
    assert not FailedAttempt.objects.exists()
    assert nothing_is_held()


def test_idle_threads_end_at_once(work, ledger):
    run = work("--threads", "3", "--sleep-delay", "3600")
    Note.perform_later(str(ledger), "done")
    ledger.has("done")
    assert run.stop() == 0


def test_one_pass_performs_what_is_ready_and_ends(command, ledger):
    enqueue_all([Note(str(ledger), "done") for _ in range(50)])
    run = command("jobs_work", "--sleep-delay", "0", "--threads", "3")
    assert run.ends() == 0
    assert ledger.lines == ["done"] * 50
    assert nothing_is_held()


def test_each_job_has_its_own_connection_language_and_time_zone(work, ledger):
    kinds = [("en", "Europe/Paris"), ("de", "Asia/Tokyo"), ("fr", "America/Lima")]
    run = work("--threads", "3")
    for language, zone in kinds:
        with translation.override(language), timezone.override(zone):
            Whereabouts.perform_later(str(ledger), str(ledger.gate))
    until(lambda: len(ledger.lines) == 3)
    ledger.open_gate()
    until(no_job_is_left)
    found = [tuple(line.split()) for line in ledger.lines]
    # The first three lines are from before the gate was opened, the others from after that.
    assert sorted(one[:2] for one in found[:3]) == sorted(one[:2] for one in found[3:]) == sorted(kinds)
    assert len({one[2] for one in found[:3]}) == (3 if connection.vendor != "sqlite" else 1)
    assert sorted(found[:3]) == sorted(found[3:])
    assert run.stop() == 0


def test_after_max_jobs_it_is_replaced_when_the_last_job_has_ended(work, ledger):
    rows = gated(ledger, 3)
    run = work("--threads", "2", "--max-jobs", "3")
    until(lambda: len(ledger.lines) == 2)
    note = Note.perform_later(str(ledger), "by the next one")
    ledger.open_gate()
    ledger.has("by the next one")
    # The first thread that finds out logs it, and the other one too, unless it is told to stop before.
    assert run.said("3 jobs performed: another worker replaces this one")
    run.has_said("Worker [0-9a-f]{32} started", times=2)
    first = run.said("Worker [0-9a-f]{32} stopped")
    assert len(first) == 1, note
    assert run.lines.index(first[0]) < run.lines.index(run.said(f"Note #{note.pk} RUNNING")[0])
    until(no_job_is_left)
    assert sorted(ledger.lines[:-1]) == sorted(f"{w} {row.pk}" for row in rows for w in ("begin", "end"))
    assert run.stop() == 0
    assert nothing_is_held()


def test_a_quiet_worker_finishes_its_jobs_and_claims_no_more(work, ledger):
    run = work("--threads", "2")
    rows = gated(ledger, 2)
    all_have_begun(ledger, rows)
    run.send(signal.SIGUSR2)
    ledger.open_gate()
    until(no_job_is_left)
    run.has_said("is quiet: it claims no more")
    Note.perform_later(str(ledger), "later")
    # The thread that has the turn finds out that the worker goes on.
    assert DelayedJob.objects.enqueued().count() == 1
    run.send(signal.SIGCONT)
    ledger.has("later")
    run.has_said("goes on")
    assert run.stop() == 0


@pytest.mark.skipif(connection.vendor != "postgresql", reason="counts sessions as PostgreSQL does")
def test_idle_threads_share_one_connection(work, ledger):
    before = sessions()
    run = work("--threads", "4")
    for _ in range(4):
        Whereabouts.perform_later(str(ledger), str(ledger.gate))
    until(lambda: len(ledger.lines) == 4)
    # The supervisor has one, and each thread has one for the queue and one for its job.
    assert sessions() - before == 1 + 4 * 2
    ledger.open_gate()
    until(no_job_is_left)
    until(lambda: sessions() - before == 2)
    Note.perform_later(str(ledger), "again")
    ledger.has("again")
    assert run.stop() == 0


def test_an_error_of_one_thread_ends_the_worker_when_the_others_have_ended(work, ledger):
    run = work("--threads", "2")
    [row] = gated(ledger, 1)
    all_have_begun(ledger, [row])
    table = DelayedJob._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME COLUMN priority TO elsewhere")
    try:
        run.has_said(r"django_delayed \d: the worker ends when its other jobs have ended")
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} RENAME COLUMN elsewhere TO priority")
    ledger.open_gate()
    run.has_said("Worker .* ended with exit code 1")
    assert f"end {row.pk}" in ledger.lines
    Note.perform_later(str(ledger), "by the next one")
    ledger.has("by the next one")
    assert run.stop() == 0
    assert nothing_is_held()


# When a worker with threads dies, nobody knows which of its jobs did it.


def test_jobs_that_were_performed_when_their_worker_died_run_alone_next_and_lose_no_attempt(work, ledger):
    run = work("--threads", "3")
    rows = gated(ledger, 3)
    all_have_begun(ledger, rows)
    DelayedJob.objects.update(max_attempts=1)
    run.send(signal.SIGKILL, to=run.child)
    # One of them runs, and the others wait until it is done, however many threads there are.
    until(lambda: len(ledger.lines) == 4)
    for row in rows:
        run.has_said(
            rf"Gated #{row.pk}: its worker's process died in it or in another job; it runs alone next"
        )
    Note.perform_later(str(ledger), "beside")
    ledger.open_gate()
    until(no_job_is_left)
    after = ledger.lines[3:]
    assert [line.split()[0] for line in after if line != "beside"] == ["begin", "end"] * 3
    # No other job is performed beside one of them either.
    assert all(after[place + 1].startswith("end") for place, line in enumerate(after) if "begin" in line)
    assert after.count("beside") == 1
    assert not FailedAttempt.objects.exists()
    assert run.stop() == 0
    assert nothing_is_held()


def test_a_job_that_was_performed_alone_when_its_worker_died_has_crashed(work, ledger):
    run = work("--threads", "3")
    [row] = gated(ledger, 1)
    all_have_begun(ledger, [row])
    run.send(signal.SIGKILL, to=run.child)
    ledger.has(f"begin {row.pk}", times=2)
    assert attempts([row]) == [(2, 1)]
    ledger.open_gate()
    until(no_job_is_left)
    assert run.stop() == 0


def test_a_killer_among_others_is_started_once_more_and_given_up(work, ledger):
    other = gated(ledger, 1)
    run = work("--threads", "2")
    all_have_begun(ledger, other)
    killer = Pill.perform_later(str(ledger), "exit code 9")
    ledger.has("exit code 9")
    ledger.open_gate()

    def is_given_up():
        DelayedJob.objects.run_now()
        return list(DelayedJob.objects.failed()) == list(DelayedJob.objects.all()) == [killer]

    until(is_given_up)
    killer.refresh_from_db()
    assert ledger.lines.count("exit code 9") == 4
    assert (killer.attempts, killer.crashes, killer.extras) == (3, 3, 0)
    assert {attempt.delayed_job_id for attempt in FailedAttempt.objects.all()} == {killer.pk}
    assert run.stop() == 0
    assert nothing_is_held()


def test_a_stop_while_a_suspect_waits_for_others_releases_it(work, ledger):
    run = work("--threads", "2")
    [row] = gated(ledger, 1)
    all_have_begun(ledger, [row])
    suspect = Note.set(wait=3600).perform_later(str(ledger), "alone")
    DelayedJob.objects.filter(pk=suspect.pk).update(extras=SUSPECT, run_at=timezone.now())
    until(lambda: DelayedJob.objects.running().filter(pk=suspect.pk).exists())
    run.send(signal.SIGTERM)
    until(lambda: attempts([suspect]) == [(0, 0)])
    ledger.open_gate()
    assert run.ends() == 0
    assert "alone" not in ledger.lines
    suspect.refresh_from_db()
    assert suspect.extras == SUSPECT
    assert nothing_is_held()


# A job that runs too long.


def error_of(row):
    until(lambda: DelayedJob.objects.retrying().filter(pk=row.pk, error_class="JobTimeout").exists())
    row.refresh_from_db()
    return row.last_error.splitlines()[0]


def test_a_job_that_runs_too_long_is_settled_and_the_others_end_before_their_worker_does(work, ledger):
    other = gated(ledger, 1, LongGated)
    run = work("--threads", "2", delayed={"SHUTDOWN_TIMEOUT": 60})
    all_have_begun(ledger, other)
    child = run.child
    [row] = gated(ledger, 1, ShortGated)
    message = (
        "JobTimeout: ShortGated ran longer than its max_run_time of 0.5 s, and its worker was told to end."
    )
    assert error_of(row) == message
    assert attempts([row, *other]) == [(1, 0), (1, 0)][::-1]
    assert is_alive(child)
    note = Note.perform_later(str(ledger), "meanwhile")
    run.has_said("was told to stop, and is replaced")
    assert DelayedJob.objects.enqueued().filter(pk=note.pk).exists()
    # The gate lets the overlong job go on too, and its outcome is refused.
    ledger.open_gate()
    ledger.has(f"end {other[0].pk}")
    ledger.has("meanwhile")
    assert [attempt.delayed_job_id for attempt in FailedAttempt.objects.all()] == [row.pk]
    assert not is_alive(child)
    assert run.stop() == 0
    assert nothing_is_held()


def test_a_job_that_runs_too_long_ends_its_worker_when_no_other_is_left(work, ledger):
    [row] = gated(ledger, 1, ShortGated)
    DelayedJob.objects.update(max_attempts=1)
    run = work("--threads", "2", delayed={"SHUTDOWN_TIMEOUT": 3600})
    run.has_said("Worker [0-9a-f]{32} started", times=2)
    row.refresh_from_db()
    assert (row.state, row.attempts, row.crashes, row.error_class) == ("failed", 1, 0, "JobTimeout")
    assert run.stop() == 0
    assert nothing_is_held()


def test_the_outcome_of_a_job_that_was_already_settled_is_refused(work, ledger):
    other = gated(ledger, 1, LongGated)
    run = work("--threads", "2", delayed={"SHUTDOWN_TIMEOUT": 3600})
    all_have_begun(ledger, other)
    row = ShortSleepy.perform_later(str(ledger), "long", 3)
    assert "JobTimeout" in error_of(row)
    run.has_said(f"ShortSleepy #{row.pk} lost its claim")
    assert [entry.delayed_job_id for entry in FailedAttempt.objects.all()] == [row.pk]
    ledger.open_gate()
    run.has_said("Worker [0-9a-f]{32} started", times=2)
    assert run.stop() == 0


# Jobs that run beside one that is ended, because it runs too long or because an operator ends it.


@pytest.fixture(params=["overlong", "cancelled"])
def end_one(request, ledger):
    """Begin a job beside these, each with one attempt, and end it; gives its row and its error."""

    def end(others):
        is_overlong = request.param == "overlong"
        [row] = gated(ledger, 1, ShortStubborn if is_overlong else Stubborn)
        DelayedJob.objects.update(max_attempts=1)
        all_have_begun(ledger, [row])
        if not is_overlong:
            CANCEL.carry_out([row.pk], by="ann")
        return row, "JobTimeout" if is_overlong else "JobCancelled"

    return end


def count(ledger, rows):
    """How often each of these jobs has begun, was told to stop, and has ended."""
    lines = ledger.lines
    return [tuple(lines.count(f"{word} {row.pk}") for word in ("begin", "told", "end")) for row in rows]


def is_the_only_failure(row, error_class):
    """Whether no other job has failed, in any attempt."""
    [failed], [attempt] = DelayedJob.objects.failed(), FailedAttempt.objects.all()
    return (failed, failed.error_class, failed.attempts, attempt.delayed_job_id) == (
        *(row, error_class),
        *(1, row.pk),
    )


def test_the_other_jobs_are_told_and_have_time_to_end(work, ledger, end_one):
    others = gated(ledger, 2, Told)
    ledger.open_gate()
    run = work("--threads", "3", delayed={"SHUTDOWN_TIMEOUT": 5})
    all_have_begun(ledger, others)
    child = run.child
    row, error_class = end_one(others)
    Note.perform_later(str(ledger), "next")
    until(lambda: list(DelayedJob.objects.all()) == [row])
    assert count(ledger, others) == [(1, 1, 1)] * 2
    assert count(ledger, [row]) == [(1, 0, 0)]
    assert ledger.lines.count("next") == 1
    assert is_the_only_failure(row, error_class)
    assert not is_alive(child)
    assert run.stop() == 0
    assert not [line for line in run.said("ERROR") if str(row) not in line]
    assert nothing_is_held()


def test_other_jobs_that_do_not_end_in_time_are_released_once(work, ledger, end_one):
    others = gated(ledger, 2, LongGated)
    run = work("--threads", "3", delayed={"SHUTDOWN_TIMEOUT": 0.3})
    all_have_begun(ledger, others)
    row, error_class = end_one(others)
    run.has_said("Worker [0-9a-f]{32} started", times=2)
    for other in others:
        ledger.has(f"begin {other.pk}", times=2)
    assert attempts(others) == [(1, 0), (1, 0)]
    ledger.open_gate()
    until(lambda: list(DelayedJob.objects.all()) == [row])
    assert count(ledger, others) == [(2, 0, 1)] * 2
    assert count(ledger, [row]) == [(1, 0, 0)]
    assert is_the_only_failure(row, error_class)
    assert run.stop() == 0
    assert nothing_is_held()


def test_another_job_that_fails_meanwhile_keeps_its_own_error(work, ledger, end_one):
    [other] = gated(ledger, 1, FailingWhenTold)
    run = work("--threads", "2", delayed={"SHUTDOWN_TIMEOUT": 5})
    all_have_begun(ledger, [other])
    row, error_class = end_one([other])
    until(lambda: FailedAttempt.objects.count() == 2)
    errors = dict(DelayedJob.objects.values_list("pk", "error_class"))
    assert errors == {row.pk: error_class, other.pk: "ConnectionError"}
    assert run.stop() == 0
    assert nothing_is_held()
