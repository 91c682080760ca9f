"""How many workers a supervisor is to start, and which queues each of them serves."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ..worker.configuration import Configuration
from .arguments import names, positive, queues_of, require_order


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


def add_pools(parser: CommandParser) -> None:
    """Add the flags for the number of workers."""
    parser.add_argument(
        "--processes",
        type=positive,
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


def configurations(one: Configuration, options: dict[str, Any]) -> Sequence[Configuration]:
    """What each worker is told, where a worker on its own is told `one`. Raises CommandError."""
    given = options["pools"]
    if given is None:
        return [one] * _number(options["processes"])
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


def _number(value: Any) -> int:
    try:
        return 1 if value is None else positive(str(value))
    except ValueError:
        raise CommandError(f"--processes must be at least 1, not {value!r}.") from None


def _pool_of(value: Any) -> Pool:
    # From call_command.
    try:
        return pool(str(value))
    except ArgumentTypeError as error:
        raise CommandError(str(error)) from None
