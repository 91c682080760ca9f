"""Mailer: methods that return a message; delayed, the worker renders and sends it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.core.mail import EmailMessage

from .. import arguments, registry
from ..enqueueing import enqueue
from ..exceptions import DeserializationError
from ..jobs import Job
from ..options import check_options
from ..records import subject_of
from .backend import deliver
from .delivery import check_message

if TYPE_CHECKING:
    from ..models import DelayedJob

logger = logging.getLogger("django_delayed")


class Mailer:
    """The mails of a kind: a public method takes what its mail is about and returns the message, or None.

    `UserMailer.delay(queue="mail").registration(user)` enqueues. The worker fetches the user, calls
    the method in the language and the time zone of the enqueue, and sends what it returns.
    `UserMailer().registration(user)` is the message here and now, to look at or to `.send()`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        try:
            inspect.signature(cls).bind()
        except TypeError as error:
            raise TypeError(f"{cls.__qualname__}: a worker makes it without arguments: {error}.") from None

    @classmethod
    def delay(cls, **options: Any) -> MailerProxy:
        """A stand-in whose methods enqueue the mail; each returns the DelayedJob. Options as everywhere."""
        return MailerProxy(cls, check_options(options))


class MailerProxy:
    """A stand-in for a mailer: calling a method on it enqueues that mail."""

    def __init__(self, mailer: type[Mailer], options: dict[str, Any]) -> None:
        self._mailer = mailer
        self._options = options

    def __getattr__(self, method: str) -> Callable[..., DelayedJob | None]:
        function = find_mail(self._mailer, method)

        def enqueue_mail(*args: Any, **kwargs: Any) -> DelayedJob | None:
            try:
                inspect.signature(function).bind(None, *args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{self._mailer.__qualname__}.{method}(): {error}.") from None
            return enqueue(MailerJob(self._mailer, method, *args, **kwargs), **self._options)

        return enqueue_mail

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(f"Name the mail: {self._mailer.__qualname__}.delay(…).method(…).")


class MailerJob(Job):
    """A mail that is rendered when it is sent."""

    def perform(self, mailer: type[Mailer], method: str, /, *args: Any, **kwargs: Any) -> None:
        """Render the mail and give it to the transport; a method that returns None sends nothing."""
        message = getattr(mailer(), method)(*args, **kwargs)
        if message is None:
            logger.info("%s returned no message; nothing is sent", self.name)
            return
        if not isinstance(message, EmailMessage):
            raise TypeError(f"{self.name}() must return a message of django.core.mail, not {message!r}.")
        check_message(message)
        deliver(message)

    @property
    def name(self) -> str:
        return f"{self.args[0].__qualname__}.{self.args[1]}"

    @property
    def about(self) -> Any:
        return self.args[0]

    @property
    def subject(self) -> str:
        return subject_of(*self.args[2:], *self.kwargs.values())

    def dump_arguments(self) -> dict[str, Any]:
        mailer, method, *args = self.args
        call = {"mailer": registry.name_of(mailer), "method": method}
        return {**call, **arguments.encode_call(args, self.kwargs)}

    @classmethod
    def load_arguments(cls, payload: dict[str, Any]) -> MailerJob:
        mailer, method = registry.resolve(payload["mailer"]), payload["method"]
        if not (isinstance(mailer, type) and issubclass(mailer, Mailer)):
            raise DeserializationError(f"{payload['mailer']} is no Mailer.")
        try:
            find_mail(mailer, method)
        except AttributeError as error:
            raise DeserializationError(str(error)) from error
        args, kwargs = arguments.decode_call(payload)
        return cls(mailer, method, *args, **kwargs)


def find_mail(mailer: type[Mailer], method: str) -> Callable[..., Any]:
    """The method of a mailer. Raises AttributeError or TypeError for what is no mail."""
    where = f"{mailer.__qualname__}.{method}"
    if method.startswith("_"):
        raise AttributeError(f"{where} is private; a job may only call public methods.")
    defined = inspect.getattr_static(mailer, method, None)
    if defined is None or hasattr(Mailer, method):
        raise AttributeError(f"{mailer.__qualname__} has no mail {method!r}.")
    if not inspect.isfunction(defined):
        raise TypeError(f"{where} is not a plain method, so it cannot be a mail.")
    if inspect.iscoroutinefunction(defined):
        raise TypeError(f"{where} is async, which is not supported yet.")
    return defined
