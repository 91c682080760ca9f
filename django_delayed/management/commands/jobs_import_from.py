"""`manage.py jobs_import_from`: tasks that wait in another queue of the project become delayed jobs."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import CommandError, CommandParser
from django.db import Error as DatabaseError
from django.utils.module_loading import import_string

from ..base import QueueCommand, require_tables
from ..imports.importer import Import, Source
from ..question import add_noinput, confirm

# The app of each, and the class that reads its rows.
SOURCES = {
    "background_tasks": ("background_task", "background_tasks.BackgroundTasks"),
    "tasks_db": ("django_tasks_db", "tasks_db.DatabaseTasks"),
}
IDS_SHOWN = 10


class Command(QueueCommand):
    """Prints what can be moved and why the rest stays, asks, and moves.

    Exit code 0: moved, or nothing can be; 1: the answer was not yes, or the rows cannot be read.
    """

    help = (
        "Move the tasks that wait in django-background-tasks or django-tasks-db into this queue. Stop their"
        " workers first. Each task is moved once, in a transaction that also deletes it there."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Which queue, and whether to ask."""
        parser.add_argument("source", choices=SOURCES, help="The queue in which the tasks wait.")
        parser.add_argument("--dry-run", action="store_true", help="Only show them, and move none.")
        add_noinput(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Look, ask, move."""
        require_tables()
        try:
            found = Import(_source(options["source"]))
            found.look()
        except DatabaseError as error:
            raise CommandError(f"Their rows cannot be read: {error}") from error
        for name, count in found.names.most_common():
            self.stdout.write(f"{count:>9,} {name}")
        self._show_staying(found)
        if not found.ids:
            self.stdout.write("There is no task that can be moved.")
        if not found.ids or options["dry_run"]:
            return
        question = f"{_tasks(len(found.ids))} will be moved into the queue of django_delayed."
        confirm(question, "Nothing was moved", options)
        self._move(found)

    def _move(self, found: Import) -> None:
        try:
            moved = found.move()
        except DatabaseError as error:
            raise CommandError(
                f"A database error ended the move: {error}. What was moved before is moved for"
                " good, and the rest stays: run this again."
            ) from error
        self.stdout.write(self.style.SUCCESS(f"{_tasks(moved)} moved."))
        self._show_staying(found)
        if gone := len(found.ids) - moved - sum(map(len, found.staying.values())):
            self.stdout.write(f"{_tasks(gone)} skipped: gone meanwhile.")

    def _show_staying(self, found: Import) -> None:
        for (name, why), ids in found.staying.items():
            shown = ", ".join(map(str, ids[:IDS_SHOWN])) + (" …" if len(ids) > IDS_SHOWN else "")
            self.stdout.write(f"{len(ids):>9,} {name} stays: {why} ({shown})")


def _source(name: str) -> Source:
    app, path = SOURCES[name]
    if not apps.is_installed(app):
        raise CommandError(
            f"{app!r} is not in INSTALLED_APPS. Put it there until its tasks are moved, and do not start its"
            " workers."
        )
    # Imported only now: on Django 5.2, tasks need a package.
    source: Source = import_string(f"django_delayed.management.imports.{path}")()
    return source


def _tasks(count: int) -> str:
    return f"{count:,} task{'' if count == 1 else 's'}"
