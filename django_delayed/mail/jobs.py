"""MailJob: a message that a worker sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.core.mail import EmailMessage

from ..conf import settings
from ..exceptions import DeserializationError
from ..jobs import Job
from .headers import fix_headers, new_headers
from .messages import dump, load
from .transport import deliver


def mail_queue() -> str:
    """The queue of mail for which the caller names none."""
    return settings.MAIL_QUEUE or settings.DEFAULT_QUEUE


class MailJob(Job, tag="mail"):
    """The job that sends a message."""

    queue = mail_queue
    size_setting: ClassVar[str] = "MAX_MAIL_SIZE"

    def perform(self, message: EmailMessage, using: str | None) -> None:
        """Give the message to the transport. Its errors are errors of the job."""
        deliver(message, using)

    @property
    def name(self) -> str:
        """To how many it goes. No addresses and no subject: names are written to the log."""
        count = len(self.args[0].recipients())
        return f"Mail to {count} recipient{'' if count == 1 else 's'}"

    def dump_arguments(self) -> dict[str, Any]:
        message, using = self.args
        return {"message": dump(message), "using": using, "headers": new_headers()}

    @classmethod
    def load_arguments(cls, payload: dict[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        message = load(payload.get("message"))
        try:
            fix_headers(message, dict(payload.get("headers", {})))
        except (AttributeError, TypeError, ValueError) as error:
            raise DeserializationError(f"The payload has broken headers: {error!r}") from error
        return (message, payload.get("using")), {}
