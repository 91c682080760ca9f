"""A job as the payload of its row, and back.

A payload names the class of its job: by a tag for those of this package, else by module and name.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..conf import settings
from ..exceptions import DeserializationError, JobInterrupted, SerializationError, UnknownCode
from ..serialization import arguments, names
from ..serialization.context import Context

if TYPE_CHECKING:
    from ..models import DelayedJob
    from .job import Job

VERSION = 1  # of the payload

# The modules of this package may move while rows wait.
_tags: dict[type[Job], str] = {}


def set_tag(job_class: type[Job], tag: str) -> None:
    """Have payloads name the class by this tag. Raises TypeError for a class of another package."""
    if not job_class.__module__.startswith("django_delayed."):
        raise TypeError(f"{job_class.__qualname__}: tag= is for the job classes of django_delayed.")
    _tags[job_class] = tag


def dump_class(job_class: type[Job]) -> dict[str, Any]:
    """The part of a payload that says what kind of job it holds. Raises SerializationError."""
    return {"v": VERSION, "job": _tags.get(job_class) or names.name_of(job_class)}


def read_payload(row: DelayedJob, base: type[Job]) -> tuple[dict[str, Any], type[Job]]:
    """The payload of a row and the class that it names, a subclass of `base`. Raises DeserializationError."""
    payload = arguments.from_json(row.payload)
    version = payload.get("v") if isinstance(payload, dict) else None
    if version != VERSION:
        is_newer = isinstance(version, int) and version > VERSION
        raise (UnknownCode if is_newer else DeserializationError)(
            f"The payload is not one of version {VERSION}."
        )
    name = payload.get("job")
    found = next((job_class for job_class, tag in _tags.items() if tag == name), None)
    if found is None and isinstance(name, str) and ":" not in name:
        raise UnknownCode(f"{name!r} is not a kind of job that this version of django_delayed knows.")
    found = found or names.resolve_class(name)
    if not issubclass(found, base) or found.perform is base.perform:
        raise UnknownCode(f"{name} is not a Job that can be performed.")
    return payload, found


def class_of(row: DelayedJob, base: type[Job]) -> type[Job] | None:
    """The class of the job in a row, also if its arguments are gone; None when the class is gone too."""
    try:
        return read_payload(row, base)[1]
    except JobInterrupted:
        raise
    except BaseException:
        # SystemExit too: its module is imported, and may raise anything.
        return None


def dump_job(job: Job, max_run_time: timedelta | None, context: Callable[[], Context]) -> str:
    """The job as ASCII JSON, with the context that `context` returns.

    Raises SerializationError for what cannot be stored or is too large.
    """
    try:
        payload = {**dump_class(type(job)), **job.dump_arguments(), **context().dump()}
    except SerializationError as error:
        raise SerializationError(f"{job.name}: {str(error).rstrip('.')}.") from error
    if max_run_time is not None:
        payload["max_run_time"] = max_run_time.total_seconds()
    text = arguments.to_json(payload)
    if len(text) > (limit := getattr(settings, job.size_setting)):
        raise SerializationError(
            f"{job.name}: its arguments take {len(text):,} bytes of at most {limit:,}"
            f" (DJANGO_DELAYED['{job.size_setting}']). Store the data, and pass a key to find it by."
        )
    return text


def load_job(
    row: DelayedJob, base: type[Job], enter: Callable[[Context], object]
) -> tuple[Job, float | None]:
    """The job that a row holds, and the max_run_time of its call. Raises as `Job.load` does."""
    payload, found = read_payload(row, base)
    enter(Context.load(payload))
    try:
        args, kwargs = found.load_arguments(payload)
    except RecursionError as error:
        if not arguments.is_too_deep(payload):
            raise
        raise DeserializationError(f"The arguments of {row.name} are nested too deep.") from error
    try:
        job = found(*args, **kwargs)
    except TypeError as error:
        raise UnknownCode(f"The arguments of {row.name} no longer fit: {error}") from error
    return job, payload.get("max_run_time")
