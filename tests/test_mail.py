import email.policy
import json
import re
from datetime import date, datetime, timedelta
from email import message_from_bytes
from email.charset import QP, Charset
from email.message import MIMEPart
from email.mime.image import MIMEImage
from email.mime.text import MIMEText
from zoneinfo import ZoneInfo

import django
import pytest
from aiosmtpd.controller import Controller
from django.core import mail
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailAlternative, EmailAttachment, EmailMessage, EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.locmem import EmailBackend as LocmemBackend
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend
from django.db import transaction
from django.template import Context, Template
from django.utils import timezone, translation
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from django_delayed import SerializationError
from django_delayed.execution import perform, settle
from django_delayed.mail import EmailBackend, Mailer, MailJob, deliver_later, send_mail
from django_delayed.models import DelayedJob
from django_delayed.outcomes import Failed, Finished, Retried
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shop.models import Customer, Post

pytestmark = pytest.mark.django_db

HAS_MAILERS = django.VERSION >= (6, 1)
OURS = "django_delayed.mail.EmailBackend"
SMTP = "django.core.mail.backends.smtp.EmailBackend"
HEIR = f"{__name__}.Heir"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
only_with_mailers = pytest.mark.skipif(not HAS_MAILERS, reason="MAILERS came with Django 6.1")
only_without_mailers = pytest.mark.skipif(HAS_MAILERS, reason="EMAIL_BACKEND is deprecated in Django 6.1")
MIMEBASE_IS_DEPRECATED = pytest.mark.filterwarnings("ignore:MIMEBase attachments are deprecated")


class Postbox(Controller):
    """A mail server that keeps what arrives, and can turn mail away."""

    def __init__(self):
        super().__init__(self, hostname="127.0.0.1", port=0, ready_timeout=30, server_hostname="mail.example")
        self.envelopes = []
        self.answers = []

    async def handle_DATA(self, server, session, envelope):
        if self.answers:
            return self.answers.pop()
        self.envelopes.append(envelope)
        return "250 OK"

    @property
    def mails(self):
        return [envelope.original_content for envelope in self.envelopes]

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]  # the one that the system has chosen
        super()._trigger_server()


@pytest.fixture(scope="module")
def server():
    postbox = Postbox()
    postbox.start()
    yield postbox
    postbox.stop()


@pytest.fixture
def postbox(server, settings):
    """A mail server, and a project whose every mail becomes a job that is sent there."""
    server.envelopes.clear()
    if HAS_MAILERS:
        smtp = {"BACKEND": SMTP, "OPTIONS": {"host": "127.0.0.1", "port": server.port}}
        settings.MAILERS = {"default": {"BACKEND": OURS, "OPTIONS": {"mailer": "smtp"}}, "smtp": smtp}
    else:
        settings.EMAIL_BACKEND = OURS
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
    return server


@pytest.fixture
def trusted(settings):
    """Jobs may name the code of this module."""
    settings.DJANGO_DELAYED = {"TRUSTED_MODULES": [__name__]}


@pytest.fixture
def customer(db):
    return Customer.objects.create(name="Ada", email="ada@example.com")


def work():
    """Work off what is ready; what came of it."""
    outcomes = []
    while rows := DelayedJob.objects.claim("a worker", 10):
        for row in rows:
            outcomes.append(perform(row))
            assert settle(row, outcomes[-1])
    return outcomes


def work_well():
    outcomes = work()
    errors = [outcome.error.text for outcome in outcomes if not isinstance(outcome, Finished)]
    assert errors == []
    return len(outcomes)


def send_directly(message, postbox):
    """What Django itself sends for this message."""
    given = {"alias": "direct"} if HAS_MAILERS else {}
    SmtpBackend(host="127.0.0.1", port=postbox.port, **given).send_messages([message])
    return postbox.envelopes.pop()


