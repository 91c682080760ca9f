"""The headers that a mail has from its enqueue on: two copies of it can be recognized as one mail."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from email.utils import format_datetime, make_msgid
from typing import Any

from django.conf import settings as django_settings
from django.core.mail import DNS_NAME, EmailMessage
from django.utils import timezone

Headers = dict[str, str]


def new_headers() -> Headers:
    """A new Message-ID and the current Date, as Django itself would write them."""
    zone = timezone.get_current_timezone() if django_settings.EMAIL_USE_LOCALTIME else UTC
    return {"Message-ID": make_msgid(domain=str(DNS_NAME)), "Date": format_datetime(datetime.now(zone))}


def fix_headers(message: EmailMessage, headers: Headers) -> None:
    """Make the message render with these headers, unless it or its class sets them itself."""
    given = {name.lower() for name in message.extra_headers}
    vars(message)["fixed_headers"] = {name: headers[name] for name in headers if name.lower() not in given}
    cls: Any = type(message)
    message.__class__ = _with_headers(cls)


class _WithHeaders:
    """Put over the class of a message. Copies of the message keep it, pickled ones too."""

    original: type[EmailMessage]
    extra_headers: dict[str, str]
    fixed_headers: Headers

    def message(self, **options: Any) -> Any:
        """As the class of the message renders it."""
        own = self.extra_headers
        # Only while it renders: transports for web services read extra_headers, and many refuse these two.
        self.extra_headers = own | self.fixed_headers
        try:
            return super().message(**options)  # type: ignore[misc]
        finally:
            self.extra_headers = own

    def __reduce_ex__(self, protocol: Any) -> Any:
        reduced: Any = super().__reduce_ex__(protocol)
        return _new, (self.original,), *reduced[2:]


@functools.cache
def _with_headers(cls: Any) -> Any:
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (_WithHeaders, cls), {**names, "original": cls})


def _new(cls: Any) -> Any:
    return object.__new__(_with_headers(cls))
