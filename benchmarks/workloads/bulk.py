"""A process enqueues jobs by the call for many."""

from ..report import PLAIN
from .enqueue import UNIT, measure  # noqa: F401

TITLE = "Bulk: jobs a second, by the call for many"


def cases(contender):
    """What is measured of a contender."""
    yield PLAIN, contender.bulk, {"what": "enqueue_many", "share": 1}
