"""Job: what to do and with which arguments; its hooks, its policy, and the pipeline in memory."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from . import arguments, registry
from .conf import duration, settings
from .enqueueing import enqueue
from .exceptions import DeserializationError, SerializationError
from .methods import check_fit
from .options import check_options
from .pipeline import run
from .policy import check_policy
from .records import subject_of
from .surroundings import read_surroundings, surrounded, surroundings

if TYPE_CHECKING:
    from .models import DelayedJob

J = TypeVar("J", bound="Job")


@dataclass(frozen=True, slots=True)
class DelayedJobView:
    """What a job may know of its own row."""

    id: int | None
    name: str
    subject: str
    queue: str
    priority: int
    run_at: datetime
    attempts: int
    crashes: int
    max_attempts: int
    last_error: str
    locked_at: datetime | None
    locked_by: str
    created_at: datetime


class Job:
    """A piece of work: subclass it, write `perform`, enqueue it with `perform_later`.

    Takes the arguments of `perform`; a call that does not fit its signature is a TypeError here, not in the
    worker.
    """

    queue: ClassVar[str | Callable[..., str] | None] = None
    priority: ClassVar[int | Callable[..., int] | None] = None
    max_attempts: ClassVar[int | None] = None
    max_run_time: ClassVar[timedelta | float | None] = None
    discard_on: ClassVar[tuple[type[BaseException], ...]] = ()

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: tuple[dict[str, Any], ...] = ()  # layers of checked options, the uppermost last
    _row: DelayedJob | None = None
    _surroundings: tuple[str | None, tzinfo | None] = None, None

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        check_fit(f"{type(self).__qualname__}.perform", self.perform, args, kwargs)
        self.args = args
        self.kwargs = kwargs

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_policy(cls, Job)

    def __repr__(self) -> str:
        values = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"{type(self).__qualname__}({', '.join(values)})"

    # What a subclass writes.

    def perform(self, *args: Any, **kwargs: Any) -> Any:
        """The work. An exception means that it is tried again later."""
        raise NotImplementedError(f"{type(self).__qualname__} has no perform() yet.")

    def before_enqueue(self) -> Any:
        """Runs before the job is written down; False vetoes, an error reaches the caller."""

    def after_enqueue(self) -> None:
        """Runs after the job was written down."""

    def before_perform(self) -> None:
        """Runs before each perform; an error here is an error of the job."""

    def around_perform(self) -> Generator[None, None, None]:
        """Wraps each perform, with one `yield`; without one the job is not performed, and finished."""
        yield

    def after_perform(self) -> None:
        """Runs after each perform that succeeded; an error here is an error of the job."""

    def on_error(self, error: BaseException) -> None:
        """Runs after each failed attempt; what it raises is logged."""

    def on_failure(self, error: BaseException) -> None:
        """Runs once when the job is given up; what it raises is logged.

        Not when its worker's process died or was killed over it: nothing of the job's runs in whoever notes
        that. The signal `job_failed` is sent each time.
        """

    def wait_before_retry(self, attempts: int, error: BaseException) -> timedelta | float:
        """How long to wait after the failed attempt of this number: 5 + N⁴ seconds, as in delayed_job."""
        return timedelta(seconds=min(5 + attempts**4, 10**10))  # a timedelta has an end

    # What a caller says.

    @classmethod
    def perform_later(cls, /, *args: Any, **kwargs: Any) -> DelayedJob | None:
        """Enqueue the job with these arguments. Returns its row; None when `before_enqueue` vetoed."""
        return enqueue(cls(*args, **kwargs))

    @classmethod
    def perform_now(cls, /, *args: Any, **kwargs: Any) -> Any:
        """Perform the job here and at once, with its hooks; writes nothing. Returns what `perform` does."""
        return cls(*args, **kwargs).run()

    @classmethod
    def set(cls, **options: Any) -> ConfiguredJob[Self]:
        """The same job with options: `Report.set(wait=60, queue="slow").perform_later(…)`."""
        return ConfiguredJob(cls, (check_options(options),))

    # What the row says about it.

    @property
    def delayed_job(self) -> DelayedJobView | None:
        """A frozen view of the row; None before it is written down and in `perform_now`."""
        if self._row is None:
            return None
        return DelayedJobView(*(getattr(self._row, field.name) for field in fields(DelayedJobView)))

    @property
    def name(self) -> str:
        """What people read in the log and the admin."""
        return type(self).__qualname__

    @property
    def about(self) -> Any:
        """What the function of an option is called with."""
        return self

    @property
    def subject(self) -> str:
        """The object that the job is about, as "blog.post:9": its first argument that is a saved instance."""
        return subject_of(*self.args, *self.kwargs.values())

    def written_down(self, row: DelayedJob) -> None:
        """The job has its row now."""
        self._row = row
        self.after_enqueue()

    # To JSON and back.

    size_setting: ClassVar[str] = "MAX_ARGUMENTS_SIZE"

    def dump(self) -> str:
        """The job as ASCII JSON. Raises SerializationError for what cannot travel or is too large."""
        if type(self).perform is Job.perform:
            raise TypeError(f"{self.name} has no perform() yet.")
        try:
            payload = {"job": registry.name_of(type(self)), **self.dump_arguments(), **surroundings()}
        except SerializationError as error:
            raise SerializationError(f"{self.name}: {str(error).rstrip('.')}.") from error
        text = arguments.to_json(payload)
        if len(text) > (limit := getattr(settings, self.size_setting)):
            raise SerializationError(
                f"{self.name}: its arguments take {len(text):,} bytes of at most {limit:,}"
                f" (DJANGO_DELAYED['{self.size_setting}']). Store the data, and pass what it can be found by."
            )
        return text

    def dump_arguments(self) -> dict[str, Any]:
        """The part of the payload that differs from call to call."""
        return arguments.encode_call(self.args, self.kwargs)

    @classmethod
    def load(cls, row: DelayedJob) -> Job:
        """The job that a row holds. Raises DeserializationError when its code or its records are gone."""
        payload = arguments.from_json(row.payload)
        name = payload.get("job") if isinstance(payload, dict) else None
        found = registry.resolve_class(name)
        if not issubclass(found, Job) or found.perform is Job.perform:
            raise DeserializationError(f"{name} is no Job that can be performed.")
        try:
            job = found.load_arguments(payload)
        except (KeyError, TypeError, RecursionError) as error:
            raise DeserializationError(f"The arguments of {name} do not fit (any more): {error}") from error
        job._row, job._surroundings = row, read_surroundings(payload)
        return job

    @classmethod
    def load_arguments(cls, payload: dict[str, Any]) -> Self:
        """The job again from its payload. TypeError and KeyError mean that the payload does not fit."""
        args, kwargs = arguments.decode_call(payload)
        return cls(*args, **kwargs)

    def in_surroundings(self) -> AbstractContextManager[None]:
        """The block for a loaded job to be performed in: with the language and the zone of its enqueue."""
        return surrounded(*self._surroundings)

    # Performing, in memory.

    def run(self) -> Any:
        """Perform with the hooks around it; returns what `perform` does, None when it was not performed."""
        return run(self)

    @property
    def run_time(self) -> timedelta:
        """How long this job may run."""
        return (
            settings.MAX_RUN_TIME
            if self.max_run_time is None
            else duration(self.max_run_time, "max_run_time")
        )


class ConfiguredJob(Generic[J]):
    """A Job class with options, waiting for its arguments."""

    def __init__(self, job_class: type[J], options: tuple[dict[str, Any], ...]) -> None:
        self.job_class = job_class
        self.options = options

    def set(self, **options: Any) -> ConfiguredJob[J]:
        """The same with more options; the later ones win."""
        return ConfiguredJob(self.job_class, (*self.options, check_options(options)))

    def perform_later(self, /, *args: Any, **kwargs: Any) -> DelayedJob | None:
        """Enqueue the job with these arguments and the options; otherwise as `Job.perform_later`."""
        job = self.job_class(*args, **kwargs)
        job.options = self.options
        return enqueue(job)

    def perform_now(self, /, *args: Any, **kwargs: Any) -> Any:
        """As `Job.perform_now`; the options say when and where, so here they do not matter."""
        return self.job_class.perform_now(*args, **kwargs)
