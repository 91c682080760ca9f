"""System checks: what is set up wrongly, reported before it costs a job."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from . import conf
from .calls.proxies import DelayMixin
from .databases import VENDORS
from .exceptions import DeserializationError
from .mail.transport import problems as mail_problems
from .serialization.names import resolve
from .serialization.providers import problems as context_problems


@register()
def check_settings(**_: Any) -> list[CheckMessage]:
    """DJANGO_DELAYED: its keys, and the type of each value."""
    return [Error(sentence, id="django_delayed.E001") for sentence in _wrong_settings()]


@register()
def check_installed_apps(**_: Any) -> list[CheckMessage]:
    """The admin filters by dates with rangefilter, whose templates are found only when it is installed."""
    if apps.is_installed("rangefilter") or not apps.is_installed("django.contrib.admin"):
        return []
    hint = 'Write INSTALLED_APPS = [..., "rangefilter", "django_delayed"].'
    return [Error("rangefilter is missing from INSTALLED_APPS.", hint=hint, id="django_delayed.E002")]


@register()
def check_database(**_: Any) -> list[CheckMessage]:
    """The alias of the queue, and what lies behind it."""
    if any(_wrong_settings()):
        return []
    return [
        Error(f"DJANGO_DELAYED: {sentence}", id=f"django_delayed.{id}") for id, sentence in _wrong_database()
    ]


@register()
def check_delay(**_: Any) -> list[CheckMessage]:
    """Models whose field, relation or method called `delay` hides that of DelayMixin."""
    delay = inspect.getattr_static(DelayMixin, "delay")
    return [
        Error(
            f"{model.__qualname__}.delay hides the delay() of DelayMixin.",
            hint="Rename the field or method, or drop DelayMixin and write delay(instance).method(…).",
            obj=model,
            id="django_delayed.E005",
        )
        for model in apps.get_models()
        if issubclass(model, DelayMixin) and inspect.getattr_static(model, "delay") is not delay
    ]


@register()
def check_context(**_: Any) -> list[CheckMessage]:
    """Providers of CONTEXT that cannot be imported, or lack a function."""
    if any(_wrong_settings()):
        return []
    return [Error(sentence, id="django_delayed.E011") for sentence in context_problems()]


@register()
def check_aliases(**_: Any) -> list[CheckMessage]:
    """The new names in ALIASES, which have to lead to code that a job may name."""
    if any(_wrong_settings()):
        return []
    return list(_wrong_aliases())


@register()
def check_mail(**_: Any) -> list[CheckMessage]:
    """A transport that would enqueue its mail again, or cannot be imported."""
    if any(_wrong_settings()):
        return []
    return [Error(sentence, id="django_delayed.E010") for sentence in mail_problems()]


def _wrong_settings() -> Iterator[str]:
    try:
        yield from conf.problems()
    except ImproperlyConfigured as error:
        # Not even a dict.
        yield str(error)


def _wrong_aliases() -> Iterator[CheckMessage]:
    for old in conf.settings.ALIASES:
        try:
            resolve(old)
        except DeserializationError as error:
            yield Error(f"DJANGO_DELAYED: ALIASES[{old!r}]: {error}", id="django_delayed.E006")


def _wrong_database() -> Iterator[tuple[str, str]]:
    alias = conf.settings.DATABASE
    if alias not in connections:
        yield "E003", f"DATABASE is {alias!r}, which DATABASES does not have."
        return
    connection = connections[alias]
    if connection.vendor not in VENDORS:
        yield "E003", f"DATABASE is {alias!r}, a {connection.vendor}; jobs are kept in {', '.join(VENDORS)}."
    elif conf.settings.ENQUEUE == "immediate" and not connection.features.has_select_for_update:
        yield "E004", f"ENQUEUE is 'immediate', which {connection.display_name} cannot do: it has one writer."
