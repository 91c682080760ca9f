"""Perform what is ready in this process, then end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial

from django.db import connections

from ..conf import settings
from ..databases import in_callers_transaction
from ..exceptions import JobInterrupted
from ..execution.deadline import is_undisturbed
from ..execution.outcomes import Outcome
from ..signals import busy_seconds_summed_up
from .activity import Activity
from .availability import UNAVAILABLE, repeat_while_unavailable
from .configuration import Configuration, new_worker_id
from .heartbeat import HeartbeatThread, register
from .quiet import quiet_by_signal
from .recovery import recover_stale, release_and_deregister
from .shutdown import Shutdown
from .wakeup import Wakeup
from .worker import Worker


def work_off(configuration: Configuration, on_settled: Callable[[Outcome], None] | None = None) -> bool:
    """Perform what is ready and what falls due meanwhile; `on_settled` is called with each outcome.

    Returns False if a signal ended it early.
    """
    wakeup, activity = Wakeup(), Activity()
    [slot] = activity.slots
    until_empty = replace(configuration, sleep_delay=timedelta(0))

    def interrupt() -> None:
        current = slot.current()
        # While the outcome is settled, the job has ended already.
        if current and current.limit is not None and not is_undisturbed():
            raise JobInterrupted

    try:
        with (
            Shutdown(interrupt) as shutdown,
            quiet_by_signal(activity.be_quiet),
            busy_seconds_summed_up(),
        ):
            _run(Worker(new_worker_id(), until_empty, wakeup, shutdown, activity, on_settled=on_settled))
        return not shutdown.requested
    finally:
        activity.close()
        wakeup.close()


def _run(worker: Worker) -> None:
    try:
        with _registered(worker):
            worker.run()
    except UNAVAILABLE:
        if not worker.shutdown.requested:
            raise


@contextmanager
def _registered(worker: Worker) -> Iterator[None]:
    """A block in which the worker has its row and its heartbeat, and after which it holds nothing."""
    if in_callers_transaction(connections[settings.DATABASE]):
        yield
        return

    # After an outage every worker looks dead, so a failed attempt is not repeated.
    with suppress(*UNAVAILABLE):
        recover_stale()
    repeat_while_unavailable(
        lambda: register(worker.id, worker.configuration), worker.wakeup, worker.gives_up
    )
    heartbeat = HeartbeatThread(worker.id, worker.activity, worker.shutdown)
    heartbeat.start()
    try:
        yield
    except JobInterrupted:
        # It was raised just before or after a job.
        worker.slot.end()
        worker.settling.settle()
    finally:
        heartbeat.stop()
        # With what could not be settled while the database was unavailable.
        remove = partial(release_and_deregister, worker.id, unsettled=worker.activity.unsettled())
        repeat_while_unavailable(remove, worker.wakeup, worker.gives_up)
        heartbeat.roll_up.end(worker.activity.tally)
