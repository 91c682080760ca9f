"""How many workers a supervisor is to start, which queues each of them serves, and how long it lives."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.core.management.base import CommandParser

from ..worker.configuration import Configuration
from ..worker.memory import MEGABYTE, memory_taken
from .arguments import Once, UsageError, names, positive, queues_of, require_order

LONGEST_NAME = 255
# Of one `jobs_work`. A number with some zeros too many would take the memory of all other programs.
MOST_AT_ONCE = 1000


@dataclass(frozen=True)
class Pool:
    """A number of worker processes for some queues."""

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
            f"{text!r} is not a pool: give queues and a number of processes, as in mail,index:2 or *:1."
        ) from None


def add_workers(parser: CommandParser) -> None:
    """Add the flags for the workers: how many, for which queues, and how each performs its jobs."""
    _add_number(parser, "--processes", "N", "Start this many workers, each a process; 1 by default.")
    parser.add_argument(
        "--pool",
        dest="pools",
        type=pool,
        action="append",
        metavar="A,B:N",
        help="Start N workers for these queues; may be given several times, instead of --queues.",
    )
    in_threads = "Let each worker perform this many jobs at the same time, in threads; 1 by default."
    _add_number(parser, "--threads", "N", in_threads)
    parser.add_argument(
        "--isolate",
        action="store_true",
        help="Perform each job in a process of its own, forked by its worker. Jobs are claimed one by one.",
    )


def add_limits(parser: CommandParser) -> None:
    """Add the flags for how long a worker lives."""
    _add_number(parser, "--max-jobs", "N", "Replace a worker that has performed this many jobs.")
    too_large = "Replace a worker that takes more memory than this, after the job in which it came to that."
    _add_number(parser, "--max-memory", "MB", too_large)


def add_name(parser: CommandParser) -> None:
    """Add the flag for the name of the workers."""
    parser.add_argument(
        "--name",
        type=name,
        action=Once,
        metavar="NAME",
        help="A name for people, shown in the admin and when the workers start.",
    )


def name(text: str) -> str:
    """A name from the command line: one line of text, with or without spaces. Raises ArgumentTypeError."""
    if not text.strip() or not text.isprintable() or len(text) > LONGEST_NAME:
        raise ArgumentTypeError(
            f"{text!r} is not a valid name: give one line of printable text, of at most {LONGEST_NAME}"
            " characters."
        )
    return text.strip()


def configurations(one: Configuration, options: dict[str, Any]) -> Sequence[Configuration]:
    """The configuration of each worker; `one` is that of a worker on its own. Raises CommandError."""
    one = _limited(one, options)
    # With call_command, this may also be a single text, or pools that are not parsed yet.
    given = [options["pools"]] if isinstance(options["pools"], str) else options["pools"]
    if not given:
        return [one] * _within_limit(_number(options, "processes") or 1, one.threads)
    if options["processes"] is not None or queues_of(options):
        raise UsageError(
            "A pool names its queues and its number, as in --pool mail:2; leave --queues and --processes out."
        )
    pools = [each if isinstance(each, Pool) else _pool_of(each) for each in given]
    _within_limit(sum(each.processes for each in pools), one.threads)
    if one.filters.in_order:
        for each in pools:
            require_order(each.queues)
    return [
        replace(one, filters=replace(one.filters, queues=tuple(dict.fromkeys(each.queues))))
        for each in pools
        for _ in range(each.processes)
    ]


def _within_limit(processes: int, threads: int) -> int:
    """The number of processes. Raises CommandError if they would perform too many jobs at the same time."""
    if processes * threads > MOST_AT_ONCE:
        raise UsageError(
            f"jobs_work performs at most {MOST_AT_ONCE:,} jobs at the same time (processes times threads),"
            f" not {processes * threads:,}."
        )
    return processes


def _limited(one: Configuration, options: dict[str, Any]) -> Configuration:
    """The worker with the flags that are not about its queues. Raises CommandError."""
    one = replace(
        one,
        name=_name(options),
        max_jobs=_number(options, "max_jobs"),
        max_memory=_max_memory(options),
        threads=_threads(options),
    )
    return _isolating(one) if options["isolate"] else one


def _isolating(one: Configuration) -> Configuration:
    """The same worker, with a process for each job. Raises CommandError."""
    if one.threads > 1:
        raise UsageError(
            "--isolate forks a process for each job, and a worker that has threads cannot; leave one of"
            " --isolate and --threads out, or take --processes."
        )
    return replace(one, isolate=True, read_ahead=1)


def _threads(options: dict[str, Any]) -> int:
    threads = _number(options, "threads") or 1
    if threads > 1 and options["in_order"]:
        raise UsageError("--in-order serves one job after the other; leave --threads out, or --in-order.")
    return threads


def _name(options: dict[str, Any]) -> str:
    try:
        return "" if options["name"] is None else name(str(options["name"]))
    except ArgumentTypeError as error:
        raise UsageError(f"--name: {error}") from None


def _max_memory(options: dict[str, Any]) -> int | None:
    megabytes, taken = _number(options, "max_memory"), memory_taken()
    if megabytes is None:
        return None
    if megabytes * MEGABYTE <= taken:
        raise UsageError(
            f"--max-memory {megabytes} is not more than the {taken // MEGABYTE} MB that this process takes"
            " before it performs anything: each worker would be replaced after its first job."
        )
    return megabytes * MEGABYTE


def _add_number(parser: CommandParser, flag: str, metavar: str, help: str) -> None:
    parser.add_argument(flag, type=positive, action=Once, metavar=metavar, help=help)


def _number(options: dict[str, Any], name: str) -> int | None:
    # With call_command, the value may be anything.
    if (value := options[name]) is None:
        return None
    try:
        return positive(str(value))
    except ValueError:
        flag = name.replace("_", "-")
        raise UsageError(f"--{flag} must be a number of at least 1, not {value!r}.") from None


def _pool_of(value: Any) -> Pool:
    # With call_command, the pool is not parsed yet.
    try:
        return pool(str(value))
    except ArgumentTypeError as error:
        raise UsageError(str(error)) from None
