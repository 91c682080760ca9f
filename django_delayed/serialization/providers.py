"""What a project carries from the enqueue of a job to its performing: a tenant, a request id, a user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, Protocol, cast

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ..conf import settings
from ..exceptions import SerializationError, UnknownCode
from . import arguments


class Provider(Protocol):
    """What the setting CONTEXT names: an instance, a class with static methods, or a module."""

    def capture(self) -> Any:
        """The present value, of a type that a job can have as an argument; None to carry nothing."""

    def restore(self, value: Any) -> AbstractContextManager[Any]:
        """The block in which a job that was enqueued with this value is loaded and performed."""


def provider(name: str) -> Provider:
    """The provider of this name. Raises ImproperlyConfigured if there is none."""
    path = settings.CONTEXT[name]
    try:
        found = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"DJANGO_DELAYED['CONTEXT'][{name!r}]: {error}") from error
    if not (callable(getattr(found, "capture", None)) and callable(getattr(found, "restore", None))):
        raise ImproperlyConfigured(
            f"DJANGO_DELAYED['CONTEXT'][{name!r}]: {path} needs the functions capture() and restore(value)."
        )
    return cast(Provider, found)


def import_all() -> None:
    """Import the providers before the first job begins: they may connect receivers that have to learn of it.

    An error of a provider is an error of each job that needs it.
    """
    for name in settings.CONTEXT:
        with suppress(Exception):
            provider(name)


def problems() -> Iterator[str]:
    """The errors of the providers, a sentence for each."""
    for name in settings.CONTEXT:
        try:
            provider(name)
        except ImproperlyConfigured as error:
            yield str(error)


def capture() -> dict[str, Any]:
    """The values of all providers as JSON data. Raises SerializationError for one that cannot be stored."""
    carried = {}
    for name in settings.CONTEXT:
        if (value := provider(name).capture()) is not None:
            try:
                carried[name] = arguments.encode(value)
            except SerializationError as error:
                raise SerializationError(f"the value that CONTEXT's {name!r} captured: {error}") from error
    return carried


@contextmanager
def restored(carried: Mapping[str, Any]) -> Iterator[None]:
    """The block in which the values are restored, in the order of the setting.

    Each is decoded within those before it: a user is fetched from the schema of their tenant. Raises
    DeserializationError for a value that no provider restores: without it, the job might act on the data of
    somebody else.
    """
    if unknown := carried.keys() - settings.CONTEXT.keys():
        raise UnknownCode(f"DJANGO_DELAYED['CONTEXT'] has no provider for {sorted(unknown)}.")
    with ExitStack() as stack:
        for name in settings.CONTEXT:
            if name in carried:
                stack.enter_context(_block(name, arguments.decode(carried[name])))
        yield


@contextmanager
def _block(name: str, value: Any) -> Iterator[None]:
    failure: BaseException | None = None
    with provider(name).restore(value):
        try:
            yield
        except BaseException as error:
            failure = error
            raise
    # The block may not swallow the error of a job.
    if failure is not None:
        raise failure
