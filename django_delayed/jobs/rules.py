"""The rules of a Job for certain errors, and what they remember from one attempt to the next."""

from __future__ import annotations

import inspect
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from ..conf import count, duration

# Seconds: what ActiveJob adds to the fourth power of the number of failures.
LEAST_WAIT = 2

Wait = timedelta | float | Literal["polynomially_longer"] | Callable[[int, BaseException], timedelta | float]


class Retry:
    """A rule of `retry_on`: how often, and after which wait, the job is tried again after these errors.

    `attempts`: how many attempts may end with them before the job is given up; without it, max_attempts.
    `wait`: a timedelta, seconds, a function of the number of attempts that ended with them and the error,
    or "polynomially_longer" (2 + N⁴ seconds: 3, 18, 83 …); without it, the Job's `wait_before_retry`.
    `jitter`: the wait is made longer at random, by at most this part of it, from 0 to 1.

    Raises TypeError or ValueError for a rule that no worker could follow.
    """

    def __init__(
        self,
        *errors: type[BaseException],
        attempts: int | None = None,
        wait: Wait | None = None,
        jitter: float = 0.0,
    ) -> None:
        if not errors or not all(is_error(error) for error in errors):
            raise TypeError(f"Retry() takes exception classes, as in Retry(ConnectionError), not {errors!r}.")
        self.errors = errors
        self.attempts = None if attempts is None else count(attempts, "attempts of Retry()")
        self.wait = _check_wait(wait)
        self.jitter = _check_jitter(jitter)

    def __repr__(self) -> str:
        return f"Retry({', '.join(error.__qualname__ for error in self.errors)})"

    @property
    def name(self) -> str:
        """The key of the failures that it has counted."""
        return " ".join(f"{error.__module__}.{error.__qualname__}" for error in self.errors)

    def wait_after(
        self, failures: int, error: BaseException, default: Callable[[int, BaseException], Any]
    ) -> Any:
        """The wait after so many failures, unchecked. A rule without a wait calls `default`."""
        if callable(self.wait):
            wait: Any = self.wait(failures, error)
        elif self.wait == "polynomially_longer":
            # A timedelta ends at 10**9 days.
            wait = min(LEAST_WAIT + failures**4, 10**10)
        else:
            wait = default(failures, error) if self.wait is None else self.wait
        return wait * (1 + self.jitter * random.random()) if self.jitter else wait


@dataclass(frozen=True)
class History:
    """What the rules of a job remember: how many failures each counted, and when the first attempt began
    that raised an error.

    It is written down with each failed attempt, as JSON; the next attempt reads it.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    began: float | None = None  # as a timestamp
    is_known: bool = True

    @classmethod
    def from_json(cls, text: str | None) -> History:
        """The history in a text; an empty one if the text is not ours, an unknown one for None."""
        if text is None:
            return cls(is_known=False)
        try:
            counts, began = json.loads(text)
            # An UPDATE by hand may have written a number that is no time.
            began = None if began is None else timedelta(seconds=began).total_seconds()
            return cls({name: int(number) for name, number in counts.items()}, began)
        except (AttributeError, ArithmeticError, TypeError, ValueError):
            return cls()

    def to_json(self) -> str:
        """As ASCII JSON; "" for an unknown history."""
        return json.dumps([self.counts, self.began]) if self.is_known else ""

    def with_failure(self, rule: Retry | None, began: datetime | None) -> History:
        """The history after one more failure, of an attempt that began then."""
        added = {} if rule is None else {rule.name: self.counts.get(rule.name, 0) + 1}
        timestamp = None if began is None else began.timestamp()
        return replace(self, counts={**self.counts, **added}, began=self.began or timestamp)

    def failures(self, rule: Retry | None, attempts: int) -> int:
        """How many of so many attempts the rule has counted; with None, how many no rule has counted."""
        if not self.is_known:
            return 0
        return attempts - sum(self.counts.values()) if rule is None else self.counts.get(rule.name, 0)

    def age(self, began: datetime | None) -> timedelta:
        """The time from the beginning of the first failed attempt to the beginning of this one."""
        if self.began is None or began is None:
            return timedelta(0)
        return timedelta(seconds=began.timestamp() - self.began)


def default_wait(attempts: int) -> timedelta:
    """How long to wait after the failed attempt of this number: 5 + N⁴ seconds, as in delayed_job."""
    # A timedelta ends at 10**9 days.
    return timedelta(seconds=min(5 + attempts**4, 10**10))


def rule_for(error: BaseException, rules: Sequence[Retry]) -> Retry | None:
    """The first of these rules that names the error."""
    return next((rule for rule in rules if isinstance(error, rule.errors)), None)


def check_rules(where: str, rules: Any, discard_on: tuple[type[BaseException], ...]) -> None:
    """Raise TypeError for anything but a tuple of rules, and for a rule that would never be used."""
    if not isinstance(rules, tuple) or not all(isinstance(rule, Retry) for rule in rules):
        raise TypeError(
            f"{where}.retry_on must be a tuple like (Retry(ConnectionError, attempts=3),), not {rules!r}."
        )
    asked_before = discard_on
    for rule in rules:
        for error in rule.errors:
            if issubclass(error, asked_before):
                raise TypeError(
                    f"{where}.retry_on: {rule!r} is never asked about {error.__qualname__}, which discard_on"
                    " or an earlier rule names. Write the rule for the narrower error first."
                )
        asked_before += rule.errors


def is_error(value: Any) -> bool:
    """Whether it is a class of exceptions."""
    return isinstance(value, type) and issubclass(value, BaseException)


def _check_wait(wait: Any) -> Any:
    if isinstance(wait, str):
        if wait != "polynomially_longer":
            raise ValueError(
                f'wait of Retry() must be a duration, a function or "polynomially_longer", not {wait!r}.'
            )
    elif callable(wait):
        _check_function(wait)
    elif wait is not None:
        duration(wait, "wait of Retry()")
    return wait


def _check_function(wait: Callable[..., Any]) -> None:
    try:
        inspect.signature(wait).bind(1, None)
    except ValueError:
        # A function written in C may have no signature.
        return
    except TypeError as error:
        raise TypeError(f"The wait of Retry() is called as wait(attempts, error): {error}.") from None


def _check_jitter(jitter: Any) -> float:
    if isinstance(jitter, bool) or not isinstance(jitter, int | float):
        raise TypeError(f"jitter of Retry() must be a number from 0 to 1, not {jitter!r}.")
    if not 0 <= jitter <= 1:
        raise ValueError(f"jitter of Retry() must be from 0 to 1, not {jitter!r}.")
    return jitter
