"""Job: what to do and with which arguments; as JSON and back."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, TypeVar, Unpack, cast, overload

from django.db import transaction
from django.db.models import Model, QuerySet

from ..conf import CENTURY, duration, settings
from ..enqueueing import aenqueue, enqueue
from ..exceptions import JobRetried, JobSnoozed
from ..features.iteration.cursors import Cursors
from ..features.iteration.iterating import Chunk, Iteration, Step, check_chunk
from ..features.progress.said import check_said
from ..options import JobOptions, Layers, Options, check_options
from ..serialization import arguments
from ..serialization.context import Context
from ..serialization.names import set_former_names
from ..serialization.records import about_of
from .attempt import check_long
from .configured import ConfiguredJob, P, Performs, R
from .definition import NoDelay, NotInitialized, check_definition
from .hooks import Enqueue, Hooks, collect_hooks, run_with_hooks, run_with_many_hooks
from .payloads import dump_job, load_job, set_tag
from .results import time_for
from .rules import Retry, default_wait
from .signatures import check_fit
from .view import DelayedJobView

if TYPE_CHECKING:
    from ..features.recurring.schedules import Times
    from ..features.unique.definition import Unique
    from ..models import DelayedJob
    from .attempt import Attempt

M = TypeVar("M", bound=Model)


class Job:
    """A piece of work: subclass it, write `perform`, enqueue it with `perform_later`.

    Takes the arguments of `perform`. Raises TypeError for arguments that do not fit its signature.
    """

    queue: ClassVar[str | Callable[..., str] | None] = None
    priority: ClassVar[int | Callable[..., int] | None] = None
    max_attempts: ClassVar[int | None] = None
    max_run_time: ClassVar[timedelta | float | None] = None
    discard_on: ClassVar[tuple[type[BaseException], ...]] = ()
    retry_on: ClassVar[tuple[Retry, ...]] = ()
    retry_for: ClassVar[timedelta | float | None] = None
    expires: ClassVar[timedelta | float | None] = None
    aliases: ClassVar[tuple[str, ...]] = ()
    atomic: ClassVar[bool] = False
    schedule: ClassVar[Times | None] = None
    catch_up: ClassVar[str] = "latest"
    unique: ClassVar[Unique | bool | Callable[..., Unique | bool] | None] = None
    keep_for: ClassVar[timedelta | float | None] = None
    result: ClassVar[bool] = False

    delay = NoDelay()
    args: tuple[Any, ...] = NotInitialized()  # type: ignore[assignment]
    kwargs: dict[str, Any] = NotInitialized()  # type: ignore[assignment]
    layers: Layers = ()
    _checked: ClassVar[tuple[Any, Any, Any, Options]] = (None, None, None, {})
    # With two underscores: a subclass may have attributes of these names.
    __row: DelayedJob | None = None
    __max_run_time: float | None = None  # the option, in seconds
    __attempt: Attempt | None = None
    __cursors: Cursors | None = None
    __hooks: ClassVar[Hooks] = {}  # in addition to those below
    __enqueue: Enqueue | None = None

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        check_fit(f"{type(self).__qualname__}.perform", self.perform, args, kwargs)
        self.args = args
        self.kwargs = kwargs

    def __init_subclass__(cls, tag: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if tag:
            set_tag(cls, tag)
        cls.__hooks = collect_hooks(cls, Job)
        check_definition(cls, Job, cls.__hooks)
        # Not the inherited ones: these are its parent's.
        set_former_names(cls, vars(cls).get("aliases", ()))

    def __repr__(self) -> str:
        values = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"{self.name}({', '.join(values)})"

    # What a subclass writes.

    def perform(self, *args: Any, **kwargs: Any) -> Any:
        """Do the work. After an exception the job is tried again later."""
        raise NotImplementedError(f"{type(self).__qualname__} has no perform() yet.")

    def before_enqueue(self) -> Any:
        """Runs before the job is written down. If it returns False, the job is not enqueued."""

    def around_enqueue(self) -> Generator[None, None, None]:
        """Wraps the enqueue, with one `yield`. If it does not yield, the job is not enqueued."""
        yield

    def after_enqueue(self) -> None:
        """Runs after the job was written down."""

    def before_dequeue(self) -> Any:
        """Runs before `dequeue` removes such jobs. If it returns False, they stay."""

    def after_dequeue(self) -> None:
        """Runs after `dequeue` has removed such jobs."""

    def before_perform(self) -> None:
        """Runs before each perform; an error here is an error of the job."""

    def around_perform(self) -> Generator[None, None, None]:
        """Wraps each perform, with one `yield`. If it does not yield, the job finishes unperformed."""
        yield

    def after_perform(self) -> None:
        """Runs after each perform that succeeded; an error here is an error of the job."""

    def on_error(self, error: BaseException) -> None:
        """Runs after each failed attempt; what it raises is logged.

        This, `on_failure` and `after_discard` may be class methods. Then they run also when the job could not
        be loaded, because its record is gone for example.
        """

    def on_failure(self, error: BaseException) -> None:
        """Runs once when the job is given up; what it raises is logged.

        It does not run when the worker's process died or was killed: no code of the job runs in the process
        that records this. The signal `job_failed` is sent in every case.
        """

    def after_discard(self, error: BaseException) -> None:
        """Runs after an error that `discard_on` names, instead of `on_error`; what it raises is logged."""

    def wait_before_retry(self, attempts: int, error: BaseException) -> timedelta | float:
        """How long to wait after the failed attempt of this number: 5 + N⁴ seconds, as in delayed_job."""
        return default_wait(attempts)

    # What a caller says.

    @classmethod
    def perform_later(cls: type[Performs[P, Any]], /, *args: P.args, **kwargs: P.kwargs) -> DelayedJob | None:
        """Enqueue the job with these arguments. Returns its row, or None, as `enqueue` does."""
        return enqueue(cast("Job", cls(*args, **kwargs)))

    @classmethod
    async def aperform_later(
        cls: type[Performs[P, Any]], /, *args: P.args, **kwargs: P.kwargs
    ) -> DelayedJob | None:
        """As `perform_later`, in async code."""
        return await aenqueue(cast("Job", cls(*args, **kwargs)))

    @overload
    @classmethod
    def perform_now(
        cls: type[Performs[P, Coroutine[Any, Any, R]]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    @classmethod
    def perform_now(cls: type[Performs[P, R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @classmethod
    def perform_now(cls: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Perform the job here and now, with its hooks; writes nothing. Returns what `perform` returns.

        After an error that `discard_on` names, `after_discard` runs; other errors are raised.
        """
        job = cls(*args, **kwargs)
        try:
            with transaction.atomic(using=settings.DATABASE) if cls.atomic else nullcontext():
                return job.run()
        except cls.discard_on as error:
            job.after_discard(error)

    @classmethod
    def set(cls, **options: Unpack[JobOptions]) -> ConfiguredJob[Self]:
        """The same job with options: `Report.set(wait=60, queue="slow").perform_later(…)`."""
        return ConfiguredJob(cls, (check_options(options),))

    # What it says while it is performed.

    def snooze(self, wait: timedelta | float) -> NoReturn:
        """End this attempt here, uncounted; the job comes again after `wait`, a timedelta or seconds.

        Raises TypeError or ValueError for another wait, RuntimeError for a job that no worker performs.
        """
        self.__expect_worker("snooze")
        raise JobSnoozed(min(duration(wait, "wait"), CENTURY))

    def retry_job(self, *, wait: timedelta | float | None = None) -> NoReturn:
        """End this attempt here as a failed one; the job is tried again after `wait`, or as after any error.

        In an `except` block, the error is that of the block. Raises as `snooze` does.
        """
        self.__expect_worker("retry_job")
        raise JobRetried(None if wait is None else duration(wait, "wait"))

    @property
    def executions(self) -> int:
        """The number of this attempt, from 1 on."""
        return max(1, self.__row.attempts) if self.__row else 1

    def should_stop(self) -> bool:
        """Whether this attempt is to end early, because its worker is being stopped or an operator ends it.

        A loop may ask it often: it makes no query. False where no worker performs the job.
        """
        return self.__attempt is not None and self.__attempt.should_stop()

    @overload
    def iterate(self, queryset: QuerySet[M]) -> Iterator[M]: ...
    @overload
    def iterate(self, queryset: QuerySet[M], *, chunk: int) -> Iterator[Chunk[M]]: ...
    def iterate(self, queryset: Any, *, chunk: int | None = None) -> Iterator[Any]:
        """The rows of the queryset by their primary key; an attempt goes on where the one before has ended.

        After an item, the attempt ends, uncounted, if its worker is being stopped. With `chunk`, lists of
        that many rows: each is a `with` block with one transaction, and is done when that is committed.
        Raises TypeError or ValueError for a queryset that cannot be iterated so. Raises RuntimeError for a
        second iteration over a model without a step of its own, in async code, and if `atomic` is True.
        """
        if chunk is not None:
            check_chunk(chunk)
        iteration = Iteration[Any](self.__begin_long("iterate"), queryset)
        return iteration.items() if chunk is None else iteration.chunks(chunk)

    def step(self, name: str) -> Step:
        """A part of the work, as a `with` block; in later attempts its `is_done` is True.

        Raises TypeError or ValueError for an invalid name, RuntimeError in async code or if atomic.
        """
        return Step(self.__begin_long("step"), name)

    def __begin_long(self, name: str) -> Cursors:
        check_long(self, name)
        if self.__cursors is None:
            attempt = self.__attempt
            self.__cursors = attempt.begin_long(self.should_stop) if attempt else Cursors()
        return self.__cursors

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say how much of the work is done, of how much, and what is being done: `row.progress` shows it.

        It is written once a second at most, and at the end, so a loop may call it often. Any thread of the
        job may call it. It has no effect where no worker performs the job. Raises TypeError or ValueError for
        anything but numbers from 0 on and a text.
        """
        said = check_said(done, total, note)
        if self.__attempt is not None:
            self.__attempt.report(said)

    def __expect_worker(self, name: str) -> None:
        # Elsewhere, as in after_enqueue, what they raise would pass through the code of the caller.
        if self.__row is None or self.__row.pk is None or self.__row.locked_at is None:
            raise RuntimeError(f"{name}() is for workers: no worker performs {self.name} here.")

    # What the row says about it.

    @property
    def delayed_job(self) -> DelayedJobView | None:
        """A frozen view of the row; None before it is written down and in `perform_now`."""
        return None if self.__row is None else DelayedJobView.of(self.__row)

    @property
    def name(self) -> str:
        """The name of the job in the log and the admin."""
        return type(self).__qualname__

    @property
    def target(self) -> Any:
        """The argument for functions of options."""
        return self

    @property
    def about(self) -> str:
        """The object that the job is about, as "blog.post:9": its first argument that is a saved instance."""
        return about_of(*self.args, *self.kwargs.values())

    @classmethod
    def class_options(cls) -> Options:
        """The options that the class gives, checked. Raises TypeError or ValueError."""
        # From the class: an instance would bind a function. Checked again when one was replaced.
        queue, priority, unique, options = cls._checked
        if queue is not cls.queue or priority is not cls.priority or unique is not cls.unique:
            queue, priority, unique = cls.queue, cls.priority, cls.unique
            options = check_options({"queue": queue, "priority": priority, "unique": unique})
            cls._checked = queue, priority, unique, options
        return options

    def row_values(
        self, max_run_time: timedelta | None = None, context: Callable[[], Context] = Context.current
    ) -> dict[str, Any]:
        """The values of the job for its row, besides its other options. Raises SerializationError."""
        cls = type(self)
        return {
            "name": self.name[:255],
            "about": self.about,
            "payload": self.dump(max_run_time, context),
            "keep_for": time_for(cls) if cls.keep_for or cls.result else settings.KEEP_FINISHED_FOR,
        }

    def begin_enqueue(self) -> bool:
        """Run the hooks before the enqueue; False if one of them does not want it."""
        if not self.__hooks:
            return self.before_enqueue() is not False
        self.__enqueue = Enqueue(self, self.__hooks)
        return self.__enqueue.begin()

    def enqueued(self, row: DelayedJob) -> None:
        """Give the job its row, and end the hooks around its enqueue."""
        self.__row = row
        if self.__enqueue:
            self.__enqueue.leave()

    def finish_enqueue(self) -> None:
        """Run the hooks after the enqueue."""
        (self.__enqueue.finish if self.__enqueue else self.after_enqueue)()

    def enqueue_failed(self, error: BaseException) -> None:
        """Tell the hooks around the enqueue that the job gets no row, because of this error."""
        if self.__enqueue:
            self.__enqueue.fail(error)

    # To JSON and back.

    size_setting: ClassVar[str] = "MAX_ARGUMENTS_SIZE"

    def dump(
        self, max_run_time: timedelta | None = None, context: Callable[[], Context] = Context.current
    ) -> str:
        """The job as ASCII JSON. Raises SerializationError for what cannot be stored or is too large."""
        if type(self).perform is Job.perform:
            raise TypeError(f"{self.name} has no perform() yet.")
        return dump_job(self, max_run_time, context)

    def dump_arguments(self) -> dict[str, Any]:
        """The part of the payload that differs from call to call."""
        return arguments.encode_call(self.args, self.kwargs)

    @classmethod
    def load(
        cls,
        row: DelayedJob,
        enter: Callable[[Context], object],
        attempt: Attempt | None = None,
    ) -> Job:
        """The job that a row holds.

        `enter` is called first, with the context of the enqueue: the job is loaded and performed in that.
        `attempt` answers what the job asks while it is performed.

        Raises DeserializationError when its code or a record is gone. Errors of the project's own code, for
        example of a model while it is fetched, are raised as they are.
        """
        job, max_run_time = load_job(row, Job, enter)
        job.__row, job.__max_run_time, job.__attempt = row, max_run_time, attempt
        return job

    @classmethod
    def load_arguments(cls, payload: dict[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arguments with which the class makes the job again. Raises as `load` does."""
        return arguments.decode_call(payload)

    # Performing, in memory.

    def run(self) -> Any:
        """Perform with its hooks. Returns what `perform` returns, None if it was not performed."""
        return run_with_many_hooks(self, self.__hooks) if self.__hooks else run_with_hooks(self)

    @property
    def run_time(self) -> timedelta:
        """How long this job may run: as its option says, else its class, its queue, the settings."""
        limit = self.max_run_time if self.__max_run_time is None else self.__max_run_time
        if limit is None and self.__row is not None:
            limit = settings.QUEUE_ATTRIBUTES.get(self.__row.queue, {}).get("max_run_time")
        return settings.MAX_RUN_TIME if limit is None else duration(limit, "max_run_time")
