"""A message of Django's as JSON data, and back."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from email import policy as policies
from email.charset import Charset
from email.errors import HeaderParseError
from email.generator import BytesGenerator
from email.message import Message, MIMEPart
from email.mime.base import MIMEBase
from email.parser import BytesParser
from typing import Any

from django.core.mail import EmailAlternative, EmailAttachment, EmailMessage, EmailMultiAlternatives

from ..exceptions import DeserializationError, SerializationError, UnknownCode
from ..serialization import arguments

LISTS = ("to", "cc", "bcc", "reply_to")
SUBTYPES = ("content_subtype", "mixed_subtype", "alternative_subtype")
FIELDS = {*LISTS, *SUBTYPES, "subject", "body", "from_email", "extra_headers", "encoding"}
PARTS = {"attachments", "alternatives"}
CONNECTIONS = {"connection", "_connection"}  # of Django 5.2 and 6.1
_MISSING = object()


def dump(message: EmailMessage) -> dict[str, Any]:
    """The message as JSON data: its fields and the attributes that were set on it, whatever its class.

    If the class renders itself, what it renders is stored too: it might render something else in a worker.
    Raises ValueError for a header or an address that no transport would accept (the message is rendered once
    to find out), and SerializationError for an attribute that cannot be serialized.
    """
    rendered = message.message()
    for name in message.extra_headers:
        if not name.isascii():
            raise ValueError(f"{name!r} is not the name of a header, which is ASCII.")
    for address in [message.from_email, *message.recipients()]:
        check_address(str(address))
    data = {"class": _django_class(message).__name__, **_fields(message), "own": dict(_own(message))}
    if _renders_itself(message):
        data |= {"mime": as_bytes(rendered), "envelope": [str(address) for address in message.recipients()]}
    return {name: _encode(name, value) for name, value in data.items()}


def load(data: Any) -> EmailMessage:
    """The message that `dump` wrote, ready for a transport. Raises DeserializationError for other data."""
    values = arguments.decode(data)
    try:
        return _message(values)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise DeserializationError(f"The payload has a broken message: {error!r}") from error


def _message(values: dict[str, Any]) -> EmailMessage:
    name, own = values.pop("class"), values.pop("own")
    cls = RenderedMessage if "mime" in values else _CLASSES[name]
    message = cls()
    values["attachments"] = [_unpack_attachment(packed) for packed in values["attachments"]]
    if "alternatives" in values:
        values["alternatives"] = [
            EmailAlternative(_unpack(content), mimetype) for content, mimetype in values["alternatives"]
        ]
    if isinstance(values.get("encoding"), dict):
        values["encoding"] = _charset(values["encoding"])
    vars(message).update({**own, **values})
    return message


def check_address(address: str) -> None:
    """Raise ValueError for a text that is not one address: every transport of Django would do so later."""
    try:
        _, header = policies.default.header_store_parse("To", address)
    except (ValueError, IndexError, HeaderParseError) as error:
        raise ValueError(f"Invalid address {address!r}: {error}.") from None
    defects = [str(defect) for defect in header.defects]
    if len(header.addresses) != 1 or "invalid address in address-list" in defects:
        raise ValueError(f"Invalid address {address!r}: it must be one address.")


def overrides_send(message: EmailMessage) -> bool:
    """Whether the class of the message overrides send()."""
    return type(message).send is not EmailMessage.send


def connection_of(message: EmailMessage) -> Any:
    """The connection of the message, without the property that Django 6.1 deprecates."""
    values = vars(message)
    return values.get("connection", values.get("_connection"))


# The parts of a message


def _fields(message: EmailMessage) -> dict[str, Any]:
    cls = _django_class(message)
    fields: dict[str, Any] = {name: list(getattr(message, name)) for name in LISTS}
    fields |= {name: getattr(message, name) for name in ("subject", "body", "from_email", "encoding")}
    fields |= {"extra_headers": dict(message.extra_headers)}
    fields |= {"attachments": [_pack_attachment(attachment) for attachment in message.attachments]}
    if isinstance(message, EmailMultiAlternatives):
        fields["alternatives"] = [(_pack(content), mimetype) for content, mimetype in message.alternatives]
    if isinstance(message.encoding, Charset):
        fields["encoding"] = dict(vars(message.encoding))
    for name in SUBTYPES:
        # Only if it is not Django's own: Django 6.0 refuses two of them that 5.2 has on the class.
        if (value := getattr(message, name, _MISSING)) != getattr(cls, name, _MISSING):
            fields[name] = value
    return fields


def _own(message: EmailMessage) -> Iterator[tuple[str, Any]]:
    """The attributes of the message beside Django's fields, such as the tags that a mail service reads.

    For a class that is not Django's, without those that cannot be serialized, such as a request, and without
    model instances: if one were deleted before the mail is sent, the mail would fail.
    """
    for name, value in vars(message).items():
        if name in FIELDS | PARTS | CONNECTIONS:
            continue
        if type(message) is _django_class(message) or _can_be_stored(value):
            yield name, value


def _can_be_stored(value: Any) -> bool:
    try:
        return '"@type":"record"' not in arguments.to_json(arguments.encode(value))
    except SerializationError:
        return False


def _encode(name: str, value: Any) -> Any:
    if name == "own":
        return {key: _encode(key, item) for key, item in value.items()}
    return arguments.encode_as(f"its {name}", value)


def _django_class(message: EmailMessage) -> type[EmailMessage]:
    return EmailMultiAlternatives if isinstance(message, EmailMultiAlternatives) else EmailMessage


def _renders_itself(message: EmailMessage) -> bool:
    cls = _django_class(message)
    names = {name for name in dir(cls) if name.startswith("_") and not name.startswith("__")} - CONNECTIONS
    names |= {"message", "recipients"}
    return any(getattr(type(message), name) is not getattr(cls, name) for name in names)


# Attachments and alternatives: the kind and the data of their contents


def _pack(content: Any) -> tuple[str, Any]:
    match content:
        case str():
            # As bytes: a text file may have a NUL, which no database takes in a text.
            return "text", content.encode()
        case bytes() | bytearray() | memoryview():
            return "bytes", bytes(content)
        case MIMEPart():
            return "part", as_bytes(content)
        case Message():
            return "mime", as_bytes(content)
        case EmailMessage():
            return "message", dump(content)
    return "value", content


_UNPACK: dict[str, Callable[[Any], Any]] = {
    "text": lambda data: data.decode(),
    "bytes": lambda data: data,
    "part": lambda data: BytesParser(policy=policies.default).parsebytes(data),
    "mime": lambda data: BytesParser(_class=StoredMime).parsebytes(data),
    "message": load,
    "value": lambda data: data,
}


def _unpack(packed: tuple[str, Any]) -> Any:
    kind, data = packed
    if kind not in _UNPACK:
        raise UnknownCode(f"The payload has a mail part of the unknown kind {kind!r}.")
    return _UNPACK[kind](data)


def _pack_attachment(attachment: Any) -> Any:
    if isinstance(attachment, Message):
        return _pack(attachment)
    filename, content, mimetype = attachment
    return filename, _pack(content), mimetype


def _unpack_attachment(packed: Any) -> Any:
    if len(packed) == 2:
        return _unpack(packed)
    filename, content, mimetype = packed
    return EmailAttachment(filename, _unpack(content), mimetype)


def _charset(attributes: dict[str, Any]) -> Charset:
    charset = Charset()
    vars(charset).update(attributes)
    return charset


# MIME as bytes


def as_bytes(part: Message) -> bytes:
    """The part as it would be sent; "From " at the start of a line stays as it is."""
    out = io.BytesIO()
    BytesGenerator(out, mangle_from_=False).flatten(part)
    return out.getvalue()


class StoredMime(MIMEBase):
    """A part that was stored. It is a MIMEBase because Django 5.2 takes nothing else as an attachment."""

    def __init__(self, policy: Any = policies.compat32) -> None:
        Message.__init__(self, policy=policy)

    def as_bytes(self, unixfrom: bool = False, policy: Any = None, linesep: str | None = None) -> bytes:
        """As Python's; takes the `linesep` that Django 5.2 gives."""
        policy = policy or self.policy
        return super().as_bytes(unixfrom, policy.clone(linesep=linesep) if linesep else policy)


class RenderedMessage(EmailMultiAlternatives):
    """A message of a class that rendered itself: the result, and the fields for code that reads them."""

    mime: bytes
    envelope: list[str]

    def message(self, *, policy: Any = None) -> Any:
        """The stored MIME. Django 5.2 asks for it without a policy, and for its bytes with a `linesep`."""
        if policy is None:
            return BytesParser(_class=StoredMime).parsebytes(self.mime)
        return BytesParser(policy=policy).parsebytes(self.mime)

    def recipients(self) -> list[str]:
        """The recipients that the original had."""
        return self.envelope


_CLASSES = {cls.__name__: cls for cls in (EmailMessage, EmailMultiAlternatives)}
