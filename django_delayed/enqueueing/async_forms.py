"""Enqueue jobs from async code, in the thread in which Django makes its queries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Unpack

from asgiref.sync import sync_to_async

from ..options import JobOptions
from .jobs import enqueue, enqueue_all

if TYPE_CHECKING:
    from ..jobs import Job
    from ..models import DelayedJob


async def aenqueue(job: Job, **options: Unpack[JobOptions]) -> DelayedJob | None:
    """As `enqueue`, in async code."""
    return await sync_to_async(enqueue)(job, **options)


async def aenqueue_all(jobs: Iterable[Job], **options: Unpack[JobOptions]) -> list[DelayedJob | None]:
    """As `enqueue_all`, in async code. The iterable is read in the thread of the queries, too."""
    return await sync_to_async(enqueue_all)(jobs, **options)
