"""The address at which a supervisor says whether it is well."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any, NamedTuple

from django.core.management.base import CommandError, CommandParser

from ..supervisor.health import Health
from .arguments import Once, UsageError

LOCALHOST = "127.0.0.1"


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int


def address(text: str) -> Address:
    """An address from the command line: a port, or a host and a port. Raises ArgumentTypeError."""
    host, colon, port = text.rpartition(":")
    # An IPv6 address may be in brackets, as in a URL.
    host = host.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16) or bool(host) != bool(colon):
        raise ArgumentTypeError(
            f"{text!r} is not an address: give a port from 1 to 65535, with or without a host, as in 8080 or"
            " 0.0.0.0:8080."
        )
    return Address(host or LOCALHOST, int(port))


def add_health(parser: CommandParser) -> None:
    """Add the flag for the address."""
    parser.add_argument(
        "--health",
        type=address,
        action=Once,
        metavar="[HOST:]PORT",
        help=f"Answer GET /live and GET /ready there, for probes; the host is {LOCALHOST} without one.",
    )


def health(options: dict[str, Any]) -> Health | None:
    """What listens at the address, if one is given. Raises CommandError."""
    if (given := options["health"]) is None:
        return None
    try:
        at = given if isinstance(given, Address) else address(str(given))
        return Health(*at)
    except ArgumentTypeError as error:
        raise UsageError(f"--health: {error}") from None
    except OSError as error:
        why = error.strerror or error
        raise CommandError(
            f"--health: this process cannot listen at {at.host}, port {at.port}: {why}.", returncode=2
        ) from None
