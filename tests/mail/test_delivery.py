import email.policy
import json
from datetime import timedelta
from email import message_from_bytes

import django
import pytest
from django.core import mail
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.locmem import EmailBackend as LocmemBackend
from django.core.management import call_command
from django.db import transaction
from django.test import override_settings
from django.test.utils import _TestState
from django.utils import timezone
from django_delayed import SerializationError
from django_delayed.execution.outcomes import Rescheduled
from django_delayed.mail import EmailBackend, MailJob, deliver_later, send_mail
from django_delayed.models import DelayedJob
from tests.mail.letters import letter

pytestmark = pytest.mark.django_db

HAS_MAILERS = django.VERSION >= (6, 1)
OURS = "django_delayed.mail.EmailBackend"
SMTP = "django.core.mail.backends.smtp.EmailBackend"
HEIR = f"{__name__}.Heir"
only_with_mailers = pytest.mark.skipif(not HAS_MAILERS, reason="MAILERS came with Django 6.1")
only_without_mailers = pytest.mark.skipif(HAS_MAILERS, reason="EMAIL_BACKEND is deprecated in Django 6.1")


def test_bcc_recipients_get_the_mail_and_are_not_named_in_it(postbox, work_well):
    deliver_later(letter(to=["a@b.example"], bcc=["secret@c.example"]))
    work_well()
    [envelope] = postbox.envelopes
    assert envelope.rcpt_tos == ["a@b.example", "secret@c.example"]
    assert b"secret" not in envelope.original_content


def test_a_change_of_the_message_after_the_enqueue_has_no_effect(postbox, work_well):
    message = letter()
    deliver_later(message)
    message.subject = "changed"
    work_well()
    assert b"Subject: Hello\r\n" in postbox.mails[0]


def test_mail_is_enqueued_with_the_options_of_a_job():
    row = deliver_later(letter(), queue="mail", priority=-3, wait=timedelta(hours=1))
    assert (row.queue, row.priority, row.state) == ("mail", -3, "scheduled")
    with pytest.raises(TypeError, match="Unknown option 'prio'"):
        deliver_later(letter(), prio=1)


def test_the_name_of_a_row_does_not_reveal_the_mail():
    message = letter(subject="Your code is 123456", to=["ada@example.com"])
    assert deliver_later(message).name == "Mail to 1 recipient"
    assert deliver_later(letter(cc=["c@d.example"], bcc=["e@f.example"])).name == "Mail to 3 recipients"


def test_mail_is_rolled_back_with_the_transaction_of_its_caller():
    with transaction.atomic():
        deliver_later(letter())
        transaction.set_rollback(True)
    assert DelayedJob.objects.count() == 0


def test_mail_without_recipients_is_not_enqueued(postbox):
    assert deliver_later(letter(to=[])) is None
    assert letter(to=[]).send() == 0
    assert DelayedJob.objects.count() == 0


def test_mail_that_the_server_defers_is_tried_again(postbox, work_well, work):
    deliver_later(letter())
    postbox.answers.append("451 try again later")
    [outcome] = work()
    assert isinstance(outcome, Rescheduled)
    assert "451" in DelayedJob.objects.get().last_error
    DelayedJob.objects.update(run_at=timezone.now() - timedelta(seconds=1))
    assert work_well() == 1
    assert len(postbox.mails) == 1


def test_send_mail_accepts_djangos_arguments_and_returns_the_row(postbox, work_well):
    row = send_mail(
        "Hello",
        "Dear Ada",
        None,
        ["ada@example.com"],
        html_message="<b>Ada</b>",
        fail_silently=False,
        queue="mail",
    )
    assert DelayedJob.objects.get(queue="mail") == row
    work_well()
    sent = message_from_bytes(postbox.mails[0], policy=email.policy.default)
    assert sent["From"] == "webmaster@localhost"
    assert [part.get_content().strip() for part in sent.iter_parts()] == ["Dear Ada", "<b>Ada</b>"]


