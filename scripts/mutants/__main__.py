"""Do the tests notice when the core is changed? Change it at many places, one at a time, and run the tests.

`make mutants` calls this. It reports each change (mutant) as killed, if a test failed, or as survived, and
prints a score for each part of the core. Each change is made in a copy of the checkout. Variables:

MUTANTS    how many, chosen at random from all; "all" for all of them
SEED       the seed of that choice, so that a run can be repeated; it is printed
MODULES    only these, such as "states worker/recovery"
DATABASES  the databases to run the tests on, one after another until a test fails; code that only one of
           them reaches survives on the others

No other tool does this. mutmut leaves out functions with decorators, and chooses the tests of a mutant by
what was called in the process of the tests, and not in that of a worker. cosmic-ray removes no statements.
"""

from __future__ import annotations

import ast
import os
import random
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from queue import SimpleQueue

from copies import Copy
from mutations import mutations

ROOT = Path(__file__).resolve().parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
DEFAULT = 100
AT_A_TIME = 2
# The tests below `tests` that notice a change of a module, the fast ones first; before them, those of its own
# file run. Slow tests that notice nothing more than the others are left out.
TESTS = {
    "states": [
        *("test_states.py", "test_operations.py", "test_models.py", "test_stats.py", "test_signals.py"),
        *("execution/test_settle.py", "worker/test_recovery.py", "databases/test_claim.py"),
        *("databases/test_conflicts.py", "databases/test_clock.py", "databases/test_odd_rows.py"),
    ],
    "claiming": [
        *("test_states.py", "databases/test_claim.py", "databases/test_odd_rows.py"),
        *("databases/test_large_payloads.py", "databases/test_conflicts.py", "worker/test_waking.py"),
    ],
    "execution": [
        *("execution", "test_reports.py", "test_signals.py", "stories/test_context.py"),
        *("commands/test_jobs_workoff.py", "tasks/test_performing.py", "features/iteration"),
        "faults/test_overlong_jobs.py",
    ],
    "worker": [
        *("worker", "test_reports.py", "commands/test_jobs_workoff.py", "commands/test_jobs_work.py"),
        "faults",
    ],
    "supervisor": [
        *("supervisor/test_database_thread.py", "supervisor/test_maintenance.py"),
        *("supervisor/test_manager.py", "supervisor/test_process.py", "supervisor/test_sources.py"),
        "supervisor/test_health.py",
        *("worker/test_stop.py", "worker/test_reload.py", "commands/test_jobs_work.py", "faults"),
    ],
    "features/recurring": [
        *("features/recurring", "supervisor/test_schedules.py", "supervisor/test_maintenance.py"),
        *("admin/test_schedules.py", "databases/test_clock.py"),
    ],
    "features/unique": ["features/unique", "supervisor/test_maintenance.py", "test_operations.py"],
}
# The limit for all tests of a mutant: so many times as long as without a change, and at least these seconds.
LEAST_LIMIT, TIMES_AS_LONG = 60.0, 3


@dataclass(frozen=True)
class Mutant:
    """The change of this number in a module."""

    module: str
    number: int
    line: int
    function: str
    change: str

    @property
    def part(self) -> str:
        return part_of(self.module)

    def __str__(self) -> str:
        return f"{self.module}.py:{self.line} {self.function}:  {self.change}"

    def write(self, checkout: Path) -> None:
        """Make the change in this checkout."""
        tree = ast.parse(source_of(self.module))
        list(mutations(tree))[self.number].apply()
        path_of(self.module, checkout).write_text(ast.unparse(ast.fix_missing_locations(tree)))

    def undo(self, checkout: Path) -> None:
        path_of(self.module, checkout).write_text(source_of(self.module))


def part_of(module: str) -> str:
    """The part of the core that the module belongs to."""
    return next(part for part in TESTS if module == part or module.startswith(f"{part}/"))


