"""The queue has jobs that do nothing, and a worker performs them.

The time begins with the first performed job, as the file of its body says, and ends when the last one is
settled, as the contender's own tables say over a connection of their own. A repetition that takes longer than
`seconds` is ended, and its rate counts the jobs that were settled by then.
"""

import time
from contextlib import ExitStack

from ..processes import Control, NotMeasured, Workers
from ..report import PLAIN

TITLE = "Drain: no-op jobs a second, one worker"
UNIT = "jobs/s"
SETTLES_WITHIN = 60.0


def cases(contender):
    """What is measured of a contender: under which condition, how it works, the arguments of `measure`."""
    for way in contender.workers:
        yield PLAIN, way, {"way": way}
        yield "beside a producer", way, {"way": way, "producer": True, "rounds": 1}


def measure(entry, control, options, *, way, workers=1, producer=False, before=None, endless=False):
    """Fill the queue and have it worked off; returns the figures of this repetition.

    `before` is called when the queue is filled. A queue is `endless` if it has more than these jobs.
    """
    control.ask("clear")
    entry.forget_performed()
    control.ask("fill", options.jobs)
    if before:
        before()
    with ExitStack() as stack:
        other = stack.enter_context(Control(entry)) if producer else None
        running = stack.enter_context(Workers(entry, way, workers))
        began = running.wait_until_begun()
        if other:
            other.tell("produce", str(entry.performed), options.jobs, options.seconds)
        in_time = running.wait_until(options.jobs, options.seconds)
        if other:
            return {**_rate(entry.performed_jobs(), began), "produced": other.hear()}
        if endless:
            return _rate(entry.performed_jobs(), began)
        return _settled(control, options.jobs, began, in_time)


def _settled(control, jobs, began, in_time):
    # A worker may settle later than it performs.
    deadline = time.monotonic() + (SETTLES_WITHIN if in_time else 0)
    while (unsettled := control.ask("unsettled")) and time.monotonic() < deadline:
        time.sleep(0.005)
    if unsettled and in_time:
        raise NotMeasured(f"{unsettled} performed jobs were not settled in {SETTLES_WITHIN:.0f} s")
    return _rate(jobs - unsettled, began)


def _rate(jobs, began):
    seconds = time.monotonic() - began
    return {"jobs": jobs, "seconds": seconds, "value": jobs / seconds}