def without_chance(content):
    """The mail with its boundaries numbered, and without the date and the id that each rendering has."""
    for number, boundary in enumerate(re.findall(rb'boundary="([^"]+)"', content)):
        content = content.replace(boundary, b"boundary-%d" % number)
    content = re.sub(rb"^Date: .*\r\n", b"", content, flags=re.MULTILINE)
    return re.sub(rb"^Message-ID:\s.*\r\n", b"", content, flags=re.MULTILINE)


def assert_arrives_as_django_sends_it(make, postbox):
    expected = send_directly(make(), postbox)
    row = deliver_later(make())
    assert row.payload.isascii()
    assert work_well() == 1
    [envelope] = postbox.envelopes
    postbox.envelopes.clear()
    assert (envelope.mail_from, envelope.rcpt_tos) == (expected.mail_from, expected.rcpt_tos)
    assert without_chance(envelope.original_content) == without_chance(expected.original_content)
    return message_from_bytes(envelope.original_content, policy=email.policy.default)


def with_attributes(message, **attributes):
    for name, value in attributes.items():
        setattr(message, name, value)
    return message


def letter(**given):
    given = {
        "subject": "Hello",
        "body": "Dear Ada,\n",
        "from_email": "shop@example.com",
        "to": ["a@b.example"],
    } | given
    return EmailMultiAlternatives(**given)


def image():
    return MIMEImage(PNG, "png")


def latin_text():
    return MIMEText("schöne Grüße\nFrom the start of a line\n", "plain", "iso-8859-1")


def inline_part():
    part = MIMEPart()
    part.set_content(
        PNG, maintype="image", subtype="png", disposition="inline", cid="<logo@shop>", filename="ü.png"
    )
    return part


def python_message(cls=None):
    text = "Subject: =?utf-8?q?gr=C3=BCn?=\nFrom: c@d.example\n\nFrom here on\nbody\n"
    return email.message_from_string(text, policy=cls or email.policy.compat32)


latin_with_base64 = Charset("iso-8859-1")
utf8_quoted = Charset("utf-8")
utf8_quoted.body_encoding = QP

