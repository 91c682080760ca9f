"""Mailer: a class of methods that return messages, which a worker renders and sends."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self, Unpack

from django.core.mail import EmailMessage

from ..calls import DelayProxy
from ..calls.call import DelayedCall, method_in
from ..calls.methods import find_method
from ..exceptions import UnknownCode
from ..jobs import Job
from ..jobs.signatures import check_fit, check_kind
from ..options import JobOptions, Layers, check_options
from ..serialization import names
from .delivery import check_message
from .headers import Headers, fix_headers, new_headers
from .jobs import mail_queue
from .transport import deliver

logger = logging.getLogger("django_delayed")


class Mailer:
    """Mails that belong together: each public method makes one, and returns the message or None.

    `UserMailer.delay(queue="mail").registration(user)` enqueues. The worker fetches the user, calls the
    method in the language and the time zone of the enqueue, and sends what it returns.
    `UserMailer().registration(user)` returns the message in this process, to look at or to `.send()`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        try:
            inspect.signature(cls).bind()
        except TypeError as error:
            raise TypeError(f"{cls.__qualname__}: a worker makes it without arguments: {error}.") from None

    @classmethod
    def delay(cls, **options: Unpack[JobOptions]) -> Self:
        """A stand-in: its methods enqueue the mail and return the DelayedJob. Takes the options of a job."""
        proxy: Any = DelayProxy(cls, (check_options(options),), delayed_mail)
        return proxy


def delayed_mail(mailer: type[Mailer], method: str, layers: Layers) -> DelayedCall[...]:
    """The mail of a mailer, waiting for its arguments."""
    return DelayedCall(partial(MailerJob, Mail(mailer, method)), layers)


class Mail:
    """One mail of a mailer: the method that renders it, looked up once, and its headers since the enqueue.

    Raises AttributeError or TypeError for a method that is not a mail.
    """

    def __init__(self, mailer: type[Mailer], method: str, headers: Headers | None = None) -> None:
        self.headers = headers or {}
        self.mailer = mailer
        self.method = method
        self.name = f"{mailer.__qualname__}.{method}"
        self.function: Callable[..., Any] = find_method(mailer, method)
        if hasattr(Mailer, method):
            raise AttributeError(f"{self.name} is a method of every mailer, and not a mail.")
        if not inspect.isfunction(self.function):
            raise TypeError(f"{self.name} is not a plain method, so it cannot be a mail.")
        check_kind(self.name, self.function)

    def render(self, *args: Any, **kwargs: Any) -> Any:
        """What the method of a new mailer returns."""
        return self.function(self.mailer(), *args, **kwargs)


class MailerJob(Job, tag="mailer"):
    """The job that renders a mail of a `Mailer` and sends it. Raises TypeError for wrong arguments."""

    queue = mail_queue

    def __init__(self, mail: Mail, /, *args: Any, **kwargs: Any) -> None:
        check_fit(mail.name, mail.function, (None, *args), kwargs)
        self.mail = mail
        self.args = args
        self.kwargs = kwargs

    def perform(self, *args: Any, **kwargs: Any) -> None:
        """Render the mail and give it to the transport; a method that returns None sends nothing."""
        message = self.mail.render(*args, **kwargs)
        if message is None:
            logger.info("%s returned no message; nothing is sent", self.name)
            return
        if not isinstance(message, EmailMessage):
            raise TypeError(f"{self.name}() must return a message of django.core.mail, not {message!r}.")
        check_message(message)
        fix_headers(message, self.mail.headers)
        deliver(message)

    @property
    def name(self) -> str:
        return self.mail.name

    @property
    def target(self) -> Any:
        return self.mail.mailer

    def dump_arguments(self) -> dict[str, Any]:
        mail = {"mailer": names.name_of(self.mail.mailer), "method": self.mail.method}
        return {**mail, **super().dump_arguments(), "headers": new_headers()}

    @classmethod
    def load_arguments(cls, payload: dict[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        mailer = names.resolve(payload.get("mailer"))
        if not (isinstance(mailer, type) and issubclass(mailer, Mailer)):
            raise UnknownCode(f"{payload['mailer']} is not a Mailer.")
        try:
            mail = Mail(mailer, method_in(payload), dict(payload.get("headers", {})))
        except (AttributeError, TypeError, ValueError) as error:
            raise UnknownCode(str(error)) from error
        args, kwargs = super().load_arguments(payload)
        return (mail, *args), kwargs