def main() -> int:
    equivalent = {(one["module"], one["function"], one["change"]) for one in _listed()}
    mutants = [one for module in _modules() for one in _mutants_of(module)]
    known = {(one.module, one.function, one.change) for one in mutants}
    if gone := sorted(one for one in equivalent - known if one[0] in {mutant.module for mutant in mutants}):
        sys.exit(f"No such change, so remove it from {EQUIVALENT.name}: {gone}")
    mutants = [one for one in mutants if (one.module, one.function, one.change) not in equivalent]
    chosen, seed = _choose(mutants)
    print(f"{len(chosen)} of {len(mutants)} mutants that are not equivalent; SEED={seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        survivors = _run(chosen, Path(folder))
    _report(chosen, survivors)
    return 0


def _listed() -> list[dict[str, str]]:
    return tomllib.loads(EQUIVALENT.read_text()).get("equivalent", [])


def path_of(module: str, checkout: Path) -> Path:
    return checkout / "django_delayed" / f"{module}.py"


@cache
def source_of(module: str) -> str:
    """The source as it was at the start: somebody may change it meanwhile."""
    return path_of(module, ROOT).read_text()


def _modules() -> list[str]:
    """The modules of the core, or those asked for."""
    package = ROOT / "django_delayed"
    paths = [package / f"{part}.py" for part in TESTS] + sorted(
        path for part in TESTS for path in package.glob(f"{part}/*.py")
    )
    modules = [path.relative_to(package).with_suffix("").as_posix() for path in paths if path.exists()]
    if asked := os.environ.get("MODULES", "").split():
        modules = [one for one in modules if one in asked or part_of(one) in asked]
    return modules or sys.exit(f"No module of the core is named so: {' '.join(asked)}")


def _mutants_of(module: str) -> Iterator[Mutant]:
    for number, one in enumerate(mutations(ast.parse(source_of(module)))):
        yield Mutant(module, number, one.line, one.function, one.change)


def _choose(mutants: list[Mutant]) -> tuple[list[Mutant], int]:
    seed = int(os.environ.get("SEED") or random.randrange(10_000))
    asked = os.environ.get("MUTANTS") or str(DEFAULT)
    if asked == "all":
        return mutants, seed
    # Each mutant has a random number of its own: a change of one module does not alter the choice in others.
    return sorted(mutants, key=lambda one: random.Random(f"{seed} {one}").random())[: int(asked)], seed


# Run the tests


def tests_of(module: str, checkout: Path) -> list[str]:
    """The files of tests for this module, its own first."""
    part = part_of(module)
    own = checkout / "tests" / Path(module).parent / f"test_{Path(module).name}.py"
    files = [own] if own.exists() else []
    for path in (checkout / "tests" / entry for entry in TESTS[part]):
        files += sorted(path.glob("test_*.py")) if path.is_dir() else [path]
    return [file.relative_to(checkout).as_posix() for file in dict.fromkeys(files)]


def _run(mutants: list[Mutant], folder: Path) -> list[Mutant]:
    copies: SimpleQueue[Copy] = SimpleQueue()
    for number in range(AT_A_TIME):
        copies.put(Copy.make(folder / str(number)))
    databases = os.environ.get("DATABASES", "").split() or ["sqlite"]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        parts = sorted({one.part for one in mutants}, key=[*TESTS].index, reverse=True)
        limits = dict(pool.map(partial(_measure, copies, databases), parts))
        verdicts = pool.map(partial(_test, copies, databases, limits), mutants)
        return [one for one, is_killed in zip(mutants, verdicts, strict=True) if not is_killed]


def _measure(copies: SimpleQueue[Copy], databases: list[str], part: str) -> tuple[str, float]:
    """Run the tests of this part without any change; they have to pass. Returns the limit for its mutants."""
    copy = copies.get()
    began = time.monotonic()
    for database in databases:
        if output := copy.test(tests_of(part, copy.folder), database, None):
            copies.put(copy)
            sys.exit(f"{output}\nThe tests of {part} fail without any change.")
    copies.put(copy)
    took = time.monotonic() - began
    print(f"The tests of {part} take {took:.0f} s", flush=True)
    return part, max(LEAST_LIMIT, TIMES_AS_LONG * took)


def _test(copies: SimpleQueue[Copy], databases: list[str], limits: dict[str, float], mutant: Mutant) -> bool:
    copy = copies.get()
    began = time.monotonic()
    mutant.write(copy.folder)
    tests, limit = tests_of(mutant.module, copy.folder), limits[mutant.part]
    how = ""
    for database in databases:
        how = how or copy.test(tests, database, limit)
    mutant.undo(copy.folder)
    copies.put(copy)
    failed = [line for line in how.splitlines() if line.startswith(("FAILED ", "ERROR tests"))]
    by = failed[0].split(" - ")[0] if failed else ""
    state = "killed  " if how else "SURVIVED"
    print(f"{state} {time.monotonic() - began:4.0f} s  {mutant}   {by}", flush=True)
    return bool(how)


def _report(chosen: list[Mutant], survivors: list[Mutant]) -> None:
    total, alive = Counter(one.part for one in chosen), Counter(one.part for one in survivors)
    print("\nSurvivors:" if survivors else "")
    for one in sorted(survivors, key=lambda mutant: (mutant.module, mutant.line)):
        print(f"  {one}")
    print()
    for part in [one for one in TESTS if total[one]]:
        print(f"{part:18} {total[part] - alive[part]:4} of {total[part]:4} killed")
    killed = len(chosen) - len(survivors)
    print(f"{'all':18} {killed:4} of {len(chosen):4} killed: {killed / max(len(chosen), 1):.0%}")


if __name__ == "__main__":
    sys.exit(main())
