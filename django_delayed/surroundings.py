"""The language and the time zone in which a job is enqueued, and then performed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone as django_timezone
from django.utils import translation

from .exceptions import DeserializationError, SerializationError

_LANGUAGE = re.compile(r"[A-Za-z0-9@_-]{1,64}")  # it becomes part of a path


def surroundings() -> dict[str, Any]:
    """The language and the time zone that are active now, as JSON data."""
    try:
        zone = encode_zone(django_timezone.get_current_timezone())
    except SerializationError:
        zone = None  # an unusual class of tzinfo: the worker's own zone has to do
    return {"language": translation.get_language(), "timezone": zone}


def read_surroundings(payload: dict[str, Any]) -> tuple[str | None, tzinfo | None]:
    """The language and the time zone in which the job of this payload was enqueued.

    Raises DeserializationError for what is none.
    """
    language = payload.get("language")
    if language is not None and not (isinstance(language, str) and _LANGUAGE.fullmatch(language)):
        raise DeserializationError(f"{language!r} is no language.")
    return language, decode_zone(payload.get("timezone"))


@contextmanager
def surrounded(language: str | None, zone: tzinfo | None) -> Iterator[None]:
    """The block in which these are active."""
    with translation.override(language), django_timezone.override(zone):
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
        f"its time zone {zone!r} cannot travel; use zoneinfo.ZoneInfo or datetime.timezone"
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
