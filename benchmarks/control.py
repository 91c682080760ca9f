"""The process of one contender that does what the benchmark asks for: a line of JSON each, and one back.

It has the contender's settings and runs in the environment in which the contender is installed.
"""

import json
import os
import random
import sys
import time
import traceback
from importlib import import_module, metadata

import django
from django.core.management import call_command
from django.db import connection, transaction

BEGIN = {
    "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "mysql": "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    "sqlite": "BEGIN",
}


class Commands:
    """What may be asked; `family` is the module that knows how to use the contender."""

    def __init__(self, family):
        self.family = family

    def prepare(self):
        """Make the database with its tables."""
        connection.creation.create_test_db(verbosity=0, autoclobber=True)
        if connection.vendor == "postgresql":
            self._sql(f'ALTER DATABASE "{connection.settings_dict["NAME"]}" SET synchronous_commit = on')
        self._own("prepare")

    def remove(self):
        """Remove the database."""
        self._own("close")
        connection.creation.destroy_test_db(connection.settings_dict["NAME"], verbosity=0)

    def clear(self):
        """Remove all jobs."""
        call_command("flush", verbosity=0, interactive=False)
        self._own("clear")

    def fill(self, count):
        """Enqueue so many jobs; PostgreSQL then writes to the disk what it has in memory only."""
        try:
            self.family.enqueue_many(count)
        except NotImplementedError:
            with transaction.atomic():
                self.family.enqueue(count)
        if connection.vendor == "postgresql":
            self._sql("CHECKPOINT")

    def produce(self, path, size, seconds):
        """Enqueue one by one, until the file of performed jobs has that size; return how many."""
        produced, deadline = 0, time.monotonic() + seconds
        while os.path.getsize(path) < size and time.monotonic() < deadline:
            self.family.enqueue(1)
            produced += 1
        return produced

    def stamps(self, count):
        """Enqueue jobs that say how long they have waited, about one each tenth of a second."""
        for _ in range(count):
            self.family.enqueue_stamp()
            time.sleep(random.uniform(0.08, 0.12))

    def hold_snapshot(self):
        """Begin a transaction that sees the database as it is now until this process ends."""
        self._sql(BEGIN[connection.vendor])
        self._sql("SELECT count(*) FROM django_migrations")

    def backlog(self, kind, count):
        """Write rows of this kind, beside the jobs that are measured."""
        self.family.backlog(kind, count)

    def unsettled(self):
        """How many jobs are enqueued or claimed."""
        return self.family.unsettled()

    def versions(self, distributions):
        """The versions of Django, these distributions and the database."""
        names = ["Django", *distributions]
        return {name: metadata.version(name) for name in names} | {
            "database": f"{connection.display_name} {'.'.join(map(str, connection.get_database_version()))}"
        }

    def time(self, what, count):
        """The seconds that `what`, a function of the family, takes for so many jobs."""
        began = time.perf_counter()
        getattr(self.family, what)(count)
        return time.perf_counter() - began

    def _own(self, name):
        if hasattr(self.family, name):
            getattr(self.family, name)()

    def _sql(self, statement):
        with connection.cursor() as cursor:
            cursor.execute(statement)


def main():
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    # What a contender prints must not come between the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    django.setup()
    commands = Commands(import_module(f"benchmarks.families.{sys.argv[1]}"))
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"answer": getattr(commands, name)(*arguments)}
        except NotImplementedError as error:
            answer = {"cannot": str(error)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