MESSAGES = {
    "plain": lambda: EmailMessage("Hello", "Dear Ada,\n", "shop@example.com", ["a@b.example"]),
    "nothing but a recipient": lambda: EmailMessage(to=["a@b.example"]),
    "only bcc": lambda: letter(to=[], bcc=["hidden@b.example"]),
    "unicode": lambda: letter(subject="Grüße ☃ " * 20, body="Schneemann ☃\n" * 3),
    "long lines": lambda: letter(body="ü" * 2000 + "\n"),
    "line ends and From": lambda: letter(body="From here\r\non\r.\n..\n\n\tend"),
    "html": lambda: with_attributes(letter(body="<b>Hello</b>"), content_subtype="html"),
    "latin": lambda: with_attributes(letter(subject="Grüße", body="Grüße"), encoding="iso-8859-1"),
    "names": lambda: letter(
        from_email="Der Größte Laden <shop@example.com>", to=["Ada <a@b.example>", "ü <c@d.example>"]
    ),
    "idn": lambda: letter(to=["info@exämple.com"]),
    "everyone": lambda: letter(
        to=["a@b.example", "c@d.example"],
        cc=["e@f.example"],
        bcc=["g@h.example"],
        reply_to=["i@j.example", "Ü <k@l.example>"],
    ),
    "headers": lambda: letter(
        headers={
            "From": "list@example.com",
            "To": "Everybody <list@example.com>",
            "Reply-To": "nobody@example.com",
            "X-Size": "größer",
            "X-Number": "17",
            "List-Unsubscribe": lazystr("<https://shop.example/leave>"),
            "Date": "Mon, 02 Feb 2026 10:00:00 -0000",
            "Message-ID": "<one@shop.example>",
        }
    ),
    "lazy and safe": lambda: letter(
        subject=lazystr("Grüße"), body=mark_safe("<p>"), to=[lazystr("a@b.example")]
    ),
    "alternatives": lambda: letter(
        alternatives=[("<b>Grüße</b>", "text/html"), EmailAlternative("{}", "text/x-amp-html")]
    ),
    "calendar": lambda: letter(alternatives=[(b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", "application/ics")]),
    "attachments": lambda: letter(
        attachments=[
            ("grün.txt", "Grüße\n", "text/plain"),
            ("data.bin", bytes(range(256)) * 3, "application/octet-stream"),
            ("guessed.png", PNG, None),
            (None, b"no name", "application/pdf"),
            EmailAttachment("letter.csv", "a;b\n☃;\x00\n", "text/csv"),
            ("empty.bin", b"", "application/zip"),
        ]
    ),
    "attachments and alternatives": lambda: letter(
        alternatives=[("<b>Hello</b>", "text/html")], attachments=[("a.png", PNG, "image/png")]
    ),
    "attachment without a body": lambda: letter(body="", attachments=[("a.png", PNG, "image/png")]),
    "appended by hand": lambda: with_attributes(letter(), attachments=[("a.txt", "text", "text/plain")]),
    "a mail of Django's in a mail": lambda: letter(
        attachments=[
            ("old.eml", letter(subject="ü", headers={"Message-ID": "<2@x>", "Date": "x"}), "message/rfc822")
        ]
    ),
    "a mail of Python's in a mail": lambda: letter(
        attachments=[("old.eml", python_message(), "message/rfc822")]
    ),
    "a new mail of Python's in a mail": lambda: letter(
        attachments=[("old.eml", python_message(email.policy.default), "message/rfc822")]
    ),
    "a mail as text in a mail": lambda: letter(
        attachments=[("old.eml", python_message().as_string(), "message/rfc822")]
    ),
}
BY_DJANGO = {
    "a MIMEBase": (lambda: letter(attachments=[image(), latin_text()]), (5, 2), (9,)),
    "a MIMEPart": (lambda: letter(attachments=[inline_part()]), (6, 0), (9,)),
    "a bytearray": (
        lambda: letter(attachments=[("a.bin", bytearray(b"\x00\xff"), "image/x-raw")]),
        (6, 0),
        (9,),
    ),
    "related": (
        lambda: with_attributes(letter(attachments=[("a.png", PNG, "image/png")]), mixed_subtype="related"),
        (5, 2),
        (6, 0),
    ),
    "other alternatives": (
        lambda: with_attributes(letter(alternatives=[("<b>", "text/html")]), alternative_subtype="other"),
        (5, 2),
        (6, 0),
    ),
    "a charset in base64": (
        lambda: with_attributes(letter(body="Grüße"), encoding=latin_with_base64),
        (5, 2),
        (6, 0),
    ),
    "a charset in quoted-printable": (
        lambda: with_attributes(letter(body="Grüße"), encoding=utf8_quoted),
        (5, 2),
        (6, 0),
    ),
}


@pytest.mark.parametrize("make", MESSAGES.values(), ids=MESSAGES)
def test_a_message_arrives_as_django_itself_would_have_sent_it(make, postbox):
    assert_arrives_as_django_sends_it(make, postbox)


@MIMEBASE_IS_DEPRECATED
@pytest.mark.parametrize(("make", "since", "until"), BY_DJANGO.values(), ids=BY_DJANGO)
def test_a_message_of_one_django_arrives_as_that_would_have_sent_it(make, since, until, postbox):
    if not since <= django.VERSION < until:
        pytest.skip("not in this version of Django")
    assert_arrives_as_django_sends_it(make, postbox)


ADDRESSES = st.from_regex(r"[a-z][a-z0-9]{0,9}@[a-z]{1,9}\.example", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)
LINES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=120)
BINARIES = st.builds(EmailAttachment, st.just("a.bin"), st.binary(max_size=200), st.just("application/x-a"))
TEXT_FILES = st.builds(
    EmailAttachment,
    LINES.filter(lambda name: name and name == name.strip()),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    st.just("text/plain"),
)


@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    fields=st.fixed_dictionaries(
        {"subject": LINES, "body": TEXTS, "to": st.lists(ADDRESSES, min_size=1, max_size=3)},
        optional={
            "cc": st.lists(ADDRESSES, max_size=2),
            "bcc": st.lists(ADDRESSES, max_size=2),
            "headers": st.dictionaries(st.sampled_from(["X-One", "X-Two"]), LINES),
            "alternatives": st.lists(st.tuples(TEXTS, st.just("text/html")), max_size=2),
            "attachments": st.lists(BINARIES | TEXT_FILES, max_size=2),
        },
    )
)
def test_whatever_is_written_arrives_as_django_itself_would_have_sent_it(fields, postbox):
    postbox.envelopes.clear()
    assert_arrives_as_django_sends_it(lambda: letter(**fields), postbox)


def test_bcc_reaches_its_recipients_and_nobody_else_hears_of_them(postbox):
    deliver_later(letter(to=["a@b.example"], bcc=["secret@c.example"]))
    work_well()
    [envelope] = postbox.envelopes
    assert envelope.rcpt_tos == ["a@b.example", "secret@c.example"]
    assert b"secret" not in envelope.original_content


def test_what_is_done_to_the_message_afterwards_does_not_matter(postbox):
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


def test_a_row_is_named_without_saying_what_is_in_the_mail():
    message = letter(subject="Your code is 123456", to=["ada@example.com"])
    assert deliver_later(message).name == "Mail to 1 recipient"
    assert deliver_later(letter(cc=["c@d.example"], bcc=["e@f.example"])).name == "Mail to 3 recipients"


def test_mail_goes_with_the_transaction_that_wrote_it():
    with transaction.atomic():
        deliver_later(letter())
        transaction.set_rollback(True)
    assert DelayedJob.objects.count() == 0


def test_mail_to_nobody_is_no_job(postbox):
    assert deliver_later(letter(to=[])) is None
    assert letter(to=[]).send() == 0
    assert DelayedJob.objects.count() == 0


def test_mail_that_the_server_turns_away_is_tried_again(postbox):
    deliver_later(letter())
    postbox.answers.append("451 try again later")
    [outcome] = work()
    assert isinstance(outcome, Retried)
    assert "451" in DelayedJob.objects.get().last_error
    DelayedJob.objects.update(run_at=timezone.now() - timedelta(seconds=1))
    assert work_well() == 1
    assert len(postbox.mails) == 1


def test_send_mail_takes_what_djangos_takes_and_returns_the_row(postbox):
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
def test_what_cannot_be_honoured_later_is_refused_with_a_sentence(option):
    [name] = option
    with pytest.raises(TypeError, match=f"{name}= cannot be honoured: "):
        send_mail("Hello", "", None, ["ada@example.com"], **option)
    with pytest.raises(TypeError, match=f"{name}= cannot be honoured: "):
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


def test_a_message_that_was_queued_before_can_be_queued_again(postbox):
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
def test_a_header_with_a_line_break_is_refused_where_it_is_written(fields):
    with pytest.raises(ValueError, match=r"newline|linefeed|nvalid address"):
        deliver_later(letter(**fields))
    assert DelayedJob.objects.count() == 0


@pytest.mark.parametrize(
    "address", ["nobody@", "@example.com", "a@b.example, c@d.example", "a@b@c.example", "a@b.c>"]
)
def test_what_is_not_one_address_is_refused_where_it_is_written(address):
    with pytest.raises(ValueError, match="nvalid address"):
        deliver_later(letter(bcc=[address]))


def test_a_header_whose_name_is_not_ascii_is_refused_where_it_is_written():
    with pytest.raises(ValueError, match="'X-Größe' is no name of a header"):
        deliver_later(letter(headers={"X-Größe": "5"}))


def test_a_local_mailbox_is_an_address(postbox):
    deliver_later(letter(to=["root"]))
    work_well()
    assert postbox.envelopes[0].rcpt_tos == ["root"]


def test_what_no_charset_writes_is_refused_where_it_is_written():
    with pytest.raises(ValueError, match="encode"):
        deliver_later(with_attributes(letter(body="☃"), encoding="ascii"))
    with pytest.raises(SerializationError, match=r"Mail to 1 recipient: its body: .* NUL"):
        deliver_later(letter(body="a\0b"))


def test_what_is_no_message_is_refused():
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


# Messages with more to them


class Outbox(BaseEmailBackend):
    """A transport that keeps the messages themselves, as those of mail services read their fields."""

    messages: list[EmailMessage] = []

    def send_messages(self, email_messages):
        self.messages.extend(email_messages)
        return len(email_messages)


@pytest.fixture
def service(settings):
    """A project that sends through a mail service."""
    path = f"{__name__}.Outbox"
    if HAS_MAILERS:
        settings.MAILERS = {"default": {"BACKEND": path}}
    else:
        settings.EMAIL_BACKEND = path
    Outbox.messages = []
    return Outbox


class WithRequest(EmailMultiAlternatives):
    """As an app does that renders its mail from a template: it keeps what it rendered from."""

    def __init__(self, request, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.request = request
        self.user = request["user"]
        self.tags = ["welcome"]

    @property
    def content_subtype(self):
        return "html"


class Sealed(EmailMessage):
    """As an app does that encrypts its mail: what is sent is not what the fields say."""

    def message(self, **kwargs):
        sealed = super().message(**kwargs)
        sealed["X-Seal"] = "größer"
        return sealed

    def recipients(self):
        return ["relay@example.com"]


class Counted(EmailMessage):
    def send(self, *args, **kwargs):
        raise AssertionError("nobody calls this")


def test_what_was_set_on_a_message_for_the_mail_service_arrives_there(service):
    own = {"tags": ["welcome"], "metadata": {"day": date(2026, 2, 3)}, "esp_extra": {"pool": 7}}
    deliver_later(with_attributes(letter(), **own))
    work_well()
    [message] = service.messages
    assert type(message) is EmailMultiAlternatives
    assert {name: getattr(message, name) for name in own} == own
    assert (message.subject, message.to) == ("Hello", ["a@b.example"])


def test_what_was_set_on_a_message_and_cannot_travel_is_refused():
    with pytest.raises(SerializationError, match=r"its tags: a builtins\.object cannot travel"):
        deliver_later(with_attributes(letter(), tags=object()))


def test_a_subclass_is_sent_without_what_it_was_made_from(postbox, customer):
    def make():
        return WithRequest(
            {"user": customer, "meta": object()}, "Hi", "<b>Ada</b>", "s@e.example", ["a@b.example"]
        )

    sent = assert_arrives_as_django_sends_it(make, postbox)
    assert sent.get_content_type() == "text/html"
    row = deliver_later(make())
    assert json.loads(row.payload)["message"]["own"] == {"tags": ["welcome"]}
    customer.delete()
    assert work_well() == 1


def test_a_subclass_that_renders_itself_is_sent_as_it_rendered_itself(postbox):
    def make():
        return Sealed(
            "Hi", "Grüße\nFrom me", "s@e.example", ["a@b.example"], headers={"Message-ID": "<1@x.example>"}
        )

    sent = assert_arrives_as_django_sends_it(make, postbox)
    assert sent["X-Seal"] == "größer"


def test_a_subclass_that_sends_itself_is_refused_as_nobody_would_ask_it_to():
    with pytest.raises(TypeError, match=r"Counted overrides send\(\), which a worker does not call"):
        deliver_later(Counted("Hi", "", None, ["a@b.example"]))


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        "text",
        {},
        {"class": "EmailMessage"},
        {"class": "os.system", "own": {}, "attachments": []},
        {"class": "EmailMessage", "own": {}, "attachments": [["zip", "x"]]},
        {"class": "EmailMessage", "own": {}, "attachments": [7]},
        {"class": "EmailMessage", "own": {}, "attachments": [["mime", 7]]},
        {"class": "EmailMessage", "own": {"@type": "nothing"}, "attachments": []},
    ],
)
def test_a_message_written_by_hand_becomes_a_failed_job(message, service):
    row = deliver_later(letter())
    payload = json.loads(row.payload) | {"message": message}
    DelayedJob.objects.update(payload=json.dumps(payload))
    [outcome] = work()
    assert isinstance(outcome, Failed)
    assert outcome.error.error_class == "DeserializationError"
    assert service.messages == []


