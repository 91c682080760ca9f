"""The event loop of one attempt of an async job.

It runs in a thread of its own, while the thread of the job waits and runs what is not async: the queries of
Django's ORM, and all that goes through `sync_to_async`. So these have the job's own connections, are in its
transaction, and end at its deadline.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from types import CodeType, CoroutineType, FrameType
from typing import Any, Generic, TypeVar

from asgiref.sync import AsyncToSync, async_to_sync

from ..databases.event_loops import running_loop
from ..exceptions import EventLoopRunning, JobInterrupted, JobTimeout

T = TypeVar("T")

POLL = 0.01  # seconds
# Seconds that a coroutine has for its `finally` blocks, each time that it is told to end.
STOP_EVERY = 0.5

_BRIDGE = AsyncToSync.__call__.__code__

_running: list[EventLoop[Any]] = []  # in the main thread, the outermost first


def is_async(function: Any) -> bool:
    """Whether a call of it makes a coroutine, as far as that can be seen."""
    return inspect.iscoroutinefunction(inspect.unwrap(getattr(function, "__func__", function)))


def awaited(returned: Any) -> Any:
    """The result of a coroutine, which runs in a loop of its own; anything else as it is."""
    return EventLoop(returned).run() if type(returned) is CoroutineType else returned


def cancel_innermost(since: float) -> bool:
    """Cancel the coroutine that the main thread waits for, if it began after `since`; False if not."""
    if not _running or _running[-1].began < since:
        return False
    _running[-1].cancel()
    return True


class EventLoop(Generic[T]):
    """A loop for one coroutine. It is closed when `run` is over, however that ends."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.began = time.monotonic()
        self._coroutine = coroutine
        self._is_cancelled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._thread: threading.Thread | None = None
        # The frame of the bridge, in the thread of the job.
        self._frame: FrameType | None = None
        self._home = threading.get_ident()
        self._returned: Any = None
        self._error: BaseException | None = None

    def run(self) -> T:
        """The coroutine's result. Raises its error, and EventLoopRunning where a loop runs already."""
        if running_loop():
            self._coroutine.close()
            raise EventLoopRunning(
                "An async job cannot be performed where an event loop runs: write await"
                " sync_to_async(MyJob.perform_now)(…), or await what it calls."
            )
        is_main = threading.current_thread() is threading.main_thread()
        if is_main:
            _running.append(self)
        try:
            self._wait()
        finally:
            if is_main:
                _running.remove(self)
        if (error := self._error) is None:
            return self._returned
        self._error = None
        try:
            raise error
        finally:
            # Otherwise its traceback would refer to this frame, and this frame to it.
            del error

    def cancel(self) -> None:
        """Raise CancelledError in the coroutine. Any thread may call this, and a signal handler too."""
        self._is_cancelled = True
        if self._loop and self._task:
            # The loop may be closed meanwhile.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)

    def _wait(self) -> None:
        # Not the loop of an outer job that performs this one inline: it ends later.
        bridge = async_to_sync(self._perform, force_new_loop=True)
        try:
            bridge()
        except BaseException as error:
            # A signal has raised it: JobTimeout or JobInterrupted. Errors of the coroutine are in _error.
            self._close()
            raise error.with_traceback(self._error.__traceback__ if self._error else None) from None
        finally:
            self._join()

    async def _perform(self) -> None:
        self._thread, self._task = threading.current_thread(), asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._frame = _frame_of(_BRIDGE, self._home)
        if self._is_cancelled and self._task:
            self._task.cancel()
        try:
            self._returned = await self._coroutine
        except BaseException as error:
            # Without the frame of this function; those of the bridge would say nothing either.
            self._error = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)

    def _close(self) -> None:
        """End the coroutine and close its loop. Code that blocks its thread cannot be interrupted."""
        self.cancel()
        stop_at = time.monotonic() + STOP_EVERY
        while self._loop and not self._loop.is_closed():
            # The alarm repeats, and raises these again.
            with suppress(JobTimeout, JobInterrupted):
                time.sleep(POLL)
                if time.monotonic() > stop_at:
                    stop_at += STOP_EVERY
                    with suppress(RuntimeError):
                        self._loop.call_soon_threadsafe(self._loop.stop)

    def _join(self) -> None:
        # This thread must not count as one that the job has left running. It ends when nothing refers to its
        # executor, but the traceback of an error does so through the frame.
        if self._frame:
            self._frame.clear()
            self._frame = None
        if self._thread:
            self._thread.join(STOP_EVERY)


def _frame_of(code: CodeType, thread: int) -> FrameType | None:
    """The innermost frame in which this thread runs the code."""
    frame = sys._current_frames().get(thread)
    while frame and frame.f_code is not code:
        frame = frame.f_back
    return frame
