"""Run the fault suite in its long form on each database, and print its figures as the rows of a table.

`make faults` calls this; the table of docs/guarantees.md is made from what it prints. DATABASES says on which
databases, SEED repeats the choices of a run, and ROWS, as pytest's -k, leaves rows out.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The keys of a line that are no figures.
NAMES = ("row", "database")


def main(databases: list[str]) -> int:
    """Run the suite and print; returns its exit code."""
    with tempfile.NamedTemporaryFile("r") as figures:
        rows = ["-k", f"'{os.environ['ROWS']}'"] if "ROWS" in os.environ else []
        environment = {
            "FAULTS": "long",
            "FAULTS_FIGURES": figures.name,
            "PYTEST_ADDOPTS": " ".join(["tests/faults", "--show-capture=no", *rows]),
        }
        tests = [sys.executable, ROOT / "scripts" / "test.py", *databases]
        result = subprocess.run(tests, env={**os.environ, **environment}, check=False)
        print(f"\n{date.today()}, {machine()}\n\n{table(figures.read())}")
    return result.returncode


def machine() -> str:
    return f"{os.cpu_count()} processors, {platform.system()}, Python {platform.python_version()}"


def table(lines: str) -> str:
    """The figures as Markdown: a row for each fault, a column for each database."""
    figures: dict[str, dict[str, str]] = defaultdict(dict)
    databases: dict[str, None] = {}
    for line in map(json.loads, lines.splitlines()):
        databases[line["database"]] = None
        said = [
            f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}"
            for name, value in line.items()
            if name not in NAMES
        ]
        figures[line["row"]][line["database"]] = ", ".join(said)
    head = ["fault", *databases]
    body = [[row, *(of.get(one, "-") for one in databases)] for row, of in figures.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *body])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
