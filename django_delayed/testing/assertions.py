"""Assertions about what was enqueued; a failing one prints the jobs that wait."""

from __future__ import annotations

from functools import partial
from typing import Any, Unpack

from django.db import connections

from ..conf import count, settings
from ..databases import when_committed
from .faults import crash, deliver_twice
from .selection import Criteria, Wanted, enqueued, waiting
from .work_off import work_off

# Jobs that a failing assertion prints at most.
MOST_PRINTED = 20
# A failure is shown in the test: unittest leaves out the frames of this module, pytest those that say so.
__unittest = True


def assert_enqueued(what: Any = None, /, *, times: int | None = None, **criteria: Unpack[Criteria]) -> None:
    """Assert that such a job waits; with `times`, exactly so many. Other arguments: as for `enqueued`."""
    __tracebackhide__ = True
    if times is not None:
        count(times, "times")
    found = _number(what, criteria)
    if times is None and not found:
        raise AssertionError(_failure(f"{Wanted(what, criteria)} was not enqueued."))
    if times is not None and found != times:
        raise AssertionError(
            _failure(f"{Wanted(what, criteria)} was enqueued {_times(found)}, not {_times(times)}.")
        )


def assert_not_enqueued(what: Any = None, /, **criteria: Unpack[Criteria]) -> None:
    """Assert that no such job waits; without arguments, that no job does. Arguments: as for `enqueued`."""
    __tracebackhide__ = True
    if found := _number(what, criteria):
        raise AssertionError(_failure(f"{Wanted(what, criteria)} was enqueued {_times(found)}."))


class JobsMixin:
    """The functions of this package as methods of a TestCase."""

    assert_enqueued = staticmethod(assert_enqueued)
    assert_not_enqueued = staticmethod(assert_not_enqueued)
    enqueued = staticmethod(enqueued)
    work_off = staticmethod(work_off)
    crash = staticmethod(crash)
    deliver_twice = staticmethod(deliver_twice)


def _number(what: Any, criteria: Criteria) -> int:
    """How many such jobs wait, including those that cannot be loaded."""
    wanted = Wanted(what, criteria)
    return sum(wanted.is_met_by(found) for found in waiting())


def _failure(sentence: str) -> str:
    found = list(waiting())
    lines = [f"  {one}" for one in found[:MOST_PRINTED]]
    if len(found) > MOST_PRINTED:
        lines.append(f"  and {len(found) - MOST_PRINTED} more")
    head = f"{sentence} These jobs wait:" if found else f"{sentence} No job waits."
    return "\n".join([head, *lines, *_reasons()])


def _reasons() -> list[str]:
    """Why a job may be missing although the code enqueues it."""
    reasons = []
    if before_commit := _before_commit():
        reasons.append(
            f"{before_commit} of them, or more, would be enqueued on commit: run the callbacks with"
            " captureOnCommitCallbacks(execute=True)."
        )
    if settings.DELAY_JOBS is not True:
        reasons.append("DELAY_JOBS performs jobs where they are enqueued.")
    return reasons


def _before_commit() -> int:
    """How many calls of enqueue() wait for a commit, which does not come in a TestCase."""
    callbacks = [callback[1] for one in connections.all(True) for callback in one.run_on_commit]
    module = when_committed.__module__
    return sum(isinstance(one, partial) and one.func.__module__ == module for one in callbacks)


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
