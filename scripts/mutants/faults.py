"""Can the fault suite fail? Take out of the package what keeps a promise, and check that its test fails.

`make faults-mutants` calls this. Each patch is made in a copy of the checkout. The test of a promise is a row
of the table in docs/guarantees.md, in its short form, or another test if there is no row. It passes without
the patch and has to fail with it. MUTANTS is a word in the names of the patches to try; DATABASES says which
databases are there.
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
LIMIT = 240.0  # seconds for one test


@dataclass(frozen=True)
class Patch:
    """What is taken out, at these places: file, text, and what replaces it."""

    name: str
    test: str
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
        "faults/test_stalls.py::test_what_comes_of_a_job_that_another_host_has_taken_over_is_refused",
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
        "the guard of an atomic job",
        "faults/test_stalls.py::test_an_atomic_job_that_another_host_has_taken_over_writes_nothing",
        SERVERS,
        (("execution/transaction.py", "if not self._is_moved:\n            #", "if False:\n            #"),),
    ),
    Patch(
        "the transaction of an atomic job",
        "faults/test_kills.py::test_a_storm_of_kills_loses_and_doubles_no_effect_of_an_atomic_job",
        ALL,
        (
            (
                "execution/transaction.py",
                "with transaction.atomic(using=settings.DATABASE):\n            expected",
                "if True:\n            expected",
            ),
        ),
    ),
    Patch(
        "the count at the claim",
        "faults/test_kills.py::test_killer_jobs_are_given_up_after_three_crashes_and_cost_no_other_job_anything",
        ALL,
        (("databases/base.py", " lock_token = %s, attempts = attempts + 1", " lock_token = %s"),),
    ),
    Patch(
        "the suspects",
        "faults/test_threads.py::test_killer_jobs_of_threads_are_given_up_and_no_job_beside_them_fails",
        ALL,
        (
            (
                "execution/deaths.py",
                "decide_after_crash(row, why) if was_alone else Suspected()",
                "decide_after_crash(row, why)",
            ),
        ),
    ),
    Patch(
        "the outcome of a job that was asked to end",
        "faults/test_cancels.py::test_jobs_that_an_operator_ends_end_once_and_cost_no_other_job_anything",
        ALL,
        (("execution/perform.py", "        if stop.is_cancelled():\n", "        if False:\n"),),
    ),
    Patch(
        "the end of a job that was asked and does not end",
        "faults/test_cancels.py::test_jobs_that_an_operator_ends_end_once_and_cost_no_other_job_anything",
        ALL,
        (("worker/cancelling.py", "if current and asked and asked.at < before:", "if False:"),),
    ),
    Patch(
        "the report that the process of a job has died",
        "faults/test_kills.py::test_isolated_killer_jobs_cost_their_workers_nothing_either",
        ALL,
        (
            (
                "worker/children.py",
                'return decide_after_crash(row, f"its process {how_it_ended(code)}")',
                "return Released()",
            ),
        ),
    ),
    Patch(
        "the closing of what the process of a job has inherited",
        "worker/test_children.py"
        "::test_a_process_of_a_job_has_no_file_of_its_worker_but_the_streams_and_the_socket",
        ALL,
        (("worker/child.py", "    _close_descriptors({link, *STREAMS, *_descriptors_of_log()})\n", ""),),
    ),
    Patch(
        "the end of the process of a job with its worker",
        "worker/test_children.py::test_a_job_ends_when_its_worker_and_its_supervisor_are_killed",
        ALL,
        (("worker/child.py", "if prctl := _prctl():", "if prctl := None:"),),
    ),
    Patch(
        "SKIP LOCKED",
        "faults/test_transactions.py::test_a_row_that_a_transaction_has_locked_keeps_no_worker_from_the_others",
        SERVERS,
        (
            ("databases/postgresql.py", "LIMIT %s FOR UPDATE SKIP LOCKED) due", "LIMIT %s FOR UPDATE) due"),
            ("databases/mysql.py", "LIMIT %s FOR UPDATE SKIP LOCKED", "LIMIT %s FOR UPDATE"),
        ),
    ),
    Patch(
        "the clock of the database",
        "faults/test_clocks.py::test_hosts_whose_clocks_are_wrong_start_nothing_early_and_take_nothing_away",
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
        "faults/test_outages.py::test_no_worker_ends_and_no_job_is_lost_when_all_connections_are_ended_again_and_again",
        SERVERS,
        (
            (
                "worker/settling.py",
                "give_up=lambda error: self._shutdown.immediate,",
                "give_up=lambda error: True,",
            ),
        ),
    ),
    Patch(
        "the ledger of a dead worker",
        "faults/test_batches.py::test_a_worker_that_is_killed_in_a_batch_repeats_nothing_but_the_job_that_it_was_in",
        ALL,
        (("worker/recovery.py", "Tally(settle_performed(worker, unsettled))", "Tally()"),),
    ),
    Patch(
        "what an earlier try has settled",
        "faults/test_batches.py::test_an_answer_that_is_lost_to_a_claim_or_a_batch_costs_no_job_and_no_second_start",
        SERVERS,
        (("worker/settling.py", "lambda: may_be_done or self._is_settled_by_another", "lambda: False"),),
    ),
    Patch(
        "the release of what was claimed with a long job",
        "faults/test_batches.py::test_short_jobs_do_not_wait_for_a_long_one_that_was_claimed_with_them",
        ALL,
        (("supervisor/manager.py", "if self._released.is_set() and not process.long_job_in:", "if False:"),),
    ),
    Patch(
        "the transaction of a tick",
        "faults/test_schedules.py::test_each_tick_becomes_one_job_however_many_supervisors_there_are",
        ALL,
        (
            ("features/recurring/runs.py", "paused=False, since__lt=seconds)", "paused=False)"),
            (
                "features/recurring/runs.py",
                "        with transaction.atomic(using=alias):\n            return operation()",
                "        return operation()",
            ),
        ),
    ),
    Patch(
        "the cleaning of NUL",
        "faults/test_odd.py::test_errors_that_cannot_be_stored_as_they_are_can_be_read_and_the_other_jobs_go_on",
        ("postgresql",),
        (("serialization/errors.py", 'text.replace("\\0", "\\ufffd")', "text"),),
    ),
    Patch(
        "the thread of the supervisor",
        "faults/test_outages.py::test_what_a_host_does_behind_a_silent_network_is_done_by_another",
        SERVERS,
        (
            ("supervisor/supervisor.py", "        self.database.start()\n", ""),
            (
                "supervisor/supervisor.py",
                "                    self.wakeup.wait(self._pause())\n",
                "                    self.wakeup.wait(self._pause())\n"
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
    """Try each patch on the last database that its test is for; returns the exit code."""
    there = os.environ.get("DATABASES", "").split() or [*ALL]
    chosen = [patch for patch in PATCHES if os.environ.get("MUTANTS", "") in patch.name]
    results = [_try(patch, there) for patch in chosen]
    print(f"{sum(results)} of {len(chosen)} patches turned their tests red")
    return 0 if all(results) else 1


def _try(patch: Patch, there: list[str]) -> bool:
    database = next((one for one in reversed(patch.databases) if one in there), None)
    if database is None:
        print(f"NOT RUN   {patch.name}: its test is for {' and '.join(patch.databases)}", flush=True)
        return False
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-mutants-") as folder:
        copy = Copy.make(Path(folder))
        test = [f"tests/{patch.test}"]
        how = {"limit": LIMIT, "select": "", "longest": LIMIT}
        if output := copy.test(test, database, **how):
            print(f"{output}\nNOT RUN   {patch.name}: its test fails without the patch", flush=True)
            return False
        patch.write(copy.folder)
        output = copy.test(test, database, **how)
    is_red = f"FAILED {test[0]}" in output
    state = "red      " if is_red else "SURVIVED "
    print(
        f"{state} {time.monotonic() - began:4.0f} s  without {patch.name}: {patch.test} on {database}",
        flush=True,
    )
    return is_red


if __name__ == "__main__":
    sys.exit(main())