# Every mail of the project


def test_every_mail_of_the_project_becomes_a_job(postbox, settings):
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


def test_many_mails_are_one_insert(postbox, django_assert_num_queries):
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
    assert "1 mails could not be enqueued" in caplog.text


def test_an_account_or_a_server_given_by_the_caller_is_refused(postbox):
    alias = {"alias": "default", "mailer": "smtp"} if HAS_MAILERS else {}
    with pytest.raises(TypeError, match="auth_user= cannot be honoured"):
        EmailBackend(username="a", password="b", **alias)
    with pytest.raises(TypeError, match="host= cannot be honoured"):
        EmailBackend(host="elsewhere.example")
    if not HAS_MAILERS:
        with pytest.raises(TypeError, match="auth_user= cannot be honoured"):
            mail.send_mail("Hello", "", None, ["a@b.example"], auth_user="a")


class Handing(BaseEmailBackend):
    """A transport that gives its mail to the project's own backend."""

    def send_messages(self, email_messages):
        backend = mail.mailers["default"] if HAS_MAILERS else mail.get_connection()
        return backend.send_messages(email_messages)


class Heir(EmailBackend):
    """A backend of ours under another name."""


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
def test_mail_does_not_go_round_in_circles(path, settings):
    use_transport(settings, path)
    letter().send()
    [outcome] = work()
    assert isinstance(outcome, Retried)
    assert outcome.error.error_class.endswith("ImproperlyConfigured")
    assert DelayedJob.objects.count() == 1


