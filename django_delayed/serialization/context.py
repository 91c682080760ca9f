"""The language, the time zone and what a project adds, in which a job is enqueued, and then performed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from django.utils import timezone as django_timezone
from django.utils import translation

from ..conf import settings
from ..exceptions import DeserializationError, SerializationError
from .providers import capture, restored
from .zones import decode_zone, encode_zone

_LANGUAGE = re.compile(r"[A-Za-z0-9@_-]{1,64}")  # it becomes part of a path


@dataclass(frozen=True)
class Context:
    """A language, a time zone, and the values of CONTEXT's providers as JSON data.

    None stands for no translation and for the TIME_ZONE of the project.
    """

    language: str | None = None
    zone: tzinfo | None = None
    carried: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def current(cls) -> Context:
        """The context that is active now. Raises SerializationError."""
        return cls(translation.get_language(), django_timezone.get_current_timezone(), capture())

    def dump(self) -> dict[str, Any]:
        """The context as a part of a payload."""
        try:
            zone = encode_zone(self.zone)
        except SerializationError:
            # An unusual class of tzinfo: the job is performed in the worker's own zone.
            zone = None
        context = {"context": self.carried} if self.carried else {}
        return {"language": self.language, "timezone": zone, **context}

    @classmethod
    def load(cls, payload: dict[str, Any]) -> Context:
        """The context in a payload. Raises DeserializationError for a payload that holds none."""
        language = payload.get("language")
        if language is not None and not (isinstance(language, str) and _LANGUAGE.fullmatch(language)):
            raise DeserializationError(f"{language!r} is not a language.")
        carried = payload.get("context", {})
        if not isinstance(carried, dict):
            raise DeserializationError(f"{carried!r} is no context.")
        return cls(language, decode_zone(payload.get("timezone")), carried)

    @property
    def is_active(self) -> bool:
        """Whether the language and the zone are those of now, and nothing else is carried."""
        return (
            not self.carried
            and self.language == translation.get_language()
            and self.zone == django_timezone.get_current_timezone()
        )

    @contextmanager
    def active(self) -> Iterator[None]:
        """The block in which language and time zone are active, and the rest is restored."""
        others = restored(self.carried) if self.carried else nullcontext()
        with translation.override(self.language), django_timezone.override(self.zone), others:
            yield


def current_context() -> Callable[[], Context]:
    """`Context.current` for many jobs in a row, which looks again only when a context variable has changed.

    Language and time zone are kept in such variables. Looking both up takes 7 µs, as long as the rest of a
    row; comparing the variables takes one step while none was set.
    """
    if settings.CONTEXT:
        # What providers return may differ from job to job.
        return Context.current
    known, variables = Context.current(), copy_context()

    def current() -> Context:
        nonlocal known, variables
        if (now := copy_context()) != variables:
            known, variables = Context.current(), now
        return known

    return current
