"""Unique: what makes jobs equal, for how long, and what becomes of the second one."""

from __future__ import annotations

import inspect
from dataclasses import KW_ONLY, dataclass
from typing import Any

from ...serialization.arguments import encode_as

START, FINISH = UNTIL = ("start", "finish")
SKIP, REPLACE = ON_DUPLICATE = ("skip", "replace")


@dataclass(frozen=True)
class Unique:
    """Of jobs with the same key, one waits: `unique = Unique()` in a Job, or the option `unique`.

    Without `key`, jobs are equal if they do the same with the same arguments. A key is a value of any type
    that an argument may have, or a function that returns one, called like a function of an option. Jobs that
    do something else never have the same key. The job holds it `until` the "start" of its first attempt, or
    the "finish" of its last one. `on_duplicate`: "skip" the new job, or let it "replace" the one that waits.
    Raises TypeError, ValueError or SerializationError.
    """

    key: Any = None
    _: KW_ONLY
    until: str = START
    on_duplicate: str = SKIP

    def __post_init__(self) -> None:
        for name, known in (("until", UNTIL), ("on_duplicate", ON_DUPLICATE)):
            if (value := getattr(self, name)) not in known:
                choice = " or ".join(map(repr, known))
                raise ValueError(f"Unique: {name} must be {choice}, not {value!r:.200}.")
        if isinstance(self.key, type) or inspect.iscoroutinefunction(self.key):
            raise TypeError(f"Unique: key must be a value or a plain function, not {self.key!r}.")
        if not callable(self.key):
            encode_as("Unique: key", self.key)


def unique_option(value: Any, name: str) -> Unique | bool:
    """What an option or an attribute says: True means `Unique()`, and False that the job is not unique."""
    if value is True:
        return Unique()
    if value is not False and not isinstance(value, Unique):
        raise TypeError(f"{name} must be Unique(…), True or False, not {value!r:.200}.")
    return value
