"""deliver_later and send_mail: a message becomes a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

from django.core.mail import EmailMessage, EmailMultiAlternatives

from ..enqueueing import enqueue
from ..options import JobOptions
from .backend import REFUSED, EmailBackend, remove_refused
from .jobs import MailJob
from .messages import connection_of, overrides_send
from .transport import mailers

if TYPE_CHECKING:
    from ..models import DelayedJob


def deliver_later(
    message: EmailMessage, *, using: str | None = None, **options: Unpack[JobOptions]
) -> DelayedJob | None:
    """Enqueue a message for a worker to send, with its attachments and alternatives, up to MAX_MAIL_SIZE.

    `using` names the mailer (Django 6.1 and its MAILERS); the options are those of a job: queue, priority,
    run_at or wait_until, wait, max_attempts, max_run_time. Returns the row of the job; None for a message
    without recipients, which Django does not send either. Raises TypeError, ValueError or SerializationError
    for a message that could not be sent.
    """
    remove_refused(options)
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
    **options: Unpack[JobOptions],
) -> DelayedJob | None:
    """Django's `send_mail`, queued: the same arguments, then the options of a job.

    Returns and raises as `deliver_later` does.
    """
    remove_refused(options)
    mail = EmailMultiAlternatives(subject, message, from_email, recipient_list)
    if html_message:
        mail.attach_alternative(html_message, "text/html")
    return deliver_later(mail, using=using, **options)


def check_message(message: EmailMessage) -> None:
    """Raise TypeError for a message that a worker would not send as the caller means it."""
    if not isinstance(message, EmailMessage):
        raise TypeError(f"A message must be one of django.core.mail's, not {message!r}.")
    if not isinstance(connection_of(message), (EmailBackend, type(None))):
        raise TypeError(f"The message has a connection of its own: {REFUSED['connection']}.")
    if overrides_send(message):
        raise TypeError(
            f"{type(message).__qualname__} overrides send(), which a worker does not call; call it yourself, "
            "with django_delayed.mail.EmailBackend as the backend that it sends through."
        )


def _check_using(using: str | None) -> None:
    if using is None:
        return
    if mailers is None:
        raise TypeError("using= names a mailer of MAILERS, which this version of Django does not have.")
    # Raises Django's own error for an unknown mailer.
    _ = mailers[using]
