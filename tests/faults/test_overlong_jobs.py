"""max_run_time is kept by an alarm in the process of the job, and by its parent where no alarm arrives."""

from django_delayed import enqueue_all
from django_delayed.models import DelayedJob, FailedAttempt
from tests.playground.jobs import AlarmOff, HoldGilForever, Note, ShortGated, Swallowing
from tests.playground.processes import nothing_is_held, until


def error_of(job):
    until(lambda: DelayedJob.objects.retrying().filter(pk=job.pk).exists())
    job.refresh_from_db()
    return job.last_error.splitlines()[0]


def test_a_job_that_runs_too_long_fails_that_attempt_and_the_worker_goes_on(work, ledger):
    worker = work()
    job = ShortGated.perform_later(str(ledger), str(ledger.gate))
    assert error_of(job) == "JobTimeout: ShortGated ran longer than its max_run_time of 0.5 s."
    swallowing = Swallowing.perform_later(str(ledger))
    assert "and swallowed the JobTimeout" in error_of(swallowing)
    Note.perform_later(str(ledger), "next")
    ledger.has("next")
    assert len(worker.said("Worker .* started")) == 1
    assert worker.stop() == 0
    assert nothing_is_held()


def test_the_supervisor_ends_a_job_that_no_alarm_reaches_and_the_others_lose_no_attempt(work, ledger):
    enqueue_all([Note(str(ledger), "quick") for _ in range(30)])  # so that it claims many at once
    job = HoldGilForever.perform_later(str(ledger))
    enqueue_all([Note(str(ledger), "behind") for _ in range(30)])
    DelayedJob.objects.filter(pk__gt=job.pk).update(max_attempts=1)
    worker = work()
    assert (
        error_of(job)
        == "JobTimeout: HoldGilForever ran longer than its max_run_time of 0.5 s, and was killed."
    )
    assert (job.attempts, job.crashes) == (1, 0)
    ledger.has("behind", times=30)
    assert [attempt.delayed_job_id for attempt in FailedAttempt.objects.all()] == [job.pk]
    assert worker.stop() == 0
    assert nothing_is_held()


def test_working_off_ends_with_a_job_that_has_switched_its_alarm_off(command, ledger):
    job = AlarmOff.perform_later(str(ledger))
    running = command("jobs_workoff")
    assert running.ends() == 1
    assert running.said(rf"Job {job.pk} has outlived its max_run_time and does not end; ending the process")
    assert error_of(job) == "JobTimeout: AlarmOff ran longer than its max_run_time of 0.3 s, and was killed."
    assert (job.attempts, job.crashes) == (1, 0)
    assert nothing_is_held()
