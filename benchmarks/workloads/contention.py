"""As in drain, by one worker and by two."""

from ..report import PLAIN
from .drain import UNIT, measure  # noqa: F401

TITLE = "Contention: no-op jobs a second, one worker (plain) and two"


def cases(contender):
    """What is measured of a contender."""
    for way in contender.workers:
        yield PLAIN, way, {"way": way}
        yield "two workers", way, {"way": way, "workers": 2}
