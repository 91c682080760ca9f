"""EmailBackend: the mail backend for projects in which every mail becomes a job."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.db import DatabaseError

from ..enqueueing import enqueue_all
from ..exceptions import DelayedError
from ..reports import is_refused, reporting
from .jobs import MailJob
from .transport import configured_backend, is_delivering, loop_error, mailers, setting_of

logger = logging.getLogger("django_delayed")

REFUSED = {
    "fail_silently": "a worker sends the mail later, and tries again when that fails",
    "connection": "a worker cannot use a connection of this process; name the transport in the settings",
    "auth_user": "the transport logs in as its own settings say",
    "auth_password": "the transport logs in as its own settings say",
}


class EmailBackend(BaseEmailBackend):
    """An email backend for Django that enqueues each mail.

    The worker sends through DJANGO_DELAYED["EMAIL_BACKEND"]; in MAILERS (Django 6.1), through the mailer
    that OPTIONS["mailer"] names.
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
        remove_refused({"auth_user": username, "auth_password": password})
        self.alias = kwargs.get("alias")
        if self.alias is None or "_ignore_unknown_kwargs" in kwargs:
            # These were given to get_connection(); Django checks those in OPTIONS itself.
            for name in set(kwargs) - {"alias", "_ignore_unknown_kwargs"}:
                raise TypeError(f"{name}= has no effect: a worker sends the mail, through its transport.")
        super().__init__(**kwargs)
        self.fail_silently = fail_silently
        if self.alias is not None and not mailer:
            raise ImproperlyConfigured(f"{setting_of(self.alias)} must name the mailer that sends.")
        self.mailer = mailer

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Enqueue the messages with one INSERT. Returns how many.

        Returns 0 while a failure is announced that must enqueue nothing, and with `fail_silently` also if the
        enqueue fails.
        """
        if is_refused():
            return 0
        jobs = [MailJob(message, self.alias) for message in email_messages if message.recipients()]
        try:
            if is_delivering():
                raise ImproperlyConfigured(
                    f"The transport put a mail back into the queue. {loop_error(self.alias)}"
                )
            return sum(row is not None for row in enqueue_all(jobs))
        except (DatabaseError, DelayedError, ImproperlyConfigured):
            if not self.fail_silently:
                raise
            # A log handler may mail this record through this backend.
            with reporting():
                logger.warning("Mails that could not be enqueued: %d", len(jobs), exc_info=True)
            return 0

    def backend_behind(self) -> BaseEmailBackend:
        """The backend through which the worker sends."""
        return configured_backend() if self.alias is None else mailers[self.mailer]


def remove_refused(options: Any) -> None:
    """Remove the options that queued mail cannot have. Raises TypeError if one has a truthy value."""
    for name, reason in REFUSED.items():
        if options.pop(name, None):
            raise TypeError(f"{name}= has no effect on queued mail: {reason}.")
