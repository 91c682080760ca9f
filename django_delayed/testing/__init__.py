"""For tests of code that enqueues jobs: assert what was enqueued, and perform it in virtual time.

The functions work in every test that may use the database; `JobsMixin` has them as methods of a TestCase, and
pytest as attributes of the fixture `delayed_jobs`.
"""

from .assertions import JobsMixin, assert_enqueued, assert_not_enqueued
from .faults import crash, deliver_twice
from .selection import enqueued
from .work_off import work_off

__all__ = [
    "JobsMixin",
    "assert_enqueued",
    "assert_not_enqueued",
    "crash",
    "deliver_twice",
    "enqueued",
    "work_off",
]
