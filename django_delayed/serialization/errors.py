"""An error as text that always fits into its column, and a fingerprint that groups errors of one cause."""

from __future__ import annotations

import hashlib
import re
import traceback
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from textwrap import indent
from types import TracebackType

from .frames import innermost_frame, is_machinery

TEXT_LIMIT = 64 * 1024  # bytes of `last_error`
MESSAGE_LIMIT = 16 * 1024  # characters of the message in it
SHORT_LIMIT = 255  # characters of error_class and error_message
TEMPLATE_LIMIT = 2048  # characters of the message in the fingerprint
MEMBERS_LIMIT = 10  # members of an exception group
# Causes of an error; a chain of thousands is a loop.
CHAIN_LIMIT = 50
# In ASCII, as the text around it may have to be.
CUT = "\n... cut ...\n"
_VARIABLE = re.compile(r"""0x[0-9a-fA-F]+|[0-9a-fA-F-]{32,36}|\d+|(?<!\w)'[^']*'|"[^"]*\"""")


@dataclass(frozen=True)
class ErrorText:
    """An error as text: its class, the first line of its message, the whole text, its fingerprint.

    `path` is the class with its module, by which it can be imported; a builtin class has no module there.
    """

    error_class: str
    message: str
    text: str
    fingerprint: str
    path: str = ""

    @property
    def columns(self) -> dict[str, str]:
        """The columns of a row that hold the error."""
        return {
            "last_error": self.text,
            "error_class": self.error_class,
            "error_message": self.message,
            "error_fingerprint": self.fingerprint,
        }

    def in_ascii(self) -> ErrorText:
        """The same for a column with a charset that cannot store the text."""
        return replace(
            self,
            error_class=_ascii(self.error_class)[:SHORT_LIMIT],
            message=_ascii(self.message)[:SHORT_LIMIT],
            path=_ascii(self.path)[:SHORT_LIMIT],
            text=cut(_ascii(self.text)),
        )

    def withheld(self) -> ErrorText:
        """The same without its text, for a database that refuses even ASCII, for example for its length."""
        message = "(the text of the error could not be stored)"
        return replace(self, error_class="Error", message=message, text="Error", path="")


def describe(error: BaseException, name: str = "") -> ErrorText:
    """The error as text: its message, then its traceback, without local variables. Never raises.

    `name` is the name of the job, a part of the fingerprint.
    """
    kind = _kind(error)
    message = _message(error)
    headline = f"{kind}: {message}" if message else kind
    text = cut(f"{headline}\n\n{_traceback(error)}".rstrip())
    first_line = message.strip().split("\n", 1)[0][:SHORT_LIMIT]
    return ErrorText(kind, first_line, text, _fingerprint(error, kind, message, name), _path(error, kind))


def begin_at_application(error: BaseException) -> None:
    """Let the traceback of the error, and those of its causes, begin at the first frame of the application.

    The frames before it are ours and Python's own; they say how a worker calls a job, and are the same for
    every job. A traceback that has no others stays as it is.
    """
    with suppress(Exception):
        for link in _chain(error):
            # Not the method of the error: its class may override that.
            BaseException.with_traceback(link, _from_application(link.__traceback__))


def _from_application(whole: TracebackType | None) -> TracebackType | None:
    entry = whole
    while entry and is_machinery(entry.tb_frame.f_code.co_filename):
        entry = entry.tb_next
    return entry or whole


def text_of_traceback(error: BaseException) -> str:
    """The traceback for the log: bounded, indented, and without characters that would control a terminal."""
    lines = map(printable, _traceback(error).split("\n"))
    return indent("\n".join(lines).rstrip(), "    ")


def clear_frames(error: BaseException) -> None:
    """Free the local variables of the frames that the error and its causes hold.

    Each frame holds the frames that called it, and one of these holds the error. Without this, the data of a
    failed job stays in memory until Python collects cycles.
    """
    # A class of errors may override what is read here.
    with suppress(Exception):
        for link in _chain(error):
            traceback.clear_frames(link.__traceback__)


