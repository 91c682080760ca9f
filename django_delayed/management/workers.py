"""How many workers a supervisor is to start, which queues each of them serves, and how long it lives."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ..worker.configuration import Configuration
from ..worker.memory import MEGABYTE, memory_taken
from .arguments import Once, names, positive, queues_of, require_order


@dataclass(frozen=True)
class Pool:
    """So many worker processes for these queues."""

    queues: tuple[str, ...]
    processes: int


def pool(text: str) -> Pool:
    """A pool from the command line: queues as for --queues, a colon, and a number; without them, one process.

    Raises ArgumentTypeError.
    """
    queues, colon, number = text.rpartition(":")
    try:
        return Pool(names(queues), positive(number)) if colon else Pool(names(text), 1)
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} is no pool: it is queues and a number of processes, as in mail,index:2 or *:1."
        ) from None


def add_workers(parser: CommandParser) -> None:
    """Add the flags for the number of workers."""
    parser.add_argument(
        "--processes",
        type=positive,
        action=Once,
        metavar="N",
        help="Start this many workers, each a process; 1 by default.",
    )
    parser.add_argument(
        "--pool",
        dest="pools",
        type=pool,
        action="append",
        metavar="A,B:N",
        help="Start N workers for these queues; may be given several times, instead of --queues.",
    )


def add_limits(parser: CommandParser) -> None:
    """Add the flags for how long a worker lives."""
    parser.add_argument(
        "--max-jobs",
        type=positive,
        action=Once,
        metavar="N",
        help="Replace a worker that has performed this many jobs.",
    )
    parser.add_argument(
        "--max-memory",
        type=positive,
        action=Once,
        metavar="MB",
        help="Replace a worker that takes more memory than this, after the job in which it came to that.",
    )


def configurations(one: Configuration, options: dict[str, Any]) -> Sequence[Configuration]:
    """What each worker is told, where a worker on its own is told `one`. Raises CommandError."""
    one = replace(one, max_jobs=_number(options, "max_jobs", None), max_memory=_max_memory(options))
    # From call_command it may be one text, and none of them.
    given = [options["pools"]] if isinstance(options["pools"], str) else options["pools"]
    if not given:
        return [one] * (_number(options, "processes", 1) or 1)
    if options["processes"] is not None or queues_of(options):
        raise CommandError(
            "A pool names its queues and its number, as in --pool mail:2; leave --queues and --processes out."
        )
    pools = [each if isinstance(each, Pool) else _pool_of(each) for each in given]
    if one.filters.in_order:
        for each in pools:
            require_order(each.queues)
    return [
        replace(one, filters=replace(one.filters, queues=tuple(dict.fromkeys(each.queues))))
        for each in pools
        for _ in range(each.processes)
    ]


def _max_memory(options: dict[str, Any]) -> int | None:
    megabytes, taken = _number(options, "max_memory", None), memory_taken()
    if megabytes is None:
        return None
    if megabytes * MEGABYTE <= taken:
        raise CommandError(
            f"--max-memory {megabytes} is not more than the {taken // MEGABYTE} MB that this process takes"
            " before it performs anything: each worker would be replaced after its first job.",
            returncode=2,
        )
    return megabytes * MEGABYTE


def _number(options: dict[str, Any], name: str, default: int | None) -> int | None:
    # From call_command, it may be anything.
    if (value := options[name]) is None:
        return default
    try:
        return positive(str(value))
    except ValueError:
        flag = name.replace("_", "-")
        raise CommandError(f"--{flag} must be a number of at least 1, not {value!r}.", returncode=2) from None


def _pool_of(value: Any) -> Pool:
    # From call_command.
    try:
        return pool(str(value))
    except ArgumentTypeError as error:
        raise CommandError(str(error)) from None
