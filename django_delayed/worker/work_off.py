"""Perform what is ready in this process, then end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from django.db import connections

from ..conf import settings
from ..exceptions import JobInterrupted
from ..outcomes import Outcome
from .activity import Activity
from .heartbeat import BeatingThread, register
from .patience import AWAY, patiently
from .shutdown import Shutdown
from .upkeep import bury, rescue
from .wakeup import Wakeup
from .worker import Configuration, Worker, new_worker_id


def work_off(configuration: Configuration, on_settled: Callable[[Outcome], None] | None = None) -> bool:
    """Perform what is ready and what falls due meanwhile; `on_settled` is told each outcome.

    Returns False when a signal ended it early.
    """
    wakeup, activity = Wakeup(), Activity()

    def interrupt() -> None:
        current = activity.current()
        if current and current.limit is not None:  # while it is being settled, it is too late
            raise JobInterrupted

    try:
        with Shutdown(interrupt) as shutdown:
            worker = Worker(
                new_worker_id(),
                configuration,
                wakeup,
                shutdown,
                activity,
                work_off=True,
                on_settled=on_settled,
            )
            _run(worker)
        return not shutdown.requested
    finally:
        activity.close()
        wakeup.close()


def _run(worker: Worker) -> None:
    try:
        with _alive(worker):
            worker.run()
    except AWAY:
        if not worker.shutdown.requested:
            raise


@contextmanager
def _alive(worker: Worker) -> Iterator[None]:
    """The worker has its row and its beat in the block, and holds nothing after it."""
    if connections[settings.DATABASE].in_atomic_block:
        # In a caller's transaction (a test) nobody else sees the row, nor could a thread write beside it.
        yield
        return

    def is_stopped() -> bool:
        return worker.shutdown.requested

    with suppress(*AWAY):  # after an outage every worker seems dead: not the moment to bury any
        rescue(settings.LEASE)
    patiently(lambda: register(worker.id, worker.configuration), worker.wakeup, is_stopped)
    beating = BeatingThread(worker.id, worker.activity, worker.shutdown)
    beating.start()
    try:
        yield
    except JobInterrupted:  # in the moment before or after a job
        worker.activity.end()
    finally:
        beating.stop()
        patiently(lambda: bury(worker.id), worker.wakeup, is_stopped)
