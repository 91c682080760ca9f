"""Time zones as JSON data, and back."""

from __future__ import annotations

from datetime import timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from ..exceptions import DeserializationError, SerializationError


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
