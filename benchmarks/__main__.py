"""Measure django_delayed beside bare SQL and other queues: `python -m benchmarks --help`."""

import argparse
import json
import os
import signal
import sys
import time
from importlib import import_module

from .contenders import CONTENDERS, EVERYWHERE
from .environment import CACHE, PYTHON, install, machine
from .processes import Control, Entry, NotMeasured
from .report import PLAIN, report

WORKLOADS = ["drain", "enqueue", "bulk", "latency", "backlog", "contention", "snapshot"]


def arguments():
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split(":")[0])
    names = [contender.name for contender in CONTENDERS]
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument("--databases", nargs="+", choices=EVERYWHERE, default=EVERYWHERE)
    parser.add_argument("--contenders", nargs="+", choices=names, default=names)
    parser.add_argument("--jobs", type=int, default=100_000, help="in a queue that is drained or filled")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of each kind in a backlog")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions; the report has the median")
    parser.add_argument("--seconds", type=float, default=60, help="after which a repetition is ended")
    options = parser.parse_args()
    if min(options.jobs, options.rows, options.rounds, options.seconds) <= 0:
        parser.error("--jobs, --rows, --rounds and --seconds must be more than 0")
    return options


class Results:
    """The rows of all repetitions, each written to a file at once."""

    def __init__(self, path):
        self.path, self.rows = path, []

    def add(self, **row):
        """Keep a row, and show it."""
        row = {"at": time.strftime("%F %T"), "load": os.getloadavg()[0], **row}
        self.rows.append(row)
        with self.path.open("a") as file:
            print(json.dumps(row), file=file)
        said = row.get("reason") or f"{row['value']:,.1f}"
        about = [row[key] for key in ("database", "workload", "contender", "case", "condition")]
        print(f"{', '.join(about)}: {said}", flush=True)


def run(database, options, reasons, results):
    """Run all workloads on one database, in rounds: what is compared is measured in the same minutes."""
    entries = [
        Entry(contender, database, PYTHON)
        for contender in CONTENDERS
        if contender.name in options.contenders and database in contender.databases
    ]
    for name in options.workloads:
        workload = import_module(f"benchmarks.workloads.{name}")
        for round in range(options.rounds):
            for entry in entries:
                contender = entry.contender.name
                about = {"workload": name, "database": database, "contender": contender, "round": round}
                if contender in reasons:
                    results.add(**about, condition=PLAIN, case="all", reason=reasons[contender])
                else:
                    measure(workload, entry, options, about, results)


def measure(workload, entry, options, about, results):
    """All cases of one workload for one contender in one round."""
    try:
        with Control(entry) as control:
            control.ask("prepare")
            about["versions"] = control.ask("versions", entry.contender.versions)
            try:
                for condition, case, how in workload.cases(entry.contender):
                    if about["round"] < how.pop("rounds", options.rounds):
                        row = {**about, "condition": condition, "case": case}
                        measure_case(workload, entry, control, options, row, how, results)
            finally:
                control.ask("remove")
    except NotMeasured as reason:
        results.add(**about, condition=PLAIN, case="all", reason=str(reason))
    finally:
        entry.forget_performed()


def measure_case(workload, entry, control, options, about, how, results):
    """Run one repetition; if the contender cannot do it, that is a result too."""
    try:
        results.add(**about, **workload.measure(entry, control, options, **how))
    except NotMeasured as reason:
        results.add(**about, reason=str(reason))


def main():
    """Install, measure, and write the report."""
    options = arguments()
    # So that workers end and databases are removed, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    reasons = install([contender for contender in CONTENDERS if contender.name in options.contenders])
    began = time.strftime("%Y-%m-%d_%H%M%S")
    results = Results(CACHE / f"{began}.jsonl")
    try:
        for database in options.databases:
            run(database, options, reasons, results)
    finally:
        text = report(results.rows, machine(), options)
        (CACHE / f"{began}.md").write_text(text)
        print(f"\n{text}\n{results.path}\n{CACHE / began}.md")


if __name__ == "__main__":
    main()
