"""A worker is idle, and jobs are enqueued about a tenth of a second apart.

A job tells how long it has waited: from before the call that enqueued it until its body began.
"""

import statistics
import time

from ..processes import NotMeasured, Workers
from ..report import PLAIN

TITLE = "Latency: milliseconds from the call that enqueues to the job, idle worker; less is better"
UNIT = "ms, median and p99"
JOBS = 200
WARM_UP = 5
ENDS_WITHIN = 60.0


def cases(contender):
    """What is measured of a contender."""
    for way in contender.workers:
        yield PLAIN, way, {"way": way}


def measure(entry, control, options, *, way):
    """The median of the times that jobs waited, and their 99th percentile."""
    control.ask("clear")
    entry.forget_performed()
    with Workers(entry, way) as workers:
        control.ask("stamps", 1)
        workers.wait_until_begun()
        control.ask("stamps", WARM_UP + JOBS)
        waited = _stamps(entry)
    cuts = statistics.quantiles(waited, n=100)
    return {"jobs": JOBS, "value": cuts[49], "p99": cuts[98], "waited": waited}


def _stamps(entry):
    deadline = time.monotonic() + ENDS_WITHIN
    while len(lines := entry.performed.read_text().splitlines()) < 1 + WARM_UP + JOBS:
        if time.monotonic() > deadline:
            raise NotMeasured(f"{len(lines)} of {1 + WARM_UP + JOBS} jobs were performed in time")
        time.sleep(0.1)
    return [float(line) * 1000 for line in lines[1 + WARM_UP :]]
