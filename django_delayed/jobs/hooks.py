"""The hooks of a job around its perform(), in their order. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .job import Job

_ENDED = object()


def run_with_hooks(job: Job) -> Any:
    """What `perform` returns; None when `around_perform` did not yield, or handled an error."""
    job.before_perform()
    around = job.around_perform()
    if next(around, _ENDED) is _ENDED:
        return None
    try:
        result = job.perform(*job.args, **job.kwargs)
    except BaseException as error:
        _expect_end(job, around.throw, error)
        return None
    _expect_end(job, next, around)
    job.after_perform()
    return result


def _expect_end(job: Job, resume: Callable[..., Any], *args: Any) -> None:
    try:
        resume(*args)
    except StopIteration:
        return
    raise RuntimeError(f"{type(job).__qualname__}.around_perform must yield once.")