@only_with_mailers
def test_a_message_leaves_through_the_mailer_it_was_given_to(postbox, settings):
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
def test_a_mailer_of_ours_must_name_the_real_one(settings):
    settings.MAILERS = {"default": {"BACKEND": OURS}}
    with pytest.raises(ImproperlyConfigured, match=r"MAILERS\['default'\]: OPTIONS\['mailer'\] must name"):
        letter().send()
    settings.MAILERS = {"default": {"BACKEND": OURS, "OPTIONS": {"mailer": "smtp", "prot": 25}}}
    with pytest.raises(mail.InvalidMailer, match="prot"):
        letter().send()


@only_with_mailers
@pytest.mark.filterwarnings("ignore:The EMAIL_.* setting is deprecated")
def test_the_settings_of_old_work_until_django_drops_them(postbox, settings):
    del settings.MAILERS
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = OURS, "127.0.0.1", postbox.port
    assert letter().send() == 1
    send_mail("Two", "", None, ["a@b.example"])
    assert work_well() == 2
    assert len(postbox.mails) == 2


@only_without_mailers
def test_a_mailer_cannot_be_named_where_there_are_none():
    with pytest.raises(TypeError, match="using= names a mailer of MAILERS"):
        deliver_later(letter(), using="default")


def test_under_the_test_runner_mail_goes_to_the_outbox():
    send_mail("One", "", None, ["a@b.example"])
    letter(subject="Two").send()
    assert [message.subject for message in mail.outbox] == ["Two"]
    work_well()
    assert [message.subject for message in mail.outbox] == ["Two", "One"]


