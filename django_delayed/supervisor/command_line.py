"""The command line with which a supervisor starts its workers."""

from __future__ import annotations

import sys

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import get_commands
from django.utils.autoreload import get_child_arguments

COMMAND = "jobs_work"
# For a program that cannot be started again. Its worker imports from the same folders.
_WITHOUT_PROGRAM = (
    f"import sys; sys.path[:] = sys.argv[1:]; sys.argv[1:] = ['{COMMAND}'];"
    " from django.core.management import execute_from_command_line; execute_from_command_line(sys.argv)"
)


def worker_command() -> list[str]:
    """The command line of a worker: the program of this process, so that the worker does all that it does.

    Raises ImproperlyConfigured when another process would not find the settings.
    """
    given = sys.argv[1:]
    if not given or given[0] not in get_commands() or not (program := _program()):
        return _without_program()
    # All arguments if they name the command: another one may come before it, to choose a tenant for example.
    return [*program, *(given if COMMAND in given else [COMMAND])]


def _program() -> list[str]:
    """How this process was started, without its arguments; empty when that is not known."""
    try:
        command = [str(part) for part in get_child_arguments()]
    except RuntimeError:
        return []
    return command[: len(command) - len(sys.argv[1:])]


def _without_program() -> list[str]:
    if django_settings.SETTINGS_MODULE is None:
        raise ImproperlyConfigured(
            "The settings of this process come from settings.configure(), and its worker would not find them."
            " Write them into a module that DJANGO_SETTINGS_MODULE names, and start"
            f" {COMMAND} with manage.py."
        )
    warnings = [f"-W{option}" for option in sys.warnoptions]
    return [sys.executable, *warnings, "-c", _WITHOUT_PROGRAM, *sys.path]
