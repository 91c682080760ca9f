"""Can the fault suite fail? Take out of the package what keeps a promise, and see its row turn red.

`make faults-mutants` calls this. Each patch is made in a copy of the checkout, where one row of the table in
docs/guarantees.md, in its short form, passes without the patch and has to fail with it. MUTANTS is a word in
the names of those to try; DATABASES says which servers are there.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from copies import Copy

SERVERS = ("postgresql", "mariadb")
LIMIT = 240.0  # seconds for one row


@dataclass(frozen=True)
class Patch:
    """What is taken out, from these places: file, text, and what stands there instead."""

    name: str
    row: str
    databases: tuple[str, ...]
    places: tuple[tuple[str, str, str], ...]

    def write(self, checkout: Path) -> None:
        for file, text, instead in self.places:
            path = checkout / "django_delayed" / file
            source = path.read_text()
            if source.count(text) != 1:
                sys.exit(f"{self.name}: {file} does not have this once: {text}")
            path.write_text(source.replace(text, instead))


ALL = ("sqlite", *SERVERS)
PATCHES = (
    Patch(
        "the token of the claim",
        "test_stalls.py::test_what_comes_of_a_job_that_another_host_has_taken_over_is_refused",
        ALL,
        (
            (
                "states.py",
                "self.filter(pk=row.pk, locked_by=row.locked_by, lock_token=row.lock_token)",
                "self.filter(pk=row.pk)",
            ),
            ("states.py", '" WHERE id = %s AND locked_by = %s AND lock_token = %s"', '" WHERE id = %s"'),
            ("states.py", "[row.pk, row.locked_by, row.lock_token],", "[row.pk],"),
        ),
    ),
    Patch(
        "the count at the claim",
        "test_kills.py::test_killer_jobs_are_given_up_after_three_crashes_and_cost_no_other_job_anything",
        ALL,
        (("databases/base.py", " lock_token = %s, attempts = attempts + 1", " lock_token = %s"),),
    ),
    Patch(
        "SKIP LOCKED",
        "test_transactions.py::test_a_row_that_a_transaction_has_locked_keeps_no_worker_from_the_others",
        SERVERS,
        (
            ("databases/postgresql.py", "LIMIT %s FOR UPDATE SKIP LOCKED) due", "LIMIT %s FOR UPDATE) due"),
            ("databases/mysql.py", "LIMIT %s FOR UPDATE SKIP LOCKED", "LIMIT %s FOR UPDATE"),
        ),
    ),
    Patch(
        "the clock of the database",
        "test_clocks.py::test_hosts_whose_clocks_are_wrong_start_nothing_early_and_take_nothing_away",
        SERVERS,
        (
            (
                "databases/base.py",
                "return self.clock(plus + self.ahead)",
                "at = datetime.now(UTC) + plus + self.ahead\n"
                '        naive = self.connection.vendor == "mysql"\n'
                '        return "%s", [at.replace(tzinfo=None) if naive else at]',
            ),
        ),
    ),
    Patch(
        "the retry of settling",
        "test_outages.py::test_no_worker_ends_and_no_job_is_lost_when_all_connections_are_ended_again_and_again",
        SERVERS,
        (
            (
                "worker/worker.py",
                "give_up=lambda error: self.shutdown.immediate,",
                "give_up=lambda error: True,",
            ),
        ),
    ),
    Patch(
        "the cleaning of NUL",
        "test_odd.py::test_errors_that_cannot_be_stored_as_they_are_can_be_read_and_the_other_jobs_go_on",
        ("postgresql",),
        (("serialization/errors.py", 'text.replace("\\0", "\\ufffd")', "text"),),
    ),
    Patch(
        "the thread of the supervisor",
        "test_outages.py::test_what_a_host_does_behind_a_silent_network_is_done_by_another",
        SERVERS,
        (
            ("supervisor/supervisor.py", "        self.database.start()\n", ""),
            (
                "supervisor/supervisor.py",
                "                    wakeup.wait(TICK)\n",
                "                    wakeup.wait(TICK)\n"
                "                    self.database._run_requests()\n"
                "                    [task.run_if_due() for task in self.database._tasks]\n",
            ),
            (
                "supervisor/database_thread.py",
                "        self.join(timeout)\n",
                "        self._run_requests()\n",
            ),
        ),
    ),
)


def main() -> int:
    """Try each patch on the first database that its row is for; returns the exit code."""
    there = os.environ.get("DATABASES", "").split() or [*ALL]
    chosen = [patch for patch in PATCHES if os.environ.get("MUTANTS", "") in patch.name]
    results = [_try(patch, there) for patch in chosen]
    print(f"{sum(results)} of {len(chosen)} patches turned their rows red")
    return 0 if all(results) else 1


def _try(patch: Patch, there: list[str]) -> bool:
    database = next((one for one in reversed(patch.databases) if one in there), None)
    if database is None:
        print(f"NOT RUN   {patch.name}: its row is for {' and '.join(patch.databases)}", flush=True)
        return False
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-mutants-") as folder:
        copy = Copy.make(Path(folder))
        row = [f"tests/faults/{patch.row}"]
        how = {"limit": LIMIT, "select": "fault", "longest": LIMIT, "PYTHONDONTWRITEBYTECODE": "1"}
        if output := copy.test(row, database, **how):
            print(f"{output}\nNOT RUN   {patch.name}: its row fails without the patch", flush=True)
            return False
        patch.write(copy.folder)
        output = copy.test(row, database, **how)
    is_red = "FAILED tests/faults" in output
    state = "red      " if is_red else "SURVIVED "
    print(
        f"{state} {time.monotonic() - began:4.0f} s  without {patch.name}: {patch.row} on {database}",
        flush=True,
    )
    return is_red


if __name__ == "__main__":
    sys.exit(main())
