"""A Job class with options: `Report.set(queue="slow")`."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

from asgiref.sync import sync_to_async

from ..enqueueing import enqueue
from ..options import JobOptions, Layers, check_options

if TYPE_CHECKING:
    from ..models import DelayedJob
    from .job import Job

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
J_co = TypeVar("J_co", covariant=True)


class Performs(Protocol[P, R_co]):
    """A Job for type checkers: it has a `perform` that takes P and returns R."""

    def perform(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """The work."""


class ConfiguredJob(Generic[J_co]):
    """A Job class with options, waiting for its arguments."""

    def __init__(self, job_class: type[J_co], layers: Layers) -> None:
        self.job_class: Any = job_class
        self.layers = layers

    def set(self, **options: Unpack[JobOptions]) -> ConfiguredJob[J_co]:
        """The same with more options; the later ones win."""
        return ConfiguredJob(self.job_class, (*self.layers, check_options(options)))

    def perform_later(
        self: ConfiguredJob[Performs[P, Any]], /, *args: P.args, **kwargs: P.kwargs
    ) -> DelayedJob | None:
        """Enqueue the job with these arguments and the options; otherwise as `Job.perform_later`."""
        job: Job = self.job_class(*args, **kwargs)
        job.layers = self.layers
        return enqueue(job)

    async def aperform_later(
        self: ConfiguredJob[Performs[P, Any]], /, *args: P.args, **kwargs: P.kwargs
    ) -> DelayedJob | None:
        """As `perform_later`, in async code."""
        return await sync_to_async(self.perform_later)(*args, **kwargs)

    @overload
    def perform_now(
        self: ConfiguredJob[Performs[P, Coroutine[Any, Any, R]]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    def perform_now(self: ConfiguredJob[Performs[P, R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    def perform_now(self, /, *args: Any, **kwargs: Any) -> Any:
        """As `Job.perform_now`; the options say when and where, so they do not matter here."""
        return self.job_class.perform_now(*args, **kwargs)