def test_inline_mail_is_sent_at_once(settings):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}
    deliver_later(letter())
    assert [message.subject for message in mail.outbox] == ["Hello"]
    assert DelayedJob.objects.count() == 0


# Mailers


class ShopMailer(Mailer):
    sender = "shop@example.com"

    def registration(self, customer, *, coupon=None):
        template = Template("{{ customer }}, {{ now|date:'F H:i' }}, {{ coupon }}")
        now = datetime(2026, 1, 15, 12, tzinfo=ZoneInfo("UTC"))
        body = template.render(Context({"customer": customer, "now": now, "coupon": coupon}))
        return EmailMessage("Hello", body, self.sender, [customer.email])

    def nothing(self):
        return None

    def wrong(self):
        return "Hello"

    def sent_elsewhere(self):
        return letter(bcc=["b@c.example"], attachments=[("a.png", PNG, "image/png")])

    def _private(self):
        return letter()

    @staticmethod
    def static():
        return letter()

    async def later(self):
        return letter()


class BusinessMailer(ShopMailer):
    sender = "business@example.com"


def test_a_mail_of_a_mailer_is_rendered_and_sent_by_the_worker(postbox, trusted, customer):
    row = ShopMailer.delay(queue="mail", priority=-1).registration(customer, coupon="X7")
    assert (row.name, row.subject) == ("ShopMailer.registration", f"shop.customer:{customer.pk}")
    assert (row.queue, row.priority) == ("mail", -1)
    Customer.objects.update(name="Ada Lovelace")
    work_well()
    [envelope] = postbox.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("shop@example.com", ["ada@example.com"])
    assert b"Ada Lovelace, January 13:00, X7" in envelope.original_content