@pytest.mark.parametrize(
    "option", [{"fail_silently": True}, {"connection": object()}, {"auth_user": "a"}, {"auth_password": "b"}]
)
def test_an_option_that_has_no_effect_on_queued_mail_is_refused(option):
    [name] = option
    with pytest.raises(TypeError, match=f"{name}= has no effect on queued mail: "):
        send_mail("Hello", "", None, ["ada@example.com"], **option)
    with pytest.raises(TypeError, match=f"{name}= has no effect on queued mail: "):
        deliver_later(letter(), **option)
    assert DelayedJob.objects.count() == 0


@only_without_mailers
def test_a_message_with_a_connection_of_its_own_is_refused():
    with pytest.raises(TypeError, match="connection of its own"):
        deliver_later(letter(connection=LocmemBackend()))


@only_with_mailers
@pytest.mark.filterwarnings("ignore:The 'connection' argument is deprecated")
def test_a_message_with_a_connection_of_its_own_is_refused_past_the_deprecated_property():
    with pytest.raises(TypeError, match="connection of its own"):
        deliver_later(letter(connection=mail.mailers["default"]))


def test_a_message_that_was_queued_before_can_be_queued_again(postbox, work_well):
    message = letter()
    assert message.send() == 1
    assert deliver_later(message)
    assert work_well() == 2


INJECTION = {
    "subject": {"subject": "a\nBcc: x@y.example"},
    "sender": {"from_email": "a@b.example\nBcc: x@y.example"},
    "hidden sender": {"from_email": "a@b.example\nX: y", "headers": {"From": "a@b.example"}},
    "recipient": {"to": ["a@b.example\nBcc: x@y.example"]},
    "bcc": {"bcc": ["a@b.example\r\nX: y"]},
    "header": {"headers": {"X-One": "a\r\nX: y"}},
    "reply to": {"reply_to": ["a@b.example\nX: y"]},
}


@pytest.mark.parametrize("fields", INJECTION.values(), ids=INJECTION)
def test_a_header_with_a_line_break_is_refused_at_the_enqueue(fields):
    with pytest.raises(ValueError, match=r"newline|linefeed|nvalid address"):
        deliver_later(letter(**fields))
    assert DelayedJob.objects.count() == 0


@pytest.mark.parametrize(
    "address", ["nobody@", "@example.com", "a@b.example, c@d.example", "a@b@c.example", "a@b.c>"]
)
def test_an_invalid_address_is_refused_at_the_enqueue(address):
    with pytest.raises(ValueError, match="nvalid address"):
        deliver_later(letter(bcc=[address]))


def test_a_header_name_that_is_not_ascii_is_refused_at_the_enqueue():
    with pytest.raises(ValueError, match="'X-Größe' is not the name of a header"):
        deliver_later(letter(headers={"X-Größe": "5"}))


def test_a_local_mailbox_is_an_address(postbox, work_well):
    deliver_later(letter(to=["root"]))
    work_well()
    assert postbox.envelopes[0].rcpt_tos == ["root"]


def test_text_that_cannot_be_encoded_is_refused_at_the_enqueue():
    message = letter(body="☃")
    message.encoding = "ascii"
    with pytest.raises(ValueError, match="encode"):
        deliver_later(message)
    with pytest.raises(SerializationError, match=r"Mail to 1 recipient: its body: .* NUL"):
        deliver_later(letter(body="a\0b"))


def test_anything_but_a_message_is_refused():
    with pytest.raises(TypeError, match=r"one of django\.core\.mail's"):
        deliver_later("Hello")


def test_mail_over_the_limit_is_refused_and_the_callers_transaction_goes_on(settings):
    settings.DJANGO_DELAYED = {"MAX_MAIL_SIZE": 20_000, "MAX_ARGUMENTS_SIZE": 10}
    deliver_later(letter(attachments=[("a.bin", b"\xff" * 10_000, "image/x-raw")]))
    with transaction.atomic():
        with pytest.raises(
            SerializationError, match=r"of at most 20,000 \(DJANGO_DELAYED\['MAX_MAIL_SIZE'\]\)"
        ):
            deliver_later(letter(attachments=[("a.bin", b"\xff" * 20_000, "image/x-raw")]))
        assert DelayedJob.objects.count() == 1


