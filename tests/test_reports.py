"""What is enqueued while a failure is announced, and that this comes to an end."""

import logging
import socket
from contextlib import contextmanager
from datetime import timedelta

import django
import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django.utils.log import AdminEmailHandler
from django_delayed import Job, delay, enqueue_all, reports
from django_delayed.execution.deaths import decide_after_crash, decide_after_kill
from django_delayed.execution.settle import settle
from django_delayed.mail import EmailBackend, deliver_later
from django_delayed.models import DelayedJob
from django_delayed.reports import MARK, reporting
from django_delayed.signals import job_errored, job_failed
from django_delayed.supervisor.database_thread import DatabaseThread
from django_delayed.worker.availability import PeriodicTask, repeat_while_unavailable
from tests.blog import jobs
from tests.blog.jobs import Plain
from tests.blog.work import claim, perform_next, work_off
from tests.mail.conftest import HAS_MAILERS, send_through

logger = logging.getLogger("django_delayed")

REFUSED = "the jobs that were to report it are not enqueued"


@pytest.fixture(autouse=True)
def trusted(settings):
    """Jobs may name the code of this module."""
    settings.DJANGO_DELAYED = {"TRUSTED_MODULES": [__name__], "MAX_ATTEMPTS": 3}


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.setattr(reports, "_last_refused", None)


class Notify(Job):
    """Tells somebody of a failure by enqueueing something, and fails if it is told to."""

    def perform(self, fail):
        Plain.perform_later("notified")
        if fail:
            raise ConnectionError("nobody hears it")


class Failing(Job):
    def perform(self):
        raise ValueError("it broke")


class FailingWithHook(Failing):
    def on_error(self, error):
        type(self).perform_later()


class FailingWithOnFailure(Failing):
    max_attempts = 1

    def on_failure(self, error):
        type(self).perform_later()


class FailingWithBrokenWait(Failing):
    def wait_before_retry(self, attempts, error):
        raise LookupError("no wait")


class EnqueueingHandler(logging.Handler):
    """A log handler that makes a job of each error."""

    def emit(self, record):
        Failing.perform_later()


@contextmanager
def logging_to(handler):
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def hearing(signal):
    def enqueue_another(sender, **what):
        Failing.perform_later()

    signal.connect(enqueue_another)
    try:
        yield
    finally:
        signal.disconnect(enqueue_another)


@contextmanager
def nobody():
    yield


def all_due():
    DelayedJob.objects.filter(failed_at=None).update(run_at=timezone.now() - timedelta(hours=1))


def refusals(caplog):
    return [record for record in caplog.records if REFUSED in record.getMessage()]


REPORTERS = {
    "a log handler": (Failing, lambda: logging_to(EnqueueingHandler(logging.ERROR))),
    "a log handler that a broken policy reaches": (
        FailingWithBrokenWait,
        lambda: logging_to(EnqueueingHandler(logging.ERROR)),
    ),
    "a receiver of job_errored": (Failing, lambda: hearing(job_errored)),
    "a receiver of job_failed": (Failing, lambda: hearing(job_failed)),
    "on_error": (FailingWithHook, nobody),
    "on_failure": (FailingWithOnFailure, nobody),
}


@pytest.mark.django_db
@pytest.mark.parametrize(("failing", "reporter"), REPORTERS.values(), ids=REPORTERS)
def test_reports_of_failures_that_fail_themselves_come_to_an_end(failing, reporter, caplog):
    failing.perform_later()
    with reporter():
        for _ in range(10):
            all_due()
            work_off()
    rows = DelayedJob.objects.order_by("pk")
    assert not rows.exclude(failed_at=None).filter(attempts=0)
    assert all(row.state == "failed" for row in rows)
    # There are at most two reports for each attempt of the first job, and none about failures of reports.
    assert 2 <= len(rows) <= 1 + 2 * 3 + 1
    assert [row.extras for row in rows] == [0] + [MARK] * (len(rows) - 1)
    named = {record.getMessage().split("#")[1].split(",")[0] for record in refusals(caplog)}
    assert named <= {str(row.pk) for row in rows[1:]}
    assert named
    # There is at most one refusal for each failed attempt of a report.
    assert len(refusals(caplog)) <= sum(row.attempts for row in rows[1:])


def errors_mailed_to_admins(settings):
    settings.ADMINS = ["root@example.com"] if django.VERSION >= (6, 0) else [("Root", "root@example.com")]
    handler = AdminEmailHandler()
    handler.setLevel(logging.ERROR)
    return logging_to(handler)


class MailingHandler(logging.Handler):
    """Mails each log record through the queue."""

    def emit(self, record):
        alias = {"alias": "default", "mailer": "smtp"} if HAS_MAILERS else {}
        message = EmailMessage(record.getMessage(), "", None, ["root@example.com"])
        EmailBackend(fail_silently=True, **alias).send_messages([message])