def test_a_mailer_renders_in_the_language_and_time_zone_of_the_enqueue(postbox, trusted, customer):
    with translation.override("de"), timezone.override(ZoneInfo("Asia/Tokyo")):
        ShopMailer.delay().registration(customer)
    work_well()
    assert b"Ada, Januar 21:00, None" in postbox.mails[0]


def test_a_mailer_gives_the_message_at_once_too(customer):
    message = ShopMailer().registration(customer)
    message.send()
    assert mail.outbox[0].to == ["ada@example.com"]


def test_an_inherited_mail_is_that_of_the_class_it_was_asked_of(postbox, trusted, customer):
    row = BusinessMailer.delay().registration(customer)
    assert row.name == "BusinessMailer.registration"
    work_well()
    assert postbox.envelopes[0].mail_from == "business@example.com"


def test_a_mailer_may_send_what_a_message_may_hold(postbox, trusted):
    ShopMailer.delay().sent_elsewhere()
    work_well()
    assert postbox.envelopes[0].rcpt_tos == ["a@b.example", "b@c.example"]


def test_a_mail_that_is_none_is_not_sent_and_done(postbox, trusted):
    ShopMailer.delay().nothing()
    assert work_well() == 1
    assert postbox.mails == []


def test_a_mail_that_is_no_message_is_an_error_of_the_job(postbox, trusted):
    ShopMailer.delay().wrong()
    [outcome] = work()
    assert "ShopMailer.wrong() must return a message of django.core.mail, not 'Hello'" in outcome.error.text


def test_a_mail_about_what_is_gone_fails_at_once(trusted, customer):
    ShopMailer.delay().registration(customer)
    Customer.objects.all().delete()
    [outcome] = work()
    assert isinstance(outcome, Failed)
    assert outcome.error.error_class.endswith("RecordNotFound")


