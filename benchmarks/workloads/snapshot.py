"""As in drain, beside another transaction that keeps the rows of performed jobs from being removed."""

from ..processes import Control
from ..report import PLAIN
from . import drain

TITLE = "Held snapshot: no-op jobs a second, beside a transaction that holds its snapshot"
UNIT = drain.UNIT


def cases(contender):
    """What is measured of a contender."""
    for way in contender.workers:
        yield PLAIN, way, {"way": way}
        yield "a snapshot held", way, {"way": way, "held": True}


def measure(entry, control, options, *, way, held=False):
    """Drain, with the transaction open from before the first job until after the last."""
    if not held:
        return drain.measure(entry, control, options, way=way)
    with Control(entry) as other:
        return drain.measure(entry, control, options, way=way, before=lambda: other.ask("hold_snapshot"))
