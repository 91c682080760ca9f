"""The question that a command asks before it does what cannot be undone."""

from __future__ import annotations

from django.core.management.base import CommandError


def confirmed(question: str, otherwise: str) -> bool:
    """Whether somebody at the terminal types yes. `otherwise` is what happens without it.

    Raises CommandError when there is no terminal to ask at.
    """
    try:
        return input(f"{question} Type 'yes' to continue: ").strip() == "yes"
    except EOFError:
        raise CommandError(
            f"{otherwise}: standard input is closed, so the question has no answer. See --noinput."
        ) from None