@pytest.mark.parametrize(
    ("ask", "error", "sentence"),
    [
        (lambda: ShopMailer.delay()._private(), AttributeError, "private"),
        (lambda: ShopMailer.delay().goodbye(), AttributeError, "ShopMailer has no mail 'goodbye'"),
        (lambda: ShopMailer.delay().delay(), AttributeError, "no mail 'delay'"),
        (lambda: ShopMailer.delay().sender(), TypeError, "sender is not a plain method"),
        (lambda: ShopMailer.delay().static(), TypeError, "static is not a plain method"),
        (lambda: ShopMailer.delay().later(), TypeError, "async"),
        (lambda: ShopMailer.delay()(), TypeError, "Name the mail"),
        (lambda: ShopMailer.delay(prio=1), TypeError, "Unknown option 'prio'"),
        (lambda: ShopMailer.delay().registration(), TypeError, r"ShopMailer\.registration\(\): missing"),
        (lambda: ShopMailer.delay().registration(1, cupon=2), TypeError, r"ShopMailer\.registration\(\): "),
        (lambda: ShopMailer.delay().registration(Customer()), SerializationError, "not saved"),
        (lambda: ShopMailer.delay().registration(object()), SerializationError, "cannot travel"),
    ],
)
def test_a_wrong_call_of_a_mailer_is_an_error_at_the_call(ask, error, sentence, trusted):
    with pytest.raises(error, match=sentence):
        ask()
    assert DelayedJob.objects.count() == 0


def test_a_mailer_that_a_worker_could_not_find_is_refused():
    class Local(Mailer):
        def hello(self):
            return letter()

    with pytest.raises(SerializationError, match="inside a function"):
        Local.delay().hello()


def test_a_mailer_that_cannot_be_made_without_arguments_is_refused_when_it_is_defined():
    with pytest.raises(TypeError, match=r"Needy: a worker makes it without arguments: missing .* 'what'"):
        type("Needy", (Mailer,), {"__init__": lambda self, what: None, "__qualname__": "Needy"})


@pytest.mark.parametrize(
    "change",
    [
        {"mailer": "shop.models.blog:Post"},
        {"mailer": "os:system"},
        {"method": "_private"},
        {"method": "delay"},
        {"method": "static"},
        {"method": None},
        {"args": [], "kwargs": {"nothing": 1, "self": 2}},
    ],
)
def test_a_mailer_written_by_hand_becomes_a_failed_or_a_retried_job(change, trusted, customer):
    row = ShopMailer.delay().registration(customer)
    DelayedJob.objects.update(payload=json.dumps(json.loads(row.payload) | change))
    [outcome] = work()
    assert isinstance(outcome, (Failed, Retried))
    assert mail.outbox == []
    assert Post.objects.count() == 0


def test_a_mail_job_keeps_its_place_in_the_rows():
    # Rows of before an update name it by this.
    assert json.loads(deliver_later(letter()).payload)["job"] == "django_delayed.mail.backend:MailJob"
    assert MailJob.size_setting == "MAX_MAIL_SIZE"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [(OURS, "not one that enqueues the mail again"), (HEIR, "not one that enqueues"), (SMTP, None)],
)
def test_a_system_check_refuses_a_transport_that_enqueues(path, sentence, settings):
    use_transport(settings, path)
    errors = [message.msg for message in run_checks() if message.id == "django_delayed.E010"]
    assert bool(errors) == bool(sentence)
    assert all(sentence in error for error in errors)


@only_with_mailers
def test_a_system_check_misses_the_real_mailer(settings):
    settings.MAILERS = {
        "default": {"BACKEND": OURS, "OPTIONS": {"mailer": "smpt"}},
        "smtp": {"BACKEND": SMTP},
    }
    [error] = [message for message in run_checks() if message.id == "django_delayed.E010"]
    assert (
        error.msg
        == "MAILERS['default']: OPTIONS['mailer'] must name the mailer that really sends, not 'smpt'."
    )


@only_without_mailers
def test_a_system_check_misses_a_backend_that_is_not_there(settings):
    use_transport(settings, "shop.nothing.EmailBackend")
    [error] = [message for message in run_checks() if message.id == "django_delayed.E010"]
    assert "DJANGO_DELAYED['EMAIL_BACKEND'] cannot be imported" in error.msg