# Every mail of the project


def test_every_mail_of_the_project_becomes_a_job(postbox, settings, work_well):
    settings.ADMINS = ["root@example.com"] if django.VERSION >= (6, 0) else [("Root", "root@example.com")]
    assert letter(bcc=["c@d.example"]).send() == 1
    assert mail.send_mail("Two", "body", None, ["a@b.example"], html_message="<b>") == 1
    assert (
        mail.send_mass_mail([("Three", "", None, ["a@b.example"]), ("Four", "", None, ["a@b.example"])]) == 2
    )
    mail.mail_admins("Five", "help")
    assert postbox.mails == []
    assert DelayedJob.objects.count() == 5
    assert work_well() == 5
    subjects = [message_from_bytes(content)["Subject"] for content in postbox.mails]
    assert sorted(subjects) == ["Four", "Hello", "Three", "Two", "[Django] Five"]


def test_many_mails_take_one_insert(postbox, django_assert_num_queries):
    backend = mail.mailers.default if HAS_MAILERS else mail.get_connection()
    messages = [letter(), letter(to=[]), letter()]
    with django_assert_num_queries(1), backend as connection:
        assert connection.send_messages(messages) == 2


def test_a_mail_that_the_queue_cannot_take_is_an_error_unless_it_may_fail_silently(postbox, settings, caplog):
    settings.DJANGO_DELAYED = {"MAX_MAIL_SIZE": 100}
    alias = {"alias": "default", "mailer": "smtp"} if HAS_MAILERS else {}
    with pytest.raises(SerializationError):
        EmailBackend(**alias).send_messages([letter()])
    assert EmailBackend(fail_silently=True, **alias).send_messages([letter()]) == 0
    assert "Mails that could not be enqueued: 1" in caplog.text


def test_an_account_or_a_server_given_by_the_caller_is_refused(postbox):
    alias = {"alias": "default", "mailer": "smtp"} if HAS_MAILERS else {}
    with pytest.raises(TypeError, match="auth_user= has no effect"):
        EmailBackend(username="a", password="b", **alias)
    with pytest.raises(TypeError, match="host= has no effect"):
        EmailBackend(host="elsewhere.example")
    if not HAS_MAILERS:
        with pytest.raises(TypeError, match="auth_user= has no effect"):
            mail.send_mail("Hello", "", None, ["a@b.example"], auth_user="a")


class Handing(BaseEmailBackend):
    """A transport that gives its mail to the default backend of the project."""

    def send_messages(self, email_messages):
        backend = mail.mailers["default"] if HAS_MAILERS else mail.get_connection()
        return backend.send_messages(email_messages)


class Heir(EmailBackend):
    """A subclass of our backend."""


def use_transport(settings, path):
    if HAS_MAILERS:
        settings.MAILERS = {
            "default": {"BACKEND": OURS, "OPTIONS": {"mailer": "real"}},
            "real": {"BACKEND": path, "OPTIONS": {"mailer": "default"} if path in (OURS, HEIR) else {}},
        }
    else:
        settings.EMAIL_BACKEND = OURS
        settings.DJANGO_DELAYED = {"EMAIL_BACKEND": path}


@pytest.mark.parametrize("path", [OURS, f"{__name__}.Handing"])
def test_a_transport_that_would_enqueue_the_mail_again_is_refused(path, settings, work, no_outbox):
    use_transport(settings, path)
    letter().send()
    [outcome] = work()
    assert isinstance(outcome, Rescheduled)
    assert "must be a backend that sends mail" in outcome.error.message
    assert DelayedJob.objects.count() == 1


