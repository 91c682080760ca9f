"""What jobs have done, in a file outside of the database: no rollback and no crash of a server undoes it.

Each line is one write() to a file opened with O_APPEND: the lines of many processes do not mix, and what was
written before a SIGKILL stays. A job of the fault suite writes a line when it starts and one for its effect:
"start" or "effect", its id, its process, and the time on the clock that all processes of a machine share.
"""

import os
import time
from collections import Counter
from typing import NamedTuple

from tests.playground.waiting import until

START, EFFECT, DEATH = "start", "effect", "death"


def note(ledger, *words):
    """Write these words as a line."""
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{' '.join(map(str, words))}\n".encode())
    finally:
        os.close(file)


def enter(ledger, what, job):
    """Write an entry."""
    note(ledger, what, job, os.getpid(), time.monotonic_ns())


class Entry(NamedTuple):
    """What a process did for a job, and when; for a death, `job` is the point where it died."""

    what: str
    job: int | str
    pid: int
    at: int

    @classmethod
    def read(cls, line):
        what, job, pid, at = line.split()
        return cls(what, job if what == DEATH else int(job), int(pid), int(at))


class Ledger:
    def __init__(self, path):
        self.path = path
        self.gate = path.with_name("gate")
        self._entries = []
        self._last = {}
        self._position = 0

    def __str__(self):
        return str(self.path)

    @property
    def lines(self):
        return self.path.read_text().splitlines()

    def has(self, line, times=1):
        """Wait until the line is there so many times."""
        return until(lambda: self.lines.count(line) >= times)

    def open_gate(self):
        self.gate.touch()

    # Entries

    @property
    def entries(self):
        """All entries so far; only new ones are read from the file."""
        with self.path.open("rb") as file:
            file.seek(self._position)
            new = file.read()
        new = new[: new.rfind(b"\n") + 1]
        self._position += len(new)
        entries = [Entry.read(line.decode()) for line in new.splitlines()]
        self._entries += entries
        self._last |= {entry.pid: entry for entry in entries}
        return self._entries

    def of(self, what):
        return [entry for entry in self.entries if entry.what == what]

    @property
    def starts(self):
        """How often each job has started."""
        return Counter(entry.job for entry in self.of(START))

    @property
    def effects(self):
        """How often each job has had its effect."""
        return Counter(entry.job for entry in self.of(EFFECT))

    @property
    def running(self):
        """The jobs that have started and have had no effect yet, by their processes, dead ones included."""
        _ = self.entries
        return {pid: entry.job for pid, entry in self._last.items() if entry.what == START}

    @property
    def processes(self):
        """The processes that have begun a job."""
        _ = self.entries
        return self._last.keys()

    def lost(self, rows):
        """The ids of the rows whose jobs have had no effect."""
        return {row.pk for row in rows} - self.effects.keys()

    def extra_starts(self, rows):
        """How many more starts than rows there are."""
        return self.starts.total() - len(rows)
