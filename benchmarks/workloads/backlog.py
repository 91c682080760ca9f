"""As in drain, beside very many rows that the worker may not or need not take."""

from ..processes import NotMeasured
from ..report import PLAIN
from . import drain

TITLE = "Backlog: no-op jobs a second, beside very many rows"
UNIT = drain.UNIT
FAMILIES = ("delayed", "bare")
# The kinds of rows, by their names in the families. The ready ones are behind the jobs that are drained.
CONDITIONS = {
    "ready, future and not served": ["ready", "future", "not served"],
    "finished and kept": ["finished"],
}


def cases(contender):
    """What is measured of a contender; how to fill the tables of other families is not known here."""
    if contender.family not in FAMILIES:
        yield PLAIN, "all", {"way": None}
        return
    for way in contender.workers:
        yield PLAIN, way, {"way": way}
        for condition, kinds in CONDITIONS.items():
            yield condition, way, {"way": way, "kinds": kinds}


def measure(entry, control, options, *, way, kinds=()):
    """Drain, beside so many rows of each kind."""
    if way is None:
        raise NotMeasured("no such rows are written for it")
    # For django_delayed; bare SQL knows only this queue.
    entry.environment["QUEUES"] = "default"
    try:
        return drain.measure(
            entry,
            control,
            options,
            way=way,
            endless="ready" in kinds,
            before=lambda: [control.ask("backlog", kind, options.rows) for kind in kinds],
        )
    finally:
        del entry.environment["QUEUES"]
