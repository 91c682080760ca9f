import logging

import pytest
from django_delayed import Job, signals
from django_delayed.models import DelayedJob
from django_delayed.serialization.errors import describe

ROW = DelayedJob(pk=7, name="Post.send_to_twitter", queue="tweets", attempts=3)


@pytest.fixture
def lines(caplog):
    """What the logger `django_delayed` says, as (level, line)."""
    caplog.set_level(logging.DEBUG, "django_delayed")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def test_the_log_says_what_that_of_delayed_job_says(lines):
    error = describe(ConnectionError("no route"))
    signals.job_enqueued.send(None, delayed_job=ROW, job=None)
    signals.job_started.send(None, delayed_job=ROW)
    signals.job_finished.send(None, delayed_job=ROW, job=None, duration=0.02141)
    signals.job_errored.send(None, delayed_job=ROW, job=None, error=error)
    signals.job_failed.send(None, delayed_job=ROW, job=None, error=error)
    assert lines() == [
        ("DEBUG", "Post.send_to_twitter #7 ENQUEUED in queue tweets"),
        ("INFO", "Post.send_to_twitter #7 RUNNING"),
        ("INFO", "Post.send_to_twitter #7 COMPLETED after 0.0214 s"),
        ("ERROR", "Post.send_to_twitter #7 FAILED (2 prior attempts) with ConnectionError: no route"),
        ("ERROR", "Post.send_to_twitter #7 FAILED permanently with ConnectionError: no route"),
    ]


@pytest.mark.parametrize(
    ("attempts", "prior"), [(1, "0 prior attempts"), (2, "1 prior attempt"), (3, "2 prior attempts")]
)
def test_prior_attempts_are_counted(lines, attempts, prior):
    row = DelayedJob(pk=7, name="job", attempts=attempts)
    signals.job_errored.send(None, delayed_job=row, job=None, error=describe(ValueError()))
    assert lines() == [("ERROR", f"job #7 FAILED ({prior}) with ValueError")]


def test_workers_are_told_of(lines):
    signals.worker_started.send(None, worker="a1")
    signals.worker_stopped.send(None, worker="a1")
    assert lines() == [("INFO", "Worker a1 started"), ("INFO", "Worker a1 stopped")]


def test_nothing_in_a_message_ends_the_line_or_reaches_the_terminal(lines):
    error = describe(ValueError("a\r\x1b[2J\u2028\u202eb"))
    signals.job_errored.send(None, delayed_job=ROW, job=None, error=error)
    [(_, line)] = lines()
    assert line.isprintable()
    assert "\\x1b[2J\\u2028\\u202eb" in line


@pytest.mark.parametrize("name", [name for name in vars(signals) if name.startswith(("job_", "worker_"))])
def test_every_signal_is_one(name):
    assert isinstance(getattr(signals, name), signals.Signal)


@pytest.mark.django_db
def test_a_name_and_a_queue_from_a_row_cannot_forge_a_line_of_the_log(caplog):
    caplog.set_level("DEBUG", "django_delayed")
    evil = "a\nplain #1 COMPLETED\x1b[31m"
    row = DelayedJob.objects.create(name=evil, payload="{}", queue=evil)
    signals.job_enqueued.send_robust(sender=Job, delayed_job=row, job=None)
    signals.job_started.send_robust(sender=Job, delayed_job=row)
    assert caplog.messages == [
        f"a\\nplain #1 COMPLETED\\x1b[31m #{row.pk} ENQUEUED in queue a\\nplain #1 COMPLETED\\x1b[31m",
        f"a\\nplain #1 COMPLETED\\x1b[31m #{row.pk} RUNNING",
    ]
