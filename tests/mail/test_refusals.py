"""What becomes of a mail that the server refuses, and the queue with the policy of mail."""

import smtplib
import socket

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django_delayed.conf import settings as ours
from django_delayed.execution.outcomes import Failed, Finished, Rescheduled
from django_delayed.mail import EmailBackend, Mailer, deliver_later
from django_delayed.mail.refusals import send
from django_delayed.models import DelayedJob
from tests.mail.conftest import HAS_MAILERS, send_through

pytestmark = pytest.mark.django_db

SENDER, ADA, BOB, EVE = "shop@example.com", "ada@a.example", "bob@b.example", "eve@e.example"
NO_USER = "550 5.1.1 no such user"
GREYLISTED = "451 4.7.1 try again later"


def letter(*to):
    return EmailMessage("Hello", "How are you?", SENDER, to or [ADA])


def refuse(postbox, to=None, content=None):
    postbox.answers_to.update(to or {})
    postbox.answers += [content] if content else []


FOR_GOOD = {
    "the only recipient": ([ADA], {ADA: NO_USER}, None),
    "each of three recipients": ([ADA, BOB, EVE], dict.fromkeys([ADA, BOB, EVE], NO_USER), None),
    "one recipient named twice": ([ADA, ADA], {ADA: NO_USER}, None),
    "the sender": ([ADA], {SENDER: "553 5.1.8 not a sender of ours"}, None),
    "the size": ([ADA], {SENDER: "552 5.3.4 too large"}, None),
    "the content": ([ADA, BOB], {}, "554 5.7.1 looks like spam"),
    "one recipient, and the content for the other": ([ADA, BOB], {ADA: NO_USER}, "554 5.7.1 spam"),
}


@pytest.mark.parametrize(("to", "answers", "content"), FOR_GOOD.values(), ids=FOR_GOOD)
def test_a_mail_that_is_refused_for_good_fails_at_once(postbox, work, to, answers, content):
    refuse(postbox, answers, content)
    deliver_later(letter(*to))
    [outcome] = work()
    assert isinstance(outcome, Failed)
    row = DelayedJob.objects.get()
    assert (row.state, row.attempts, row.error_class) == ("failed", 1, "MailRefused")
    refusal = {*answers.values(), content} - {None}
    assert any(text[4:] in row.error_message for text in refusal)
    assert not postbox.mails


FOR_NOW = {
    "the only recipient": ([ADA], {ADA: GREYLISTED}, None),
    "one of two recipients, the other for good": ([ADA, BOB], {ADA: GREYLISTED, BOB: NO_USER}, None),
    "each of two recipients": ([ADA, BOB], {ADA: GREYLISTED, BOB: "452 too many"}, None),
    "the second recipient, with the end of the connection": ([ADA, BOB], {BOB: "421 shutting down"}, None),
    "the sender": ([ADA], {SENDER: "451 4.3.2 busy"}, None),
    "the sender until he logs in": ([ADA], {SENDER: "530 5.7.0 authentication required"}, None),
    "the content": ([ADA, BOB], {}, "451 4.3.0 the filter is away"),
    "one recipient, and the content for good for the other": (
        [ADA, BOB],
        {ADA: GREYLISTED},
        "554 5.7.1 spam",
    ),
}


@pytest.mark.parametrize(("to", "answers", "content"), FOR_NOW.values(), ids=FOR_NOW)
def test_a_mail_that_is_refused_for_now_is_tried_again_and_nobody_gets_it_twice(
    postbox, work, to, answers, content
):
    refuse(postbox, answers, content)
    deliver_later(letter(*to))
    [outcome] = work()
    assert isinstance(outcome, Rescheduled)
    assert not postbox.mails
    postbox.clear()
    DelayedJob.objects.update(run_at=DelayedJob.objects.get().created_at)
    [outcome] = work()
    assert isinstance(outcome, Finished)
    [envelope] = postbox.envelopes
    assert envelope.rcpt_tos == to


@pytest.mark.parametrize("answer", [NO_USER, GREYLISTED, "552 5.2.2 mailbox full"])
def test_a_mail_that_is_refused_for_some_recipients_is_sent_once_and_the_log_names_them(
    postbox, work, caplog, answer
):
    refuse(postbox, {BOB: answer})
    deliver_later(letter(ADA, BOB, EVE))
    [outcome] = work()
    assert isinstance(outcome, Finished)
    [envelope] = postbox.envelopes
    assert envelope.rcpt_tos == [ADA, EVE]
    assert not DelayedJob.objects.exists()
    [record] = [record for record in caplog.records if record.levelname == "WARNING"]
    text = record.getMessage()
    assert "the server refused 1 of its 3 recipients, who will not get it" in text
    assert BOB in text
    assert answer[4:] in text
    assert ADA not in text


def test_a_mail_that_was_accepted_is_not_sent_again_for_an_error_at_the_end_of_the_connection(
    postbox, work, caplog
):
    # smtplib does not read an answer of this length.
    refuse(postbox, {"QUIT": "221 " + "x" * 9000})
    deliver_later(letter())
    [outcome] = work()
    assert isinstance(outcome, Finished)
    assert len(postbox.mails) == 1
    assert "The connection to the mail server could not be closed" in caplog.text


def test_a_mail_is_tried_again_when_the_server_is_unavailable(work, settings, no_outbox):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        send_through(settings, port=deaf.getsockname()[1])
        deliver_later(letter())
        [outcome] = work()
    assert isinstance(outcome, Rescheduled)
    assert outcome.error.error_class == "ConnectionRefusedError"


def test_a_mail_of_a_mailer_that_is_refused_for_good_fails_at_once(postbox, work, settings):
    settings.DJANGO_DELAYED = {"TRUSTED_MODULES": [__name__]}
    refuse(postbox, {ADA: NO_USER})
    GreetingMailer.delay().hello()
    [outcome] = work()
    assert isinstance(outcome, Failed)
    assert outcome.error.error_class == "MailRefused"


class GreetingMailer(Mailer):
    def hello(self):
        return letter()


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPAuthenticationError(535, b"wrong password"),
        smtplib.SMTPConnectError(554, b"go away"),
        smtplib.SMTPHeloError(501, b"who are you"),
        smtplib.SMTPServerDisconnected("bye"),
        smtplib.SMTPRecipientsRefused({}),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_is_not_about_the_mail_is_raised_unchanged(error):
    class Broken(BaseEmailBackend):
        def send_messages(self, email_messages):
            raise error

    with pytest.raises(type(error)):
        send(Broken(), letter())


def test_mail_has_its_own_queue_with_the_attributes_of_that_queue(settings):
    settings.DJANGO_DELAYED = {
        "MAIL_QUEUE": "mail",
        "QUEUE_ATTRIBUTES": {"mail": {"priority": -7}},
        "TRUSTED_MODULES": [__name__],
    }
    deliver_later(letter())
    GreetingMailer.delay().hello()
    EmailBackend(**({"alias": "default", "mailer": "smtp"} if HAS_MAILERS else {})).send_messages([letter()])
    rows = DelayedJob.objects.all()
    assert [(row.queue, row.priority) for row in rows] == [("mail", -7)] * 3
    assert deliver_later(letter(), queue="bulk").queue == "bulk"


def test_without_a_queue_of_its_own_mail_is_in_the_default_queue(settings):
    assert deliver_later(letter()).queue == "default"
    settings.DJANGO_DELAYED = {"DEFAULT_QUEUE": "all"}
    assert deliver_later(letter()).queue == "all"
    assert ours.MAIL_QUEUE is None
