"""The rows of a run as a page in Markdown."""

import statistics
from importlib import import_module

OURS = "django_delayed"
# The condition that all others are compared with.
PLAIN = "plain"


def report(rows, machine, options):
    """The page: a table for each workload, database and condition."""
    parts = [
        "# Benchmarks\n",
        f"{machine}. {options.jobs:,} jobs, {options.rounds} rounds.\n",
        "Each figure is the median (lowest to highest). The ratios are medians of those of single rounds:"
        f" `{OURS}`, as it is listed first, to the row; and the row to itself under the plain condition.",
    ]
    for workload in values_of(rows, "workload"):
        module = import_module(f"benchmarks.workloads.{workload}")
        parts.append(f"\n## {module.TITLE}")
        of_workload = select(rows, workload=workload)
        for database in values_of(of_workload, "database"):
            here = select(of_workload, database=database)
            for condition in values_of(here, "condition"):
                parts += table(f"{database}, {condition}", here, condition, module.UNIT)
    return "\n".join([*parts, "\n## Versions\n", *versions(rows)]) + "\n"


def table(title, rows, condition, unit):
    """The lines of one table."""
    yield f"\n### {title}\n"
    yield f"| queue | how | {unit} | {OURS} to it | to plain |"
    yield "|---|---|---:|---:|---:|"
    measured = select(rows, condition=condition)
    ours = next((row["case"] for row in measured if row["contender"] == OURS), None)
    base = rounds_of(measured, contender=OURS, case=ours)
    for contender, case in dict.fromkeys((row["contender"], row["case"]) for row in measured):
        about = {"contender": contender, "case": case}
        if values := rounds_of(measured, **about):
            plain = {} if condition == PLAIN else rounds_of(rows, condition=PLAIN, **about)
            p99 = [row["p99"] for row in select(measured, **about) if "p99" in row]
            shown = spread(values.values()) + (f"; {statistics.median(p99):,.1f}" if p99 else "")
            figures = shown, ratio(base, values), ratio(values, plain)
        else:
            reason = select(measured, **about)[0]["reason"]
            figures = f"not measured: {reason.replace('|', '/')}", "", ""
        yield f"| {contender} | {case} | {' | '.join(figures)} |"


def values_of(rows, key):
    """The values of the column, each once, in their order."""
    return list(dict.fromkeys(row[key] for row in rows))


def select(rows, **about):
    """The rows that have these values."""
    return [row for row in rows if about.items() <= {key: row.get(key) for key in about}.items()]


def rounds_of(rows, **about):
    """The value measured in each round."""
    return {row["round"]: row["value"] for row in select(rows, **about) if "value" in row}


def spread(values):
    """The median, the lowest and the highest."""
    return f"{statistics.median(values):,.1f} ({min(values):,.1f} to {max(values):,.1f})"


def ratio(above, below):
    """The median of the ratios of the rounds that both have."""
    ratios = [above[round] / value for round, value in below.items() if round in above]
    return f"{statistics.median(ratios):.2f}" if ratios else ""


def versions(rows):
    """The lines of a list of all versions."""
    found = {}
    for row in rows:
        for name, version in row.get("versions", {}).items():
            found.setdefault(row["database"] if name == "database" else name, version)
    return [f"- {name}: {version}" for name, version in found.items()]
