"""The language, the time zone and what a project adds, in which a job is enqueued, and then performed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone as django_timezone
from django.utils import translation

from ..exceptions import DeserializationError, SerializationError
from .providers import capture, restored

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
        """What is active now. Raises SerializationError."""
        return cls(translation.get_language(), django_timezone.get_current_timezone(), capture())

    def dump(self) -> dict[str, Any]:
        """The context as the part of a payload."""
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


def encode_zone(zone: tzinfo | None) -> Any:
    """A time zone as JSON data: its key, or its offset in microseconds and its name if it has one.

    Raises SerializationError for other kinds.
    """
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key:
        return zone.key
    if type(zone) is timezone:
        offset, name = zone.utcoffset(None), zone.tzname(None)
        microseconds = offset // timedelta(microseconds=1)
        return microseconds if name == timezone(offset).tzname(None) else [microseconds, name]
    raise SerializationError(
        f"its time zone {zone!r} cannot be stored; use zoneinfo.ZoneInfo or datetime.timezone"
    )


def decode_zone(zone: Any) -> tzinfo | None:
    """The time zone that `encode_zone` wrote. Raises DeserializationError."""
    try:
        if zone is None:
            return None
        if isinstance(zone, str):
            return ZoneInfo(zone)
        microseconds, *name = zone if isinstance(zone, list) else [zone]
        return timezone(timedelta(microseconds=microseconds), *name)
    except (LookupError, OSError, TypeError, ValueError, OverflowError) as error:
        raise DeserializationError(f"There is no time zone {zone!r}: {error!r}") from error
