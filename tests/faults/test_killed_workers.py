"""Processes that kill -9 ends: what is recovered, by whom, and how many attempts it costs the job."""

import os
import signal
from datetime import timedelta

import pytest
from django.db.models import Min
from django.utils import timezone
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob, FailedAttempt, WorkerProcess
from tests.playground.jobs import Gated, Note, Pill
from tests.playground.processes import children_of, no_job_is_left, nothing_is_held, until

SHORT_LEASE = {"LEASE": 2}


def test_a_job_whose_worker_is_killed_is_taken_up_by_another_worker_after_the_lease(work, ledger):
    host = work(delayed=SHORT_LEASE)
    job = Gated.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {job.pk}")
    dead = WorkerProcess.objects.get()
    child = host.child
    host.send(signal.SIGKILL)
    host.send(signal.SIGKILL, to=child)
    host.process.wait()
    other = work(delayed=SHORT_LEASE)
    ledger.has(f"begin {job.pk}", times=2)
    job.refresh_from_db()
    assert (job.attempts, job.crashes, job.error_class) == (2, 1, "WorkerCrashed")
    assert not WorkerProcess.objects.filter(pk=dead.pk).exists()
    ledger.open_gate()
    until(no_job_is_left)
    assert other.stop() == 0
    assert nothing_is_held()


def test_a_long_job_of_a_batch_has_spent_its_attempt_when_its_host_dies(work, ledger):
    host = work(delayed=SHORT_LEASE)
    enqueue_all([Note(str(ledger), "quick") for _ in range(30)])  # so that it claims many at once
    job = Gated.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {job.pk}")
    until(lambda: DelayedJob.objects.get(pk=job.pk).started_at)
    child = host.child
    host.send(signal.SIGKILL)
    host.send(signal.SIGKILL, to=child)
    work(delayed=SHORT_LEASE)
    ledger.has(f"begin {job.pk}", times=2)
    job.refresh_from_db()
    assert (job.attempts, job.crashes) == (2, 1)


def test_a_job_whose_worker_alone_is_killed_is_ready_again_at_once(work, ledger):
    worker = work()  # its lease is a minute, and nobody waits for that
    worker.has_said("Worker .* started")
    job = Gated.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {job.pk}")
    worker.send(signal.SIGKILL, to=worker.child)
    ledger.has(f"begin {job.pk}", times=2)
    job.refresh_from_db()
    assert (job.attempts, job.crashes) == (2, 1)
    assert "its worker was killed by SIGKILL, perhaps out of memory" in job.last_error
    ledger.open_gate()
    until(no_job_is_left)
    assert worker.stop() == 0


def test_what_was_claimed_with_the_job_that_crashed_is_released(work, ledger):
    enqueue_all([Note(str(ledger), "quick") for _ in range(30)])
    pill = Pill.perform_later(str(ledger), "SIGKILL")
    enqueue_all([Note(str(ledger), "behind") for _ in range(30)])
    DelayedJob.objects.filter(pk__gt=pill.pk).update(max_attempts=1)
    worker = work()
    ledger.has("behind", times=30)
    until(lambda: DelayedJob.objects.waiting().filter(crashes=2).exists())
    assert FailedAttempt.objects.exclude(delayed_job=pill.pk).count() == 0
    assert worker.stop() == 0


def test_a_second_crash_makes_a_job_wait(work, ledger):
    pill = Pill.perform_later(str(ledger), "exit code 9")
    work()
    until(lambda: DelayedJob.objects.waiting().filter(crashes=2).exists())
    pill.refresh_from_db()
    assert pill.run_at > timezone.now() + timedelta(seconds=20)


def test_a_worker_that_was_declared_dead_settles_nothing_and_starts_afresh(work, ledger):
    stopped = work(delayed=SHORT_LEASE)
    stopped.has_said("Worker .* started")
    job = Gated.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {job.pk}")
    child, dead = stopped.child, WorkerProcess.objects.get().pk
    stopped.send(signal.SIGSTOP)
    stopped.send(signal.SIGSTOP, to=child)
    other = work(delayed=SHORT_LEASE)
    ledger.has(f"begin {job.pk}", times=2)
    holder = DelayedJob.objects.get()
    # Its job ends as soon as it goes on, while the same job still runs in the other worker.
    stopped.send(signal.SIGCONT, to=child)
    other.send(signal.SIGSTOP, to=other.child)
    ledger.open_gate()
    stopped.has_said("lost its claim")
    now = DelayedJob.objects.get()
    assert (now.locked_by, now.lock_token, now.attempts) == (holder.locked_by, holder.lock_token, 2)
    # Without a heartbeat of its parent, it claims nothing either.
    stopped.send(signal.SIGCONT)
    stopped.has_said(f"Worker {dead} was declared dead")
    stopped.has_said("Worker .* started", times=2)
    assert stopped.child != child
    other.send(signal.SIGCONT, to=other.child)
    until(no_job_is_left)
    assert (stopped.stop(), other.stop()) == (0, 0)
    assert nothing_is_held()


