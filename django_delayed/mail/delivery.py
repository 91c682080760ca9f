"""MailJob: a message on its way; what enqueues one, and the transport that it leaves by."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings as django_settings
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.backends import smtp
from django.core.mail.backends.base import BaseEmailBackend
from django.db import DatabaseError
from django.utils.module_loading import import_string

from ..conf import settings
from ..enqueueing import enqueue, enqueue_all
from ..exceptions import DelayedError, DeserializationError
from ..jobs import Job
from .messages import dump, has_connection, load, overrides_send

if TYPE_CHECKING:
    from ..models import DelayedJob

logger = logging.getLogger("django_delayed")

mailers: Any = getattr(mail, "mailers", None)  # from Django 6.1 on
_delivering: ContextVar[bool] = ContextVar("django_delayed_delivering", default=False)

_REFUSED = {
    "fail_silently": "a worker sends the mail later, and tries again when that fails",
    "connection": "a connection cannot travel to a worker; name the transport in the settings",
    "auth_user": "the transport logs in as its own settings say",
    "auth_password": "the transport logs in as its own settings say",
}


def deliver_later(message: EmailMessage, *, using: str | None = None, **options: Any) -> DelayedJob | None:
    """Enqueue a message; a worker sends it. Attachments and alternatives go along, up to MAX_MAIL_SIZE.

    `using` names the mailer (Django 6.1 and its MAILERS); the options are those of a job: queue, priority,
    run_at or wait_until, wait. Returns its row; None when it has no recipients: Django sends nothing then.
    Raises TypeError, ValueError or SerializationError for a message that could not be sent.
    """
    _refuse(options)
    check_message(message)
    _check_using(using)
    return enqueue(MailJob(message, using), **options) if message.recipients() else None


def send_mail(
    subject: str,
    message: str,
    from_email: str | None,
    recipient_list: Sequence[str],
    *,
    html_message: str | None = None,
    using: str | None = None,
    **options: Any,
) -> DelayedJob | None:
    """Django's `send_mail`, queued: the same arguments, then the options of a job.

    Returns and raises as `deliver_later` does.
    """
    _refuse(options)
    mail = EmailMultiAlternatives(subject, message, from_email, recipient_list)
    if html_message:
        mail.attach_alternative(html_message, "text/html")
    return deliver_later(mail, using=using, **options)


class MailJob(Job):
    """A message on its way."""

    size_setting: ClassVar[str] = "MAX_MAIL_SIZE"

    def perform(self, message: EmailMessage, using: str | None) -> None:
        """Give it to the transport. An error of that means another try."""
        deliver(message, using)

    @property
    def name(self) -> str:
        """How many it goes to. Not to whom and not its subject: names stand in logs, subjects tell secrets."""
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
    """What really sends: the project's mailer of that name, or its default; behind one of ours, the real one.

    So mail goes to `mail.outbox` wherever Django's own does, as under its test runner.
    """
    backend = mail.get_connection() if mailers is None else mailers[using or "default"]
    return backend.transport() if isinstance(backend, EmailBackend) else backend


def check_message(message: EmailMessage) -> None:
    """Raise TypeError for what a worker cannot send as it was meant."""
    if not isinstance(message, EmailMessage):
        raise TypeError(f"A message must be one of django.core.mail's, not {message!r}.")
    if not isinstance(has_connection(message), (EmailBackend, type(None))):
        raise TypeError(f"The message has a connection of its own: {_REFUSED['connection']}.")
    if overrides_send(message):
        raise TypeError(
            f"{type(message).__qualname__} overrides send(), which a worker does not call; call it yourself, "
            "with django_delayed.mail.EmailBackend as the backend that it sends through."
        )


class EmailBackend(BaseEmailBackend):
    """Django's backend for projects whose every mail becomes a job.

    As EMAIL_BACKEND, the worker sends through DJANGO_DELAYED["EMAIL_BACKEND"]; in MAILERS (Django 6.1), through
    the mailer whose alias stands in OPTIONS["mailer"].
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
        _refuse({"auth_user": username, "auth_password": password})
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
            raise ImproperlyConfigured(
                f"MAILERS[{self.alias!r}]: OPTIONS['mailer'] must name the mailer that really sends."
            )
        self.mailer = mailer

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Enqueue the messages, with one INSERT; returns how many: with `fail_silently`, 0 when that fails."""
        if _delivering.get():
            raise ImproperlyConfigured("The transport of the mail queue sends its mail to the mail queue.")
        jobs = [MailJob(message, self.alias) for message in email_messages if message.recipients()]
        try:
            return sum(row is not None for row in enqueue_all(jobs))
        except (DatabaseError, DelayedError):
            if not self.fail_silently:
                raise
            # Not as an error: who mails errors to the admins would come by here again.
            logger.warning("%d mails could not be enqueued", len(jobs), exc_info=True)
            return 0

    def transport(self) -> BaseEmailBackend:
        """What the worker sends through. Raises ImproperlyConfigured when that is one of ours again."""
        backend = _from_path(settings.EMAIL_BACKEND) if self.alias is None else mailers[self.mailer]
        if isinstance(backend, EmailBackend):
            raise ImproperlyConfigured(_loop(self.alias))
        return backend


def problems() -> Iterator[str]:
    """Each sentence about a transport that would not send; nothing when all is well."""
    if mailers is None or not hasattr(django_settings, "MAILERS"):
        if _is_ours(settings.EMAIL_BACKEND):
            yield _loop(None)
        return
    configured: dict[str, Any] = django_settings.MAILERS
    for alias in [alias for alias, config in configured.items() if _is_ours(config.get("BACKEND", ""))]:
        mailer = configured[alias].get("OPTIONS", {}).get("mailer")
        if mailer not in configured:
            yield f"MAILERS[{alias!r}]: OPTIONS['mailer'] must name the mailer that really sends, not {mailer!r}."
        elif _is_ours(configured[mailer].get("BACKEND", "")):
            yield _loop(alias)


def _loop(alias: str | None) -> str:
    where = "DJANGO_DELAYED['EMAIL_BACKEND']" if alias is None else f"MAILERS[{alias!r}]: OPTIONS['mailer']"
    return f"{where} must be a backend that really sends, not one that enqueues the mail again."


def _is_ours(path: str) -> bool:
    try:
        backend = import_string(path)
    except ImportError:
        return False
    return isinstance(backend, type) and issubclass(backend, EmailBackend)


def _from_path(path: str) -> BaseEmailBackend:
    cls = import_string(path)
    # Django 6.1 takes an SMTP backend without an alias for a deprecated use.
    given = {"alias": None} if mailers is not None and issubclass(cls, smtp.EmailBackend) else {}
    return cls(**given)


@contextmanager
def _no_queueing() -> Iterator[None]:
    """A transport that hands over to the project's own backend would enqueue the mail again, without end."""
    token = _delivering.set(True)
    try:
        yield
    finally:
        _delivering.reset(token)


def _refuse(options: dict[str, Any]) -> None:
    for name, reason in _REFUSED.items():
        if options.pop(name, None):
            raise TypeError(f"{name}= cannot be honoured: {reason}.")


def _check_using(using: str | None) -> None:
    if using is None:
        return
    if mailers is None:
        raise TypeError("using= names a mailer of MAILERS, which this version of Django does not have.")
    _ = mailers[using]  # raises Django's own error for an unknown one
