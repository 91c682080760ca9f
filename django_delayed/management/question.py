"""The question that a command asks before it does what cannot be undone."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser


def add_noinput(parser: CommandParser) -> None:
    """Add the flag without which the question is asked."""
    parser.add_argument(
        "--noinput", "--no-input", action="store_false", dest="interactive", help="Do not ask."
    )


def confirm(question: str, otherwise: str, options: dict[str, Any]) -> None:
    """Ask whether to go on, unless the flag says not to. `otherwise` is what happens without a yes.

    Raises CommandError for any other answer, and when there is no terminal to ask at.
    """
    if not options["interactive"]:
        return
    try:
        answer = input(f"{question} Type 'yes' to continue: ")
    except EOFError:
        raise CommandError(
            f"{otherwise}: standard input is closed, so the question has no answer. See --noinput."
        ) from None
    if answer.strip() != "yes":
        raise CommandError(f"{otherwise}.")