@pytest.fixture
def server_is_away(settings, monkeypatch):
    """Have every mail of the project be a job, while the mail server is away."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        send_through(settings, port=deaf.getsockname()[1])
        monkeypatch.delattr(mail, "outbox")
        yield


@pytest.mark.django_db
def test_mails_to_the_admins_about_failed_mails_come_to_an_end(settings, caplog, server_is_away):
    EmailMessage("Hello", "", None, ["ada@example.com"]).send()
    with errors_mailed_to_admins(settings):
        call_command("jobs_workoff", quiet=True)
        [row, report] = DelayedJob.objects.order_by("pk")
        assert (row.extras, report.extras) == (0, MARK)
        assert "root@example.com" in report.payload
        for _ in range(4):
            all_due()
            call_command("jobs_workoff", quiet=True)
    # The mail has three attempts, with at most two lines about the last one; each report has three too.
    rows = DelayedJob.objects.order_by("pk")
    assert len(rows) in (1 + 3, 1 + 4)
    assert [row.extras for row in rows] == [0] + [MARK] * (len(rows) - 1)
    assert {row.state for row in rows} == {"failed"}
    assert len(refusals(caplog)) == 3 * (len(rows) - 1)


@pytest.mark.django_db
def test_a_job_that_a_report_enqueues_is_a_report_too():
    def report(sender, delayed_job, **what):
        Notify.perform_later(delayed_job.extras == MARK)

    job_errored.connect(report)
    try:
        Failing.perform_later()
        perform_next()
        notify = DelayedJob.objects.get(name="Notify")
        assert notify.extras == MARK
        perform_next()
        assert DelayedJob.objects.get(name="Plain").extras == MARK
    finally:
        job_errored.disconnect(report)


@pytest.mark.django_db
def test_a_report_of_a_plain_job_is_performed_and_leaves_nothing(diary):
    def report(sender, delayed_job, **what):
        Plain.perform_later(f"{delayed_job.name} failed")

    job_failed.connect(report)
    try:
        Failing.set().perform_later()
        DelayedJob.objects.update(max_attempts=1)
        perform_next()
        perform_next()
    finally:
        job_failed.disconnect(report)
    assert diary == [("plain", ("Failing failed",), {})]
    assert DelayedJob.objects.get().name == "Failing"


@pytest.mark.django_db
def test_a_job_that_is_enqueued_after_a_report_is_a_plain_job_again():
    with reporting(Plain.perform_later()):
        assert Plain.perform_later().extras == MARK
    assert Plain.perform_later().extras == 0


@pytest.mark.django_db
def test_a_refused_enqueue_returns_none_in_every_form_and_raises_nothing(caplog):
    with reporting(Plain.perform_later()):
        report = Plain.perform_later()
    message = EmailMessage("Hello", "", None, ["ada@example.com"])
    backend = EmailBackend(**({"alias": "default", "mailer": "smtp"} if HAS_MAILERS else {}))
    with reporting(report):
        assert Plain.perform_later() is None
        assert Plain.set(wait=5).perform_later() is None
        assert delay(jobs.resize)("a.png") is None
        assert enqueue_all([Plain(), Plain()]) == [None, None]
        assert deliver_later(message) is None
        assert backend.send_messages([message]) == 0
    assert DelayedJob.objects.count() == 2
    [record] = refusals(caplog)
    assert record.levelname == "WARNING"
    assert str(report) in record.getMessage()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "decide",
    [
        lambda row: decide_after_crash(row, "its worker was killed"),
        lambda row: decide_after_kill(row, timedelta(seconds=1)),
    ],
    ids=["crash", "kill"],
)
def test_the_crash_of_a_report_enqueues_nothing(decide):
    Plain.perform_later()
    with hearing(job_errored):
        for count in (2, 2):
            DelayedJob.objects.filter(extras=0).update(priority=1)
            row = claim()
            assert settle([(row, decide(row))]) == []
            DelayedJob.objects.filter(extras=0, attempts=1).update(run_at=timezone.now() + timedelta(days=1))
            assert DelayedJob.objects.count() == count
    assert [row.extras for row in DelayedJob.objects.order_by("pk")] == [0, MARK]


@pytest.mark.django_db
def test_a_report_that_is_performed_inline_enqueues_reports(settings):
    settings.DJANGO_DELAYED = {
        "TRUSTED_MODULES": [__name__],
        "DELAY_JOBS": lambda row: row.name != "Notify",
    }
    with reporting(Plain.perform_later()):
        Notify.perform_later(False)
    assert [row.extras for row in DelayedJob.objects.order_by("pk")] == [0, MARK]


@pytest.mark.django_db
def test_a_handler_that_mails_warnings_ends_when_its_mail_cannot_be_enqueued(settings, caplog):
    settings.DJANGO_DELAYED = {"MAX_MAIL_SIZE": 10}
    with logging_to(MailingHandler(logging.WARNING)):
        logger.warning("something is odd")
    assert caplog.messages.count("Mails that could not be enqueued: 1") == 1
    assert not DelayedJob.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_error_that_a_supervisor_logs_enqueues_nothing(caplog):
    def notice():
        logger.error("Worker 1 was killed")

    with logging_to(EnqueueingHandler(logging.ERROR)):
        thread = DatabaseThread([PeriodicTask(lambda: None, timedelta(0))])
        noticed = thread.request(notice)
        thread.start()
        assert noticed.wait(60)
        thread.end(60)
    assert thread.error is None
    assert not DelayedJob.objects.exists()
    assert len(refusals(caplog)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_database_that_refuses_a_statement_enqueues_nothing():
    tried = []

    def ask():
        tried.append(1)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1" if len(tried) > 1 else "SELECT a_column_that_is_not_there")

    class NoPause:
        def wait(self, seconds):
            pass

    with logging_to(EnqueueingHandler(logging.ERROR)):
        repeat_while_unavailable(ask, NoPause(), lambda error: False)
    assert len(tried) == 2
    assert not DelayedJob.objects.exists()
