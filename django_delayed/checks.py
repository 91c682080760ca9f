"""System checks: what is set up wrongly, reported before it costs a job."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Info, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections

from . import conf
from .calls.proxies import DelayMixin
from .databases import VENDORS
from .exceptions import DeserializationError, SerializationError
from .features.recurring.definitions import job_classes
from .features.recurring.definitions import problems as recurring_problems
from .jobs import Job
from .jobs.definition import HOOKS
from .jobs.hooks import KINDS, kinds_of
from .mail.transport import problems as mail_problems
from .serialization.names import name_of, resolve, resolve_marked
from .serialization.providers import problems as context_problems

# The names of methods in other systems, and the hook or method that does the same here.
METHODS_OF_OTHER_SYSTEMS = {
    # delayed_job
    "enqueue": "before_enqueue() or after_enqueue()",
    "before": "before_perform()",
    "after": "around_perform(), with a finally after its yield",
    "success": "after_perform()",
    "error": "on_error()",
    "failure": "on_failure()",
    "reschedule_at": "wait_before_retry()",
    "queue_name": "the attribute queue",
    # ActiveJob and Sidekiq
    "sidekiq_retry_in": "wait_before_retry()",
    "sidekiq_retries_exhausted": "on_failure()",
    "perform_async": "nothing: perform_later() enqueues it",
    "perform_in": "nothing: set(wait=…).perform_later() enqueues it",
    "perform_at": "nothing: set(run_at=…).perform_later() enqueues it",
    "perform_bulk": "nothing: enqueue_all() enqueues many",
    # Celery
    "apply_async": "nothing: set(…).perform_later() enqueues it",
    "before_start": "before_perform()",
    "on_success": "after_perform()",
    "on_retry": "on_error()",
    "on_discard": "after_discard()",
    "on_failed": "on_failure()",
    "after_performed": "after_perform()",
    "after_return": "around_perform(), with a finally after its yield",
}
ATTRIBUTES_OF_OTHER_SYSTEMS = {
    "queue_as": "queue",
    "queue_with_priority": "priority",
    "sidekiq_options": "queue, priority and max_attempts",
    "max_retries": "max_attempts, which counts the first attempt too",
    "default_retry_delay": "wait_before_retry(), a method",
    "retry_backoff": "wait_before_retry(), a method",
    "autoretry_for": "retry_on, or nothing: a job is tried again after every error",
    "dont_autoretry_for": "discard_on",
    "unique_for": "unique",
    "unique_until": "unique = Unique(until=…)",
    "once": "unique",
    "time_limit": "max_run_time",
    "soft_time_limit": "max_run_time",
}


@register()
def check_settings(**_: Any) -> list[CheckMessage]:
    """DJANGO_DELAYED: its keys, and the type of each value."""
    return [Error(sentence, id="django_delayed.E001") for sentence in _wrong_settings()]


@register()
def check_installed_apps(**_: Any) -> list[CheckMessage]:
    """The admin filters by dates with rangefilter: its templates are found only if it is installed."""
    if apps.is_installed("rangefilter") or not apps.is_installed("django.contrib.admin"):
        return []
    hint = 'Write INSTALLED_APPS = [..., "rangefilter", "django_delayed"].'
    return [Error("rangefilter is missing from INSTALLED_APPS.", hint=hint, id="django_delayed.E002")]


@register()
def check_database(**_: Any) -> list[CheckMessage]:
    """The alias of the queue, and the database behind it."""
    if any(_wrong_settings()):
        return []
    return [
        Error(f"DJANGO_DELAYED: {sentence}", id=f"django_delayed.{id}") for id, sentence in _wrong_database()
    ]


@register()
def check_enqueue(**_: Any) -> list[CheckMessage]:
    """A queue on another alias than the data: what happens when a transaction is rolled back or cut off."""
    if any(_wrong_settings()) or any(_wrong_database()) or conf.settings.DATABASE == DEFAULT_DB_ALIAS:
        return []
    queue, mode = conf.settings.DATABASE, conf.settings.ENQUEUE
    if mode is None:
        what = (
            f"The queue is on {queue!r}: a job is written there once every transaction that is open elsewhere"
            " has committed."
        )
        hint = (
            "A process that dies between the commit and the INSERT loses the job. Write ENQUEUE:"
            ' "on_commit" if that is what you want, or leave DATABASE out.'
        )
        return [Info(what, hint=hint, id="django_delayed.I012")]
    if mode == "transaction":
        what = (
            f"ENQUEUE is 'transaction' and the queue is on {queue!r}: a job about data of another database is"
            " written before they are committed, and stays if they are rolled back."
        )
        hint = "Leave ENQUEUE out: then a job waits for the commit. If your data are there too, silence this."
        return [Warning(what, hint=hint, id="django_delayed.W013")]
    return []


@register()
def check_delay(**_: Any) -> list[CheckMessage]:
    """Models with a field, relation or method called `delay` that hides the one of DelayMixin."""
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
def check_recurring(**_: Any) -> list[CheckMessage]:
    """Schedules in the code that cannot make their job."""
    if any(_wrong_settings()):
        return []
    return [Error(sentence, id="django_delayed.E016") for sentence in recurring_problems()]


@register()
def check_mail(**_: Any) -> list[CheckMessage]:
    """A transport that would enqueue its mail again, or cannot be imported."""
    if any(_wrong_settings()):
        return []
    return [Error(sentence, id="django_delayed.E010") for sentence in mail_problems()]


@register()
def check_jobs(**_: Any) -> list[CheckMessage]:
    """Names in Job classes that are hooks or options of other systems, and mean nothing here."""
    if any(_wrong_settings()):
        return []
    return [
        Warning(
            f"{job_class.__qualname__}.{name} is a name from another system; django_delayed ignores it.",
            hint=f"Write {ours}; or rename it.",
            obj=job_class,
            id="django_delayed.W007",
        )
        for job_class in _job_classes()
        for name, ours in _foreign_names(job_class)
    ]


def _job_classes() -> Iterator[type[Job]]:
    """The Job classes of the project, those that a job may name."""
    for job_class in job_classes():
        with suppress(SerializationError):
            name_of(job_class)
            yield job_class


def _foreign_names(job_class: type[Job]) -> Iterator[tuple[str, str]]:
    # Its mixins are included; its parents that are Jobs are checked themselves.
    theirs = [cls for cls in job_class.__mro__ if cls is job_class or not issubclass(cls, Job)]
    for name, value in {name: value for cls in theirs for name, value in vars(cls).items()}.items():
        if name in ATTRIBUTES_OF_OTHER_SYSTEMS:
            yield name, ATTRIBUTES_OF_OTHER_SYSTEMS[name]
        # A method that a decorator makes a hook may have any name.
        elif (callable(value) or isinstance(value, (classmethod, staticmethod))) and not kinds_of(value):
            if name in METHODS_OF_OTHER_SYSTEMS:
                yield name, METHODS_OF_OTHER_SYSTEMS[name]
            # Resque's way to name hooks, such as before_perform_log.
            elif hook := _hook_named_first(name):
                yield name, f"@hooks.{hook} above it" if hook in KINDS else f"{hook}()"


def _hook_named_first(name: str) -> str | None:
    return next((hook for hook in HOOKS if name.startswith(f"{hook}_")), None)


def _wrong_settings() -> Iterator[str]:
    try:
        yield from conf.problems()
    except ImproperlyConfigured as error:
        # The setting is not even a dict.
        yield str(error)


def _wrong_aliases() -> Iterator[CheckMessage]:
    for old in conf.settings.ALIASES:
        try:
            resolve(old)
        except DeserializationError as error:
            with suppress(DeserializationError):
                resolve_marked(old)
                continue
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