@only_with_mailers
def test_a_message_is_sent_by_the_mailer_that_it_was_given_to(postbox, settings, work_well):
    smtp = settings.MAILERS["smtp"]
    settings.MAILERS = {
        "default": {"BACKEND": f"{__name__}.Outbox"},
        "queued": {"BACKEND": OURS, "OPTIONS": {"mailer": "smtp"}},
        "smtp": smtp,
    }
    assert letter().send(using="queued") == 1
    assert DelayedJob.objects.count() == 1
    deliver_later(letter(subject="Two"), using="smtp")
    send_mail("Three", "", None, ["a@b.example"], using="queued")
    work_well()
    assert len(postbox.mails) == 3
    with pytest.raises(mail.MailerDoesNotExist):
        deliver_later(letter(), using="nothing")


@only_with_mailers
def test_a_mailer_of_ours_must_name_the_mailer_that_sends(settings):
    settings.MAILERS = {"default": {"BACKEND": OURS}}
    with pytest.raises(ImproperlyConfigured, match=r"MAILERS\['default'\]: OPTIONS\['mailer'\] must name"):
        letter().send()
    settings.MAILERS = {"default": {"BACKEND": OURS, "OPTIONS": {"mailer": "smtp", "prot": 25}}}
    with pytest.raises(mail.InvalidMailer, match="prot"):
        letter().send()


@only_with_mailers
@pytest.mark.filterwarnings("ignore:The EMAIL_.* setting is deprecated")
def test_the_deprecated_email_settings_work_until_django_removes_them(postbox, settings, work_well):
    del settings.MAILERS
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = OURS, "127.0.0.1", postbox.port
    assert letter().send() == 1
    send_mail("Two", "", None, ["a@b.example"])
    assert work_well() == 2
    assert len(postbox.mails) == 2


@only_without_mailers
def test_the_transport_that_the_project_names_is_used(postbox, settings, work_well):
    settings.EMAIL_BACKEND = f"{__name__}.Outbox"
    settings.DJANGO_DELAYED = {"EMAIL_BACKEND": SMTP}
    deliver_later(letter())
    work_well()
    assert len(postbox.mails) == 1


@only_without_mailers
def test_with_the_locmem_backend_a_worker_sends_nothing(postbox, settings, work_well):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    settings.DJANGO_DELAYED = {"EMAIL_BACKEND": SMTP}
    deliver_later(letter())
    work_well()
    assert not postbox.mails
    assert len(mail.outbox) == 1


@only_without_mailers
def test_a_mailer_cannot_be_named_without_the_setting_mailers():
    with pytest.raises(TypeError, match="using= names a mailer of MAILERS"):
        deliver_later(letter(), using="default")


def test_under_the_test_runner_mail_goes_to_the_outbox(work_well):
    send_mail("One", "", None, ["a@b.example"])
    letter(subject="Two").send()
    assert [message.subject for message in mail.outbox] == ["Two"]
    work_well()
    assert [message.subject for message in mail.outbox] == ["Two", "One"]


class Unreachable(BaseEmailBackend):
    """A transport that no test may reach."""

    def send_messages(self, email_messages):
        raise AssertionError("a test has sent a mail")


UNREACHABLE = f"{__name__}.Unreachable"


def queued_by_the_settings():
    ours = {"BACKEND": OURS, "OPTIONS": {"mailer": "real"}}
    if HAS_MAILERS:
        return {"MAILERS": {"default": ours, "real": {"BACKEND": UNREACHABLE}}}
    return {"EMAIL_BACKEND": OURS, "DJANGO_DELAYED": {"EMAIL_BACKEND": UNREACHABLE}}


