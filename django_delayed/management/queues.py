"""The queues that a command names: whether the project knows them, and which rows are theirs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.db import Error as DatabaseError

from ..calls.asynchronous import AsynchronousMethod
from ..conf import settings
from ..databases import is_named
from ..databases.lanes import is_pattern
from ..jobs import Job
from ..states import DelayedJobQuerySet
from ..stats import lanes

logger = logging.getLogger("django_delayed")


def warn_of_unknown_queues(patterns: Sequence[str]) -> None:
    """Log a warning about each name and pattern that no setting, class or waiting job knows.

    Takes at most one statement, and none when no queue is named.
    """
    for pattern in unknown_queues(patterns):
        logger.warning(
            "No waiting job, no Job class and no setting has a queue %r. If it is not misspelt, name %s in"
            " DJANGO_DELAYED['QUEUE_ATTRIBUTES'], as in {%r: {}}; several queues are separated by commas",
            pattern,
            "a queue of this pattern" if is_pattern(pattern) else "it",
            "mail" if is_pattern(pattern) else pattern,
        )


def in_queues(rows: DelayedJobQuerySet, patterns: tuple[str, ...]) -> DelayedJobQuerySet:
    """The rows in the queues that these names and patterns name; all rows if there are none."""
    if not patterns:
        return rows
    queues = rows.order_by().values_list("queue", flat=True).distinct()
    return rows.filter(queue__in=[queue for queue in queues if is_named(queue, patterns)])


def unknown_queues(patterns: Sequence[str]) -> list[str]:
    """The names and patterns that match no known queue, each without its "!"."""
    left = [pattern.removeprefix("!") for pattern in patterns]
    if left:
        left = _without(left, _declared())
    if left:
        try:
            left = _without(left, {lane.queue for lane in lanes()})
        except DatabaseError:
            # The waiting jobs cannot be read now, and a worker waits for its database.
            return []
    return left


def _without(patterns: list[str], queues: set[str]) -> list[str]:
    return [pattern for pattern in patterns if not any(is_named(queue, (pattern,)) for queue in queues)]


def _declared() -> set[str]:
    """The queues in settings, in classes of jobs and at methods of models."""
    in_settings = (settings.DEFAULT_QUEUE, settings.MAIL_QUEUE, *settings.QUEUE_ATTRIBUTES)
    declared = [*in_settings, *_queues_of_classes(Job), *_queues_of_methods(), *_queues_of_tasks()]
    # A queue may also be a function, which is not called here.
    return {queue for queue in declared if isinstance(queue, str)}


def _queues_of_classes(job_class: type[Job]) -> Iterator[Any]:
    for subclass in job_class.__subclasses__():
        yield subclass.queue
        yield from _queues_of_classes(subclass)


def _queues_of_methods() -> Iterator[Any]:
    for model in apps.get_models():
        for defined in (value for cls in model.__mro__ for value in vars(cls).values()):
            if isinstance(defined, AsynchronousMethod):
                yield defined.options.get("queue")


def _queues_of_tasks() -> Iterator[Any]:
    # On Django 5.2 there may be no such setting, or one of the project's own.
    backends = getattr(django_settings, "TASKS", None)
    for backend in backends.values() if isinstance(backends, Mapping) else ():
        yield from backend.get("QUEUES", ()) if isinstance(backend, Mapping) else ()