def test_a_worker_whose_supervisor_is_suspended_claims_nothing_more(work, ledger):
    worker = work(delayed=SHORT_LEASE)
    worker.has_said("Worker .* started")
    child = worker.child
    worker.send(signal.SIGSTOP)
    other = work("--queue", "another", delayed=SHORT_LEASE)
    other.has_said("sent no heartbeat")
    Note.perform_later(str(ledger), "done")
    # The child could claim it: it looks for jobs ten times a second.
    seen = WorkerProcess.objects.get().heartbeat_at
    until(lambda: WorkerProcess.objects.get().heartbeat_at > seen + timedelta(seconds=1))
    assert [job.attempts for job in DelayedJob.objects.all()] == [0]
    worker.send(signal.SIGCONT)
    worker.has_said("was declared dead")
    ledger.has("done")
    assert len(worker.said("Worker .* started")) == 2
    assert children_of(worker.pid) != [child]
    assert (worker.stop(), other.stop()) == (0, 0)
    assert nothing_is_held()


def test_workers_that_were_all_suspended_do_not_declare_one_another_dead(work, ledger):
    workers = [work(delayed=SHORT_LEASE) for _ in range(2)]
    jobs = enqueue_all([Gated(str(ledger), str(ledger.gate)) for _ in range(2)])
    for job in jobs:
        ledger.has(f"begin {job.pk}")
    for worker in workers:
        worker.send(signal.SIGSTOP)
    # Every heartbeat is old, as after a machine was suspended.
    until(lambda: WorkerProcess.objects.stale(timedelta(seconds=2.5)).count() == 2)
    for worker in workers:
        worker.send(signal.SIGCONT)
    until(lambda: not WorkerProcess.objects.stale(timedelta(seconds=1)).exists())
    ledger.open_gate()
    until(no_job_is_left)
    assert sorted(ledger.lines) == sorted(f"{word} {job.pk}" for job in jobs for word in ("begin", "end"))
    assert [worker.stop() for worker in workers] == [0, 0]


def test_a_parent_leaks_nothing_over_many_children(work, ledger):
    worker = work()
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("there is no /proc to count open files in")
    counts = []
    for restart in range(1, 5):
        worker.has_said("Worker .* started", times=restart)
        until(lambda: WorkerProcess.objects.aggregate(pid=Min("pid"))["pid"] in children_of(worker.pid))
        counts.append(len(os.listdir(f"/proc/{worker.pid}/fd")))
        worker.send(signal.SIGTERM, to=worker.child)
    assert counts[1:] == counts[1:2] * 3
    worker.has_said("Worker .* started", times=5)
    assert worker.stop() == 0


def test_rows_that_a_living_worker_holds_and_does_not_know_are_released_after_a_lease(work, ledger):
    worker = work(delayed=SHORT_LEASE)
    Note.perform_later(str(ledger), "first")
    ledger.has("first")
    gated = Gated.perform_later(str(ledger), str(ledger.gate))
    ledger.has(f"begin {gated.pk}")
    later = [Note.set(wait=3600).perform_later(str(ledger), f"unknown {number}") for number in range(3)]
    # A claim leaves rows like this when its answer is lost.
    now = timezone.now()
    held_by = {"locked_by": WorkerProcess.objects.get().pk, "locked_at": now, "claimable": None}
    unknown = DelayedJob.objects.filter(pk__in=[row.pk for row in later])
    unknown.update(**held_by, lock_token=42, run_at=now, started_at=now, attempts=1)
    worker.has_said("held jobs that it did not know of; released: 3")
    assert set(unknown.values_list("locked_by", "attempts")) == {("", 0)}
    # It still holds the job that it performs, although it has held it for longer.
    gated.refresh_from_db()
    assert (gated.state, gated.attempts) == ("running", 1)
    ledger.open_gate()
    for number in range(3):
        ledger.has(f"unknown {number}")
    until(no_job_is_left)
    assert worker.stop() == 0
    assert not worker.said("lost its claim")
