"""The thread that runs all SQL of a supervisor, so that no statement holds up the main thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

from django.db import connections

from ..reports import reporting
from ..worker.availability import PeriodicTask


class DatabaseThread(threading.Thread):
    """Runs periodic tasks, and each request until it has succeeded once.

    While the database is unavailable, both are tried again. `error` is the error that has ended the thread.
    """

    def __init__(self, tasks: Sequence[PeriodicTask], name: str = "django_delayed database") -> None:
        super().__init__(name=name, daemon=True)
        self.error: BaseException | None = None
        self._tasks = list(tasks)
        self._requests: list[tuple[PeriodicTask, threading.Event]] = []
        self._changed = threading.Event()
        self._is_over = False

    # For the main thread.

    def request(self, function: Callable[[], object]) -> threading.Event:
        """Run the function, after earlier requests. Returns an event that is set when it has succeeded."""
        done = threading.Event()
        self._requests.append((PeriodicTask(function, timedelta(0)), done))
        self._changed.set()
        return done

    def add(self, tasks: Sequence[PeriodicTask]) -> None:
        """Run these tasks too."""
        self._tasks = [*self._tasks, *tasks]
        self._changed.set()

    def remove(self, tasks: Sequence[PeriodicTask]) -> None:
        """Run these tasks no more. One of them may be running; a later request runs after it."""
        self._tasks = [task for task in self._tasks if task not in tasks]

    def end(self, timeout: float) -> None:
        """End the thread. One that hangs in a statement is left alone: it ends with the process."""
        self._is_over = True
        self._changed.set()
        self.join(timeout)

    # In the thread.

    def run(self) -> None:
        """Work until `end`."""
        try:
            with reporting():
                self._work()
        except BaseException as error:
            self.error = error
        finally:
            connections.close_all()

    def _work(self) -> None:
        while not self._is_over:
            self._run_requests()
            for task in self._tasks:
                task.run_if_due()
            waiting = [*self._tasks, *(task for task, _ in self._requests[:1])]
            self._changed.wait(min((task.due_in for task in waiting), default=None))
            self._changed.clear()
        self._run_requests()

    def _run_requests(self) -> None:
        while self._requests:
            task, done = self._requests[0]
            if not task.run_if_due():
                return
            self._requests.pop(0)
            done.set()
