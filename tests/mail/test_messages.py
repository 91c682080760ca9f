import email.policy
import json
import re
from datetime import date
from email import message_from_bytes
from email.charset import QP, Charset
from email.message import MIMEPart
from email.mime.image import MIMEImage
from email.mime.text import MIMEText

import django
import pytest
from django.core.mail import EmailAlternative, EmailAttachment, EmailMessage, EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from django_delayed import SerializationError
from django_delayed.execution.outcomes import Failed
from django_delayed.mail import deliver_later
from django_delayed.models import DelayedJob
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.mail.letters import letter

pytestmark = pytest.mark.django_db

HAS_MAILERS = django.VERSION >= (6, 1)
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
MIMEBASE_IS_DEPRECATED = pytest.mark.filterwarnings("ignore:MIMEBase attachments are deprecated")


def send_directly(message, postbox):
    """Send this message without the queue. Returns the envelope."""
    given = {"alias": "direct"} if HAS_MAILERS else {}
    SmtpBackend(host="127.0.0.1", port=postbox.port, **given).send_messages([message])
    return postbox.envelopes.pop()


def without_chance(content):
    """The mail with numbered boundaries, and without Date and Message-ID, which differ in each rendering."""
    for number, boundary in enumerate(re.findall(rb'boundary="([^"]+)"', content)):
        content = content.replace(boundary, b"boundary-%d" % number)
    content = re.sub(rb"^Date: .*\r\n", b"", content, flags=re.MULTILINE)
    return re.sub(rb"^Message-ID:\s.*\r\n", b"", content, flags=re.MULTILINE)


@pytest.fixture
def arrives(postbox, work_well):
    """Send a message without and with the queue, and compare both mails. Returns the second."""

    def arrives(make):
        expected = send_directly(make(), postbox)
        row = deliver_later(make())
        assert row.payload.isascii()
        assert work_well() == 1
        [envelope] = postbox.envelopes
        postbox.envelopes.clear()
        assert (envelope.mail_from, envelope.rcpt_tos) == (expected.mail_from, expected.rcpt_tos)
        assert without_chance(envelope.original_content) == without_chance(expected.original_content)
        return message_from_bytes(envelope.original_content, policy=email.policy.default)

    return arrives


def with_attributes(message, **attributes):
    for name, value in attributes.items():
        setattr(message, name, value)
    return message


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
def test_a_message_arrives_as_django_itself_would_have_sent_it(make, arrives):
    arrives(make)


@MIMEBASE_IS_DEPRECATED
@pytest.mark.parametrize(("make", "since", "until"), BY_DJANGO.values(), ids=BY_DJANGO)
def test_a_message_of_some_versions_of_django_arrives_as_they_would_have_sent_it(make, since, until, arrives):
    if not since <= django.VERSION < until:
        pytest.skip("not in this version of Django")
    arrives(make)


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
def test_any_message_arrives_as_django_itself_would_have_sent_it(fields, postbox, arrives):
    postbox.envelopes.clear()
    arrives(lambda: letter(**fields))


class Outbox(BaseEmailBackend):
    """A transport that keeps the message objects, because backends of mail services read their fields."""

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


def test_attachments_have_their_types_again_for_the_mail_service(service, work_well):
    message = letter(
        alternatives=[("<b>", "text/html")],
        attachments=[
            ("a.txt", "a", "text/plain"),
            ("b.eml", letter(subject="inner"), "message/rfc822"),
            *([inline_part()] if django.VERSION >= (6, 0) else []),
        ],
    )
    deliver_later(message)
    work_well()
    [sent] = service.messages
    text, inner, *parts = sent.attachments
    assert text == EmailAttachment("a.txt", "a", "text/plain")
    assert sent.alternatives == [EmailAlternative("<b>", "text/html")]
    assert (type(inner), inner.content.subject) == (EmailAttachment, "inner")
    assert all(isinstance(part, MIMEPart) for part in parts)


class WithRequest(EmailMultiAlternatives):
    """Keeps the objects that it was rendered from, as messages of some apps do."""

    def __init__(self, request, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.request = request
        self.user = request["user"]
        self.tags = ["welcome"]

    @property
    def content_subtype(self):
        return "html"


class Sealed(EmailMessage):
    """Sends something else than its fields say, as messages of apps that encrypt mail do."""

    def message(self, **kwargs):
        sealed = super().message(**kwargs)
        sealed["X-Seal"] = "größer"
        return sealed

    def recipients(self):
        return ["relay@example.com"]


class Counted(EmailMessage):
    def send(self, *args, **kwargs):
        raise AssertionError("nobody calls this")


def test_attributes_of_a_message_for_the_mail_service_arrive_there(service, work_well):
    own = {"tags": ["welcome"], "metadata": {"day": date(2026, 2, 3)}, "esp_extra": {"pool": 7}}
    deliver_later(with_attributes(letter(), **own))
    work_well()
    [message] = service.messages
    assert isinstance(message, EmailMultiAlternatives)
    assert type(message).__qualname__ == "EmailMultiAlternatives"
    assert {name: getattr(message, name) for name in own} == own
    assert (message.subject, message.to) == ("Hello", ["a@b.example"])


def test_attributes_of_a_message_that_cannot_be_serialized_are_refused():
    with pytest.raises(SerializationError, match=r"its tags: a builtins\.object cannot be serialized"):
        deliver_later(with_attributes(letter(), tags=object()))


def test_a_subclass_is_sent_without_the_objects_that_it_was_made_from(customer, arrives, work_well):
    def make():
        return WithRequest(
            {"user": customer, "meta": object()}, "Hi", "<b>Ada</b>", "s@e.example", ["a@b.example"]
        )

    sent = arrives(make)
    assert sent.get_content_type() == "text/html"
    row = deliver_later(make())
    assert json.loads(row.payload)["message"]["own"] == {"tags": ["welcome"]}
    customer.delete()
    assert work_well() == 1


def test_a_subclass_that_renders_itself_is_sent_as_it_rendered_itself(arrives):
    def make():
        return Sealed(
            "Hi", "Grüße\nFrom me", "s@e.example", ["a@b.example"], headers={"Message-ID": "<1@x.example>"}
        )

    sent = arrives(make)
    assert sent["X-Seal"] == "größer"


def test_a_subclass_that_overrides_send_is_refused():
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
        {"class": "EmailMessage", "own": {"@type": ["nothing"]}, "attachments": []},
    ],
)
def test_an_invalid_message_in_a_payload_fails_the_job(message, service, work):
    row = deliver_later(letter())
    payload = json.loads(row.payload) | {"message": message}
    DelayedJob.objects.update(payload=json.dumps(payload))
    [outcome] = work()
    assert isinstance(outcome, Failed)
    assert outcome.error.error_class in ("DeserializationError", "UnknownCode")
    assert service.messages == []
