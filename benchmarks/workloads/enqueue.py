"""A process enqueues jobs one by one, each committed, and no worker performs them."""

from ..report import PLAIN

TITLE = "Enqueue: jobs a second, one by one"
UNIT = "jobs/s"
# A part of the jobs is enough: most contenders need a statement and a commit for each.
SHARE = 10


def cases(contender):
    """What is measured of a contender."""
    yield PLAIN, "each committed", {"what": "enqueue", "share": SHARE}


def measure(entry, control, options, *, what, share):
    """Enqueue into an empty queue, after a hundred jobs that load what is needed."""
    control.ask("clear")
    control.ask("time", what, 100)
    jobs = max(options.jobs // share, 1)
    seconds = control.ask("time", what, jobs)
    return {"jobs": jobs, "seconds": seconds, "value": jobs / seconds}
