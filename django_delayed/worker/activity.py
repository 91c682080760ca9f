"""What a worker is doing, on a page of memory that it shares with its supervisor."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import reduce

from .clock import since_boot
from .ledger import Unsettled
from .page import NUMBER, WORD, mapped, new_file, read, since, write
from .slot import SLOT_SIZE, Slot
from .tally import Tally

# Offsets in the page; the slots come after them.
HEARTBEAT_AT, READY_AT, WORKING_AT, LEFT_AT, QUIET_AT, CHILD_AT, HEADER_SIZE = range(0, 7 * WORD, WORD)


class Activity:
    """The shared page: written by both processes, read even while a job holds the GIL, and after a crash.

    So the supervisor knows which jobs a dead worker performed, and no job costs a statement or a message for
    that. It begins with what concerns the process. Then comes a slot for each job that the worker can perform
    at the same time. Ages are measured by `time.monotonic`, which all processes of a machine share. The age
    of the heartbeat is measured by a clock that goes on while the machine is suspended, as no heartbeat is
    sent then.
    """

    def __init__(self, fd: int | None = None, slots: int = 1) -> None:
        """A new page with so many slots, or the page in a file that another process has made."""
        self.fd = new_file(HEADER_SIZE + slots * SLOT_SIZE) if fd is None else fd
        self._page = mapped(self.fd)
        self.slots = [Slot(self._page, start) for start in range(HEADER_SIZE, len(self._page), SLOT_SIZE)]

    def be_ready(self) -> None:
        """Note that the worker's process has started up."""
        write(self._page, READY_AT, time.monotonic())

    @property
    def is_ready(self) -> bool:
        """Whether the worker's process has ever started up."""
        return bool(read(self._page, READY_AT))

    def begin_work(self) -> None:
        """Note that the worker has found work."""
        write(self._page, WORKING_AT, time.monotonic())

    def end_work(self) -> None:
        """Note that the worker has found the queue empty, and is idle but for the jobs that it performs."""
        write(self._page, WORKING_AT, 0.0)

    @property
    def is_working(self) -> bool:
        """Whether the worker has found work since it was idle."""
        return bool(read(self._page, WORKING_AT))

    def be_quiet(self, quiet: bool) -> None:
        """Tell the worker to claim no more, or to claim again."""
        write(self._page, QUIET_AT, time.monotonic() if quiet else 0.0)

    @property
    def is_quiet(self) -> bool:
        """Whether the worker is to claim no more."""
        return bool(read(self._page, QUIET_AT))

    @property
    def child(self) -> int:
        """The id of the process in which a job is performed, with --isolate, and of its group; 0 for none."""
        return int(struct.unpack_from(NUMBER, self._page, CHILD_AT)[0])

    @child.setter
    def child(self, pid: int) -> None:
        struct.pack_into(NUMBER, self._page, CHILD_AT, pid)

    def leave(self) -> None:
        """Note that the worker has left its loop; its process should end now."""
        write(self._page, LEFT_AT, time.monotonic())

    @property
    def left_for(self) -> timedelta:
        """How long ago the worker has left its loop; 0 while it is in it."""
        return since(self._page, LEFT_AT)

    def heartbeat(self, at: float) -> None:
        """Note that a heartbeat was written to the database, not before this time `since_boot`."""
        write(self._page, HEARTBEAT_AT, at)

    def is_stale(self, span: timedelta) -> bool:
        """Whether no heartbeat was sent for this long; False if none ever was."""
        heartbeat = read(self._page, HEARTBEAT_AT)
        return bool(heartbeat) and since_boot() - heartbeat > span.total_seconds()

    def unsettled(self) -> Sequence[Unsettled]:
        """What is in the ledgers of all slots."""
        return [slot.unsettled() for slot in self.slots]

    @property
    def tally(self) -> Tally:
        """The tally of all slots."""
        return reduce(Tally.plus, (slot.tally for slot in self.slots))

    def close(self) -> None:
        """Unmap the page."""
        self._page.close()
        os.close(self.fd)