WAYS = {
    "a message": lambda: letter().send(),
    "Django's send_mail": lambda: mail.send_mail("Hello", "", None, ["a@b.example"]),
    "our send_mail": lambda: send_mail("Hello", "", None, ["a@b.example"]),
    "deliver_later": lambda: deliver_later(letter()),
}
if HAS_MAILERS:
    WAYS["the real mailer by name"] = lambda: deliver_later(letter(), using="real")


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("inline", [False, True], ids=["by a worker", "inline"])
def test_a_test_that_chooses_our_backend_finds_the_mail_in_the_outbox(way, inline):
    chosen = queued_by_the_settings()
    chosen["DJANGO_DELAYED"] = {**chosen.get("DJANGO_DELAYED", {}), "DELAY_JOBS": not inline}
    with override_settings(**chosen):
        way()
        assert len(mail.outbox) == inline
        call_command("jobs_workoff", quiet=True)
    assert [message.subject for message in mail.outbox] == ["Hello"]
    assert not DelayedJob.objects.exists()


@pytest.mark.filterwarnings("ignore:.*get_connection.*is deprecated")
def test_a_test_that_names_our_backend_finds_the_mail_in_the_outbox():
    connection = mail.mailers["default"] if HAS_MAILERS else mail.get_connection(OURS)
    connection.send_messages([letter()])
    call_command("jobs_workoff", quiet=True)
    assert [message.subject for message in mail.outbox] == ["Hello"]


def test_a_test_that_chooses_a_backend_of_its_own_finds_the_mail_there(settings, work_well):
    OutboxOfTheTest.sent.clear()
    path = f"{__name__}.OutboxOfTheTest"
    if HAS_MAILERS:
        settings.MAILERS = {"default": {"BACKEND": path}}
    else:
        settings.EMAIL_BACKEND = path
        settings.DJANGO_DELAYED = {"EMAIL_BACKEND": UNREACHABLE}
    deliver_later(letter())
    work_well()
    assert [message.subject for message in OutboxOfTheTest.sent] == ["Hello"]
    assert mail.outbox == []


class OutboxOfTheTest(BaseEmailBackend):
    sent = []

    def send_messages(self, email_messages):
        self.sent.extend(email_messages)


def test_the_locmem_backend_outside_of_a_test_does_not_stop_other_mail(postbox, work_well, monkeypatch):
    monkeypatch.delattr(_TestState, "saved_data")
    LocmemBackend().send_messages([letter(subject="kept")])
    letter().send()
    work_well()
    assert [message.subject for message in mail.outbox] == ["kept"]
    assert len(postbox.mails) == 1


def test_inline_mail_is_sent_at_once(settings):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    deliver_later(letter())
    assert [message.subject for message in mail.outbox] == ["Hello"]
    assert DelayedJob.objects.count() == 0


@pytest.mark.parametrize(
    ("path", "sentence"),
    [(OURS, "not one that enqueues it again"), (HEIR, "not one that enqueues"), (SMTP, None)],
)
def test_a_system_check_refuses_a_transport_that_enqueues(path, sentence, settings):
    use_transport(settings, path)
    errors = [message.msg for message in run_checks() if message.id == "django_delayed.E010"]
    assert bool(errors) == bool(sentence)
    assert all(sentence in error for error in errors)


@only_with_mailers
def test_a_system_check_reports_a_missing_mailer(settings):
    settings.MAILERS = {
        "default": {"BACKEND": OURS, "OPTIONS": {"mailer": "smpt"}},
        "smtp": {"BACKEND": SMTP},
    }
    [error] = [message for message in run_checks() if message.id == "django_delayed.E010"]
    assert error.msg == "MAILERS['default']: OPTIONS['mailer'] must name the mailer that sends, not 'smpt'."


@only_without_mailers
def test_a_system_check_reports_a_missing_backend(settings):
    use_transport(settings, "shop.nothing.EmailBackend")
    [error] = [message for message in run_checks() if message.id == "django_delayed.E010"]
    assert "DJANGO_DELAYED['EMAIL_BACKEND'] cannot be imported" in error.msg


def test_a_mail_job_keeps_its_tag_in_the_payload():
    # Rows from before an update name the job by this tag.
    assert json.loads(deliver_later(letter()).payload)["job"] == "mail"
    assert MailJob.size_setting == "MAX_MAIL_SIZE"
