"""Job: what to do and with which arguments; its hooks, its policy, and the pipeline in memory."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from django.utils import timezone, translation

from . import arguments, registry
from .conf import duration, settings
from .enqueueing import enqueue
from .exceptions import DeserializationError, SerializationError
from .options import check_options, merge_options
from .policy import check_policy
from .records import subject_of

if TYPE_CHECKING:
    from .models import DelayedJob

J = TypeVar("J", bound="Job")
_ENDED = object()


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

    Takes the arguments of `perform`; a call that does not fit its signature is a TypeError here, not in the worker.
    """

    queue: ClassVar[str | None] = None
    priority: ClassVar[int | None] = None
    max_attempts: ClassVar[int | None] = None
    max_run_time: ClassVar[timedelta | float | None] = None
    discard_on: ClassVar[tuple[type[BaseException], ...]] = ()

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    surroundings: AbstractContextManager[None]
    _row: DelayedJob | None = None
    _signature: ClassVar[inspect.Signature] = inspect.Signature()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{type(self).__qualname__}.perform(): {error}.") from None
        self.args = args
        self.kwargs = kwargs
        self.options: dict[str, Any] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_policy(cls)
        cls._signature = inspect.signature(object.__new__(cls).perform)

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
        """Runs once when the job is given up; what it raises is logged."""

    def wait_before_retry(self, attempts: int, error: BaseException) -> timedelta | float:
        """How long to wait after the failed attempt of this number: 5 + N⁴ seconds, as in delayed_job."""
        return timedelta(seconds=5 + attempts**4)

    # What a caller says.

    @classmethod
    def perform_later(cls, *args: Any, **kwargs: Any) -> DelayedJob | None:
        """Enqueue the job with these arguments. Returns its row; None when `before_enqueue` vetoed."""
        return enqueue(cls(*args, **kwargs))

    @classmethod
    def perform_now(cls, *args: Any, **kwargs: Any) -> Any:
        """Perform the job here and at once, with its hooks; returns what `perform` returns. Nothing is written."""
        return cls(*args, **kwargs).run()

    @classmethod
    def set(cls, **options: Any) -> ConfiguredJob[Self]:
        """The same job with options: `Report.set(wait=60, queue="slow").perform_later(…)`."""
        return ConfiguredJob(cls, check_options(options))

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
        """The job as ASCII JSON. Raises SerializationError for arguments that cannot travel or are too large."""
        try:
            payload = {"job": registry.name_of(type(self)), **self.dump_arguments(), **_surroundings()}
        except SerializationError as error:
            raise SerializationError(f"{self.name}: {error}") from error
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
        found = registry.resolve(name) if isinstance(name, str) else None
        if not (isinstance(found, type) and issubclass(found, Job)):
            raise DeserializationError(f"The payload names {name!r}, which is no Job.")
        try:
            job = found.load_arguments(payload)
        except (KeyError, TypeError, RecursionError) as error:
            raise DeserializationError(f"The arguments of {name} do not fit (any more): {error}") from error
        job._row = row
        job.surroundings = _surroundings_of(payload)
        return job

    @classmethod
    def load_arguments(cls, payload: dict[str, Any]) -> Self:
        """The job again from its payload. TypeError and KeyError mean that the payload does not fit."""
        return cls(*arguments.decode(payload["args"]), **arguments.decode(payload["kwargs"]))

    # Performing, in memory.

    def run(self) -> Any:
        """Perform with the hooks around it; returns what `perform` returns, None when it was not performed."""
        self.before_perform()
        if type(self).around_perform is Job.around_perform:
            performed, result = True, self.perform(*self.args, **self.kwargs)
        else:
            performed, result = self._run_around()
        if performed:
            self.after_perform()
        return result

    def _run_around(self) -> tuple[bool, Any]:
        around = self.around_perform()
        if next(around, _ENDED) is _ENDED:
            return False, None
        try:
            result = self.perform(*self.args, **self.kwargs)
        except BaseException as error:
            self._expect_end(lambda: around.throw(error))
            return False, None  # around_perform took care of the error
        self._expect_end(lambda: next(around))
        return True, result

    def _expect_end(self, resume: Callable[[], Any]) -> None:
        try:
            resume()
        except StopIteration:
            return
        raise RuntimeError(f"{type(self).__qualname__}.around_perform must yield once.")

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

    def __init__(self, job_class: type[J], options: dict[str, Any]) -> None:
        self.job_class = job_class
        self.options = options

    def set(self, **options: Any) -> ConfiguredJob[J]:
        """The same with more options; the later ones win."""
        return ConfiguredJob(self.job_class, merge_options(self.options, check_options(options)))

    def perform_later(self, *args: Any, **kwargs: Any) -> DelayedJob | None:
        """Enqueue the job with these arguments and the options. Returns its row, or None as `Job.perform_later`."""
        return enqueue(self.job_class(*args, **kwargs), **self.options)

    def perform_now(self, *args: Any, **kwargs: Any) -> Any:
        """As `Job.perform_now`; the options say when and where, so here they do not matter."""
        return self.job_class.perform_now(*args, **kwargs)


@contextmanager
def _in_surroundings(language: str | None, zone: tzinfo | None) -> Iterator[None]:
    with translation.override(language), timezone.override(zone):
        yield


def _surroundings_of(payload: dict[str, Any]) -> AbstractContextManager[None]:
    """The block in which the job of this payload is performed: in the language and the zone of its enqueue."""
    language, zone = payload.get("language"), payload.get("timezone")
    if not isinstance(language, (str, type(None))):
        raise DeserializationError(f"The payload has no language in {language!r}.")
    try:
        return _in_surroundings(language, arguments.decode_zone(zone))
    except (TypeError, ValueError, OSError) as error:
        raise DeserializationError(f"The payload has no time zone in {zone!r}: {error}") from error


def _surroundings() -> dict[str, Any]:
    """The language and the time zone of the caller, in which the job is to be performed."""
    try:
        zone = arguments.encode_zone(timezone.get_current_timezone())
    except SerializationError:
        zone = None  # an unusual class of tzinfo: the worker's own zone has to do
    return {"language": translation.get_language(), "timezone": zone}
