"""MailJob, the backend that makes one of every mail of a project, and the transport that mail leaves by."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

from django.conf import settings as django_settings
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends import smtp
from django.core.mail.backends.base import BaseEmailBackend
from django.db import DatabaseError
from django.utils.module_loading import import_string

from ..conf import settings
from ..enqueueing import enqueue_all
from ..exceptions import DelayedError, DeserializationError
from ..jobs import Job
from .messages import dump, load

logger = logging.getLogger("django_delayed")

mailers: Any = getattr(mail, "mailers", None)  # from Django 6.1 on
_delivering: ContextVar[bool] = ContextVar("django_delayed_delivering", default=False)

REFUSED = {
    "fail_silently": "a worker sends the mail later, and tries again when that fails",
    "connection": "a connection cannot travel to a worker; name the transport in the settings",
    "auth_user": "the transport logs in as its own settings say",
    "auth_password": "the transport logs in as its own settings say",
}


class MailJob(Job):
    """A message on its way."""

    size_setting: ClassVar[str] = "MAX_MAIL_SIZE"

    def perform(self, message: EmailMessage, using: str | None) -> None:
        """Give it to the transport. An error of that means another try."""
        deliver(message, using)

    @property
    def name(self) -> str:
        """How many it goes to. Not to whom, nor the subject: names stand in logs, subjects tell secrets."""
        count = len(self.args[0].recipients())
        return f"Mail to {count} recipient{'' if count == 1 else 's'}"

    def dump_arguments(self) -> dict[str, Any]:
        message, using = self.args
        return {"message": dump(message), "using": using}

    @classmethod
    def load_arguments(cls, payload: dict[str, Any]) -> MailJob:
        try:
            return cls(load(payload["message"]), payload["using"])
        except (AttributeError, ValueError) as error:
            raise DeserializationError(f"The payload has a broken message: {error!r}") from error


def deliver(message: EmailMessage, using: str | None = None) -> None:
    """Send the message, now and for real."""
    backend = transport(using)
    with _no_queueing():
        backend.send_messages([message])


def transport(using: str | None = None) -> BaseEmailBackend:
    """What really sends: DJANGO_DELAYED["EMAIL_BACKEND"] where the project names one.

    Else the project's own mailer of that name, or its default; behind one of ours, the real one. So mail
    goes to `mail.outbox` wherever Django's own does, as under its test runner.
    """
    if _is_named() and not _has_mailers():
        return _from_path(settings.EMAIL_BACKEND)
    backend = mail.get_connection() if mailers is None else mailers[using or "default"]
    return backend.transport() if isinstance(backend, EmailBackend) else backend


@contextmanager
def _no_queueing() -> Iterator[None]:
    """A transport that hands over to the project's own backend would enqueue the mail again, without end."""
    token = _delivering.set(True)
    try:
        yield
    finally:
        _delivering.reset(token)


class EmailBackend(BaseEmailBackend):
    """Django's backend for projects whose every mail becomes a job.

    The worker sends through DJANGO_DELAYED["EMAIL_BACKEND"]; in MAILERS (Django 6.1), through the mailer
    whose alias stands in OPTIONS["mailer"].
    """

    def __init__(
        self,
        fail_silently: bool = False,
        *,
        mailer: str | None = None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> None:
        refuse({"auth_user": username, "auth_password": password})
        self.alias = kwargs.get("alias")
        if self.alias is None or "_ignore_unknown_kwargs" in kwargs:
            # These were given to get_connection(); what stands in OPTIONS, Django checks.
            for name in set(kwargs) - {"alias", "_ignore_unknown_kwargs"}:
                raise TypeError(
                    f"{name}= cannot be honoured: a worker sends the mail, through its transport."
                )
        super().__init__(**kwargs)
        self.fail_silently = fail_silently
        if self.alias is not None and not mailer:
            raise ImproperlyConfigured(f"{_where(self.alias)} must name the mailer that really sends.")
        self.mailer = mailer

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Enqueue the messages with one INSERT. Returns how many; with `fail_silently`, 0 when it fails."""
        jobs = [MailJob(message, self.alias) for message in email_messages if message.recipients()]
        try:
            if _delivering.get():
                raise ImproperlyConfigured(f"A mail from the queue came back to it. {_loop(self.alias)}")
            return sum(row is not None for row in enqueue_all(jobs))
        except (DatabaseError, DelayedError, ImproperlyConfigured):
            if not self.fail_silently:
                raise
            # Not as an error: who mails errors to the admins would come by here again.
            logger.warning("%d mails could not be enqueued", len(jobs), exc_info=True)
            return 0

    def transport(self) -> BaseEmailBackend:
        """What the worker sends through."""
        return _from_path(settings.EMAIL_BACKEND) if self.alias is None else mailers[self.mailer]


def refuse(options: dict[str, Any]) -> None:
    """Take what cannot be honoured out of the options. Raises TypeError where one of that is really meant."""
    for name, reason in REFUSED.items():
        if options.pop(name, None):
            raise TypeError(f"{name}= cannot be honoured: {reason}.")


def _from_path(path: str) -> BaseEmailBackend:
    backend = import_string(path)
    if mailers is not None and isinstance(backend, type) and issubclass(backend, smtp.EmailBackend):
        return backend(alias=None)  # without one, Django 6.1 warns
    return backend()


# What the system check asks


def problems() -> Iterator[str]:
    """Each sentence about a transport that would not send; nothing when all is well."""
    if not _has_mailers():
        yield from _problems_of_path(settings.EMAIL_BACKEND)
        return
    configured: dict[str, Any] = django_settings.MAILERS
    for alias in [alias for alias, config in configured.items() if _is_ours(config.get("BACKEND", ""))]:
        mailer = configured[alias].get("OPTIONS", {}).get("mailer")
        if mailer not in configured:
            yield f"{_where(alias)} must name the mailer that really sends, not {mailer!r}."
        elif _is_ours(configured[mailer].get("BACKEND", "")):
            yield _loop(alias)


def _is_named() -> bool:
    # Under Django's test runner nothing leaves the house, whatever is named.
    named = "EMAIL_BACKEND" in getattr(django_settings, "DJANGO_DELAYED", {})
    return named and django_settings.EMAIL_BACKEND != "django.core.mail.backends.locmem.EmailBackend"


def _has_mailers() -> bool:
    return mailers is not None and hasattr(django_settings, "MAILERS")


def _problems_of_path(path: str) -> Iterator[str]:
    if _is_ours(path):
        yield _loop(None)
    try:
        import_string(path)
    except ImportError as error:
        yield f"{_where(None)} cannot be imported: {error}"


def _where(alias: str | None) -> str:
    return "DJANGO_DELAYED['EMAIL_BACKEND']" if alias is None else f"MAILERS[{alias!r}]: OPTIONS['mailer']"


def _loop(alias: str | None) -> str:
    return f"{_where(alias)} must be a backend that really sends, not one that enqueues the mail again."


def _is_ours(path: str) -> bool:
    try:
        backend = import_string(path)
    except ImportError:
        return False
    return isinstance(backend, type) and issubclass(backend, EmailBackend)
