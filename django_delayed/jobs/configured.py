"""A Job class with options: `Report.set(queue="slow")`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from asgiref.sync import sync_to_async

from ..enqueueing import enqueue
from ..options import Layers, check_options

if TYPE_CHECKING:
    from ..models import DelayedJob
    from .job import Job

J = TypeVar("J", bound="Job")


class ConfiguredJob(Generic[J]):
    """A Job class with options, waiting for its arguments."""

    def __init__(self, job_class: type[J], layers: Layers) -> None:
        self.job_class = job_class
        self.layers = layers

    def set(self, **options: Any) -> ConfiguredJob[J]:
        """The same with more options; the later ones win."""
        return ConfiguredJob(self.job_class, (*self.layers, check_options(options)))

    def perform_later(self, /, *args: Any, **kwargs: Any) -> DelayedJob | None:
        """Enqueue the job with these arguments and the options; otherwise as `Job.perform_later`."""
        job = self.job_class(*args, **kwargs)
        job.layers = self.layers
        return enqueue(job)

    async def aperform_later(self, /, *args: Any, **kwargs: Any) -> DelayedJob | None:
        """As `perform_later`, in async code."""
        return await sync_to_async(self.perform_later)(*args, **kwargs)

    def perform_now(self, /, *args: Any, **kwargs: Any) -> Any:
        """As `Job.perform_now`; the options say when and where, so they do not matter here."""
        return self.job_class.perform_now(*args, **kwargs)
