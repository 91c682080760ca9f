"""The Message-ID and the Date of a mail, which are the same at each attempt."""

import copy
import pickle
from datetime import UTC, timedelta
from email import message_from_bytes, policy
from email.utils import parsedate_to_datetime

import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend
from django.utils import timezone
from django_delayed.execution.outcomes import Finished, Rescheduled
from django_delayed.mail import Mailer, deliver_later
from django_delayed.mail.headers import fix_headers
from django_delayed.mail.refusals import send
from django_delayed.models import DelayedJob

pytestmark = pytest.mark.django_db

FIXED = {"Message-ID": "<1@shop.example>", "Date": "Fri, 02 Jan 2026 03:04:00 -0000"}


def letter(cls=EmailMessage, **given):
    return cls("Hello", "How are you?", "shop@example.com", ["ada@a.example"], **given)


class Ticket(EmailMessage):
    """Renders itself, with an id of its own."""

    def message(self, **options):
        rendered = super().message(**options)
        del rendered["Message-ID"]
        rendered["Message-ID"] = "<ticket-5@shop.example>"
        return rendered


class Slotted(EmailMessage):
    __slots__ = ("order",)


class LetterMailer(Mailer):
    def plain(self):
        return letter()

    def alternatives(self):
        return letter(EmailMultiAlternatives)

    def ticket(self):
        return letter(Ticket)

    def slotted(self):
        return letter(Slotted)


ENQUEUE = {
    "a message": lambda: deliver_later(letter()),
    "a message with alternatives": lambda: deliver_later(letter(EmailMultiAlternatives)),
    "a message that has an attached one": lambda: deliver_later(
        letter(attachments=[("old.eml", letter(), "message/rfc822")])
    ),
    "a message that renders itself": lambda: deliver_later(letter(Ticket)),
    "every mail of the project": lambda: letter().send(),
    "a mail of a mailer": lambda: LetterMailer.delay().plain(),
    "a mail of a mailer with alternatives": lambda: LetterMailer.delay().alternatives(),
    "a mail of a mailer that renders itself": lambda: LetterMailer.delay().ticket(),
    "a mail of a mailer whose class has slots": lambda: LetterMailer.delay().slotted(),
}


@pytest.mark.parametrize("enqueue", ENQUEUE.values(), ids=ENQUEUE)
def test_a_mail_has_one_id_and_one_date_however_often_it_is_sent(postbox, work, settings, enqueue):
    settings.DJANGO_DELAYED = {"TRUSTED_MODULES": [__name__]}
    seen = []

    async def refuse(server, session, envelope):
        seen.append(message_from_bytes(envelope.original_content, policy=policy.default))
        return "451 try again later" if len(seen) < 3 else "250 OK"

    postbox.handle_DATA = refuse
    try:
        enqueue()
        before = timezone.now()
        for expected in (Rescheduled, Rescheduled, Finished):
            [outcome] = work()
            assert isinstance(outcome, expected)
            DelayedJob.objects.update(run_at=before)
    finally:
        del postbox.handle_DATA
    assert len({mail["Message-ID"] for mail in seen}) == 1
    assert len({mail["Date"] for mail in seen}) == 1
    assert len(seen[0].get_all("Message-ID")) == len(seen[0].get_all("Date")) == 1
    sent = parsedate_to_datetime(seen[0]["Date"])
    # Django 5.2 writes -0000, which has no zone, into a message that renders itself.
    assert sent.replace(tzinfo=sent.tzinfo or UTC) <= before


@pytest.mark.parametrize(("is_local", "offset"), [(False, 0), (True, 9)])
def test_the_date_of_a_mail_is_in_the_zone_in_which_django_writes_it(
    postbox, work_well, settings, is_local, offset
):
    settings.EMAIL_USE_LOCALTIME = is_local
    with timezone.override("Asia/Tokyo"):
        deliver_later(letter())
    work_well()
    date = parsedate_to_datetime(message_from_bytes(postbox.mails[0])["Date"])
    assert date.utcoffset() == timedelta(hours=offset)


def test_each_mail_has_an_id_of_its_own(postbox, work_well, settings):
    settings.DJANGO_DELAYED = {"TRUSTED_MODULES": [__name__]}
    for enqueue in ENQUEUE.values():
        enqueue()
    work_well()
    ids = [message_from_bytes(content)["Message-ID"] for content in postbox.mails]
    assert sorted(ids).count("<ticket-5@shop.example>") == 2
    assert len(set(ids)) == len(ENQUEUE) - 1


@pytest.mark.parametrize("name", ["Message-ID", "message-id", "MESSAGE-ID"])
def test_a_message_that_sets_its_headers_keeps_them(postbox, work_well, name):
    given = {name: "<own@shop.example>", "date": "Thu, 01 Jan 2026 00:00:00 -0000"}
    deliver_later(letter(headers=given))
    work_well()
    sent = message_from_bytes(postbox.mails[0])
    assert sent.get_all("Message-ID") == ["<own@shop.example>"]
    assert sent.get_all("Date") == ["Thu, 01 Jan 2026 00:00:00 -0000"]


def test_a_transport_that_reads_the_headers_finds_those_of_the_message():
    given = []

    class Service(BaseEmailBackend):
        def send_messages(self, email_messages):
            given.extend((message.extra_headers, message.message()) for message in email_messages)
            given.extend(message.extra_headers for message in email_messages)

    message = letter(headers={"X-Tag": "a"})
    fix_headers(message, FIXED)
    send(Service(), message)
    (before, rendered), after = given
    assert before == after == {"X-Tag": "a"}
    assert (rendered["X-Tag"], rendered["Message-ID"]) == ("a", FIXED["Message-ID"])


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda message: pickle.loads(pickle.dumps(message))]
)
@pytest.mark.parametrize("cls", [EmailMessage, EmailMultiAlternatives, Slotted])
def test_a_transport_may_copy_a_message_and_change_the_copy(cls, copied):
    message = letter(cls)
    fix_headers(message, FIXED)
    other = copied(message)
    other.to = ["bob@b.example"]
    assert other.message()["To"] == "bob@b.example"
    assert {name: other.message()[name] for name in FIXED} == FIXED
    assert message.message()["To"] == "ada@a.example"
    assert isinstance(other, cls)


def test_a_message_that_was_delivered_can_be_enqueued_again(mailoutbox, work_well):
    deliver_later(letter())
    work_well()
    deliver_later(mailoutbox[0])
    work_well()
    first, second = (mail.message() for mail in mailoutbox)
    assert first.get_payload() == second.get_payload()
    assert first["Message-ID"] == second["Message-ID"]