def storable(text: str) -> str:
    """The text without what some database cannot store: NUL becomes �, a lone surrogate its escape."""
    return text.replace("\0", "\ufffd").encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: str) -> str:
    """The text with escapes for characters that would end a line of the log or control a terminal."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def cut(text: str, limit: int = TEXT_LIMIT) -> str:
    """At most `limit` bytes of UTF-8: the head and the tail, where the message and the last frame are."""
    if len(text) * 4 <= limit or len(encoded := text.encode("utf-8")) <= limit:
        return text
    half = (limit - len(CUT.encode("utf-8"))) // 2
    return encoded[:half].decode("utf-8", "ignore") + CUT + encoded[-half:].decode("utf-8", "ignore")


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _kind(error: BaseException) -> str:
    # Not type(error).__name__: a metaclass may define that, and raise in it.
    name = storable(type.__dict__["__name__"].__get__(type(error)))[:SHORT_LIMIT]
    return name or "Error"


def _path(error: BaseException, kind: str) -> str:
    try:
        module = type.__dict__["__module__"].__get__(type(error))
        qualname = type.__dict__["__qualname__"].__get__(type(error))
        return storable(qualname if module == "builtins" else f"{module}.{qualname}")[:SHORT_LIMIT]
    except BaseException:
        # A class may have set its __module__ to anything.
        return kind


def _message(error: BaseException) -> str:
    try:
        return storable(_ends(str(error)))
    except BaseException as broken:
        # Whatever __str__ raises, the failure is recorded.
        return f"(its message could not be read: {_kind(broken)})"


def _ends(message: str) -> str:
    """The head and the tail of a long message: the output of a program says at the end what was wrong."""
    if len(message) <= MESSAGE_LIMIT:
        return message
    half = (MESSAGE_LIMIT - len(CUT)) // 2
    return message[:half] + CUT + message[-half:]


def _traceback(error: BaseException) -> str:
    try:
        return storable(_head_and_tail(_lines(error)))
    except BaseException as broken:
        return f"(its traceback could not be written: {_kind(broken)})"


def _head_and_tail(lines: Iterable[str]) -> str:
    head: list[str] = []
    tail: deque[str] = deque(maxlen=400)
    size = in_tail = 0
    for line in lines:
        line = line if len(line) <= 2000 else f"{line[:1000]} … {line[-1000:]}"
        if size < TEXT_LIMIT:
            head.append(line)
            size += len(line)
        else:
            tail.append(line)
            in_tail += 1
    return "".join(head) + (CUT if in_tail > len(tail) else "") + "".join(tail)


def _chain(error: BaseException) -> list[BaseException]:
    """The error and its causes, innermost first, in the order in which Python prints them."""
    chain = [error]
    while len(chain) < CHAIN_LIMIT:
        last = chain[-1]
        cause = last.__cause__ if last.__suppress_context__ else last.__context__
        if cause is None or any(cause is link for link in chain):
            break
        chain.append(cause)
    return chain[::-1]


def _lines(error: BaseException) -> Iterable[str]:
    for number, link in enumerate(_chain(error)):
        if number:
            yield "\nThe error above led to the next one:\n\n"
        yield from _link(link)
        # Other errors may have an attribute `exceptions` that is something else.
        members = link.exceptions if isinstance(link, BaseExceptionGroup) else ()
        for member in members[:MEMBERS_LIMIT]:
            yield "  | \n"
            yield from (indent(line, "  | ") for line in _link(member))
        if len(members) > MEMBERS_LIMIT:
            yield f"  | \n  | ... and {len(members) - MEMBERS_LIMIT} more\n"


def _link(error: BaseException) -> Iterable[str]:
    if error.__traceback__:
        yield "Traceback (most recent call last):\n"
        frames = traceback.walk_tb(error.__traceback__)
        yield from traceback.StackSummary.extract(frames, limit=-200).format()
    message = _message(error)
    yield f"{_kind(error)}: {message}\n" if message else f"{_kind(error)}\n"
    notes = getattr(error, "__notes__", ())
    yield from (f"{note}\n" for note in notes if isinstance(note, str)) if isinstance(notes, list) else ()


def _fingerprint(error: BaseException, kind: str, message: str, name: str) -> str:
    template = _VARIABLE.sub("?", message[:TEMPLATE_LIMIT])
    parts = "\0".join(("1", kind, innermost_frame(error), template, name))
    return hashlib.sha256(parts.encode("utf-8", "backslashreplace")).hexdigest()[:16]
