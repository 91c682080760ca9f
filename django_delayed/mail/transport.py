"""The transport: the backend through which a worker sends mail, and what can be wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from django.conf import settings as django_settings
from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends import locmem, smtp
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string

from ..conf import settings
from .refusals import send

mailers: Any = getattr(mail, "mailers", None)  # from Django 6.1 on
_delivering: ContextVar[bool] = ContextVar("django_delayed_delivering", default=False)


def deliver(message: EmailMessage, using: str | None = None) -> None:
    """Send the message now. `using` names a mailer of MAILERS. Raises MailRefused and what `send` raises."""
    backend = transport(using)
    token = _delivering.set(True)
    try:
        send(backend, message)
    finally:
        _delivering.reset(token)


def is_delivering() -> bool:
    """Whether a transport is sending in this context: a mail that it enqueues would loop for ever."""
    return _delivering.get()


def transport(using: str | None = None) -> BaseEmailBackend:
    """The backend that sends: DJANGO_DELAYED["EMAIL_BACKEND"] if the project sets it.

    Otherwise the project's mailer of that name or its default; if that is our EmailBackend, the backend
    behind it. Under Django's test runner, mail goes where Django's own mail goes, and to `mail.outbox` where
    that would become a job.
    """
    is_test = is_in_test_environment()
    if _is_set() and not _has_mailers() and not is_test:
        return configured_backend()
    backend: Any = mail.get_connection() if mailers is None else mailers[using or "default"]
    # Asks the class: an instance may be a mock or a wrapper with a __getattr__, which has every attribute.
    is_ours = hasattr(type(backend), "backend_behind")
    if is_test and (is_ours or any(_aliases_of_ours())):
        return locmem.EmailBackend()
    return backend.backend_behind() if is_ours else backend


def is_in_test_environment() -> bool:
    """Whether Django's test runner, or one that does the same, has set up `mail.outbox` in this process."""
    # The outbox alone does not tell: the locmem backend makes one wherever it is used.
    state = getattr(sys.modules.get("django.test.utils"), "_TestState", None)
    return hasattr(mail, "outbox") and hasattr(state, "saved_data")


def configured_backend() -> BaseEmailBackend:
    """An instance of DJANGO_DELAYED["EMAIL_BACKEND"]."""
    backend = import_string(settings.EMAIL_BACKEND)
    if mailers is not None and isinstance(backend, type) and issubclass(backend, smtp.EmailBackend):
        # Without an alias, Django 6.1 warns.
        return backend(alias=None)
    return backend()


def setting_of(alias: str | None) -> str:
    """The setting that names the transport of a mailer, or of a project without MAILERS."""
    return "DJANGO_DELAYED['EMAIL_BACKEND']" if alias is None else f"MAILERS[{alias!r}]: OPTIONS['mailer']"


def loop_error(alias: str | None) -> str:
    """The sentence for a transport that would enqueue its mail again."""
    return f"{setting_of(alias)} must be a backend that sends mail, not one that enqueues it again."


def problems() -> Iterator[str]:
    """A sentence for each thing that is wrong with the transport, for the system check."""
    if not _has_mailers():
        yield from _problems_of_path(settings.EMAIL_BACKEND)
        return
    configured: dict[str, Any] = django_settings.MAILERS
    for alias in _aliases_of_ours():
        mailer = configured[alias].get("OPTIONS", {}).get("mailer")
        if mailer not in configured:
            yield f"{setting_of(alias)} must name the mailer that sends, not {mailer!r}."
        elif _is_ours(configured[mailer].get("BACKEND", "")):
            yield loop_error(alias)


def _problems_of_path(path: str) -> Iterator[str]:
    if _is_ours(path):
        yield loop_error(None)
    try:
        import_string(path)
    except ImportError as error:
        yield f"{setting_of(None)} cannot be imported: {error}"


def _aliases_of_ours() -> Iterator[str]:
    """The mailers that turn their mail into jobs."""
    configured: dict[str, Any] = django_settings.MAILERS if _has_mailers() else {}
    return (alias for alias, config in configured.items() if _is_ours(config.get("BACKEND", "")))


def _is_set() -> bool:
    # A project's settings for tests may name locmem, also in processes that no test runner has started.
    in_settings = "EMAIL_BACKEND" in getattr(django_settings, "DJANGO_DELAYED", {})
    return in_settings and django_settings.EMAIL_BACKEND != "django.core.mail.backends.locmem.EmailBackend"


def _has_mailers() -> bool:
    return mailers is not None and hasattr(django_settings, "MAILERS")


def _is_ours(path: str) -> bool:
    try:
        return hasattr(import_string(path), "backend_behind")
    except ImportError:
        return False
