"""What recurs: the schedules of Job classes, of the setting RECURRING and of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ...calls.proxies import delay, delayed_method
from ...conf import settings
from ...exceptions import DelayedError, DeserializationError
from ...jobs import Job
from ...jobs.definition import own_schedule
from ...options import Options, check_options
from ...serialization import arguments, names
from .models import Schedule, columns_of
from .schedules import Cron, Every, Times, cron

# The errors of a wrong schedule; each has a sentence that says what is wrong.
WRONG = (TypeError, ValueError, AttributeError, DelayedError, ImproperlyConfigured)
OF_ENTRY = {"job", "schedule", "catch_up", "args", "kwargs"}


@dataclass(frozen=True)
class Definition:
    """A schedule and the job that it makes. `job` is the name of its code, as module:name."""

    name: str
    job: str
    times: Times
    catch_up: str
    make_job: Callable[[], Job]

    @property
    def columns(self) -> dict[str, Any]:
        """The columns that the row of a schedule of the code has."""
        return {"job": self.job, "catch_up": self.catch_up, **columns_of(self.times)}


def definitions() -> dict[str, Definition]:
    """The schedules of this code, by their names. Raises ImproperlyConfigured for the first wrong one."""
    found: dict[str, Definition] = {}
    for where, define in _defined():
        try:
            definition = define()
        except WRONG as error:
            raise ImproperlyConfigured(f"{where}: {error}") from error
        found[definition.name] = definition
    return found


def problems() -> Iterator[str]:
    """What is wrong with the schedules of this code, a sentence for each."""
    for where, define in _defined():
        try:
            define()
        except WRONG as error:
            yield f"{where}: {error}"


def definition_of(row: Schedule) -> Definition:
    """The schedule that an operator has made. Raises one of WRONG if no job can be made from it."""
    times = cron(row.cron, zone=row.zone or None) if row.every is None else Every(row.every)
    options = check_options({"queue": row.queue or None, "priority": row.priority})
    args, kwargs = arguments.decode_call(arguments.from_json(row.arguments)) if row.arguments else ((), {})
    return Definition(
        str(row), row.job, times, row.catch_up, partial(_job_of_class, row.job, args, kwargs, options)
    )


def job_classes(base: type[Job] = Job) -> Iterator[type[Job]]:
    """The Job classes that this process has loaded, of this package too, parents first."""
    for job_class in base.__subclasses__():
        yield job_class
        yield from job_classes(job_class)


def _defined() -> Iterator[tuple[str, Callable[[], Definition]]]:
    """Each schedule of this code: where it stands, and a function that reads it."""
    # A class with two parents is met twice.
    for job_class in dict.fromkeys(job_classes()):
        if own_schedule(job_class, Job):
            yield f"{job_class.__qualname__}.schedule", partial(_of_class, job_class)
    for name, entry in settings.RECURRING.items():
        yield f"DJANGO_DELAYED['RECURRING'][{name!r}]", partial(_of_entry, name, entry)


def _of_class(job_class: type[Job]) -> Definition:
    name = names.name_of(job_class)
    times: Any = job_class.schedule
    return Definition(name, name, times, job_class.catch_up, job_class)


def _of_entry(name: str, entry: Mapping[str, Any]) -> Definition:
    times = entry["schedule"]
    if not isinstance(times, Cron | Every):
        raise TypeError(f"its schedule must be cron(…) or every(…), not {times!r}.")
    options = check_options({key: value for key, value in entry.items() if key not in OF_ENTRY})
    args, kwargs = entry.get("args", ()), entry.get("kwargs", {})
    make_job = partial(_job_of_code, entry["job"], args, kwargs, options)
    # So wrong arguments are an error now, and not at the first tick.
    make_job().dump_arguments()
    return Definition(name, entry["job"], times, entry.get("catch_up", "latest"), make_job)


def _job_of_code(name: str, args: Any, kwargs: Mapping[str, Any], options: Options) -> Job:
    """The job that a Job class, a function or a class method of this name makes."""
    owner, _, method = name.rpartition(".") if "." in name.partition(":")[2] else ("", "", "")
    # By the class that is named: it may inherit the method from another one.
    cls = names.resolve_class(owner) if owner else None
    found: Any = vars(cls).get(method) if cls else _resolve(name)
    if isinstance(found, type):
        return _job_of_class(name, args, kwargs, options)
    call = delayed_method(cls, method, ()) if cls else delay(found)
    return _with(call.job(*args, **kwargs), options)


def _resolve(name: str) -> Any:
    try:
        return names.resolve(name)
    except DeserializationError:
        with suppress(DeserializationError):
            names.resolve_marked(name)
            raise TypeError(f"{name} is a task of Django's: name a function that enqueues it.") from None
        raise


def _job_of_class(name: str, args: Any, kwargs: Mapping[str, Any], options: Options) -> Job:
    found = names.resolve(name)
    if not isinstance(found, type) or not issubclass(found, Job):
        raise TypeError(
            f"{name} is not a Job. Name a Job class, or a function or a class method in RECURRING."
        )
    return _with(found(*args, **kwargs), options)


def _with(job: Job, options: Options) -> Job:
    job.layers = (*job.layers, options)
    return job
