"""Jobs of pgqueuer, over asyncpg.

As a program, `python -m benchmarks.families.pgq 100`, it is a worker with that batch size. The command of
pgqueuer does the same, and takes the batch size too.
"""

import asyncio
import sys
import time
from functools import cache

import asyncpg
import django
from django.db import connection
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from benchmarks import bodies

CHUNK = 1_000
loop = asyncio.new_event_loop()


async def connect():
    """A connection to the database of the settings."""
    of = connection.settings_dict
    return await asyncpg.connect(
        host=of["HOST"], port=of["PORT"], user=of["USER"], password=of["PASSWORD"], database=of["NAME"]
    )


@cache
def connected():
    """The connection of this process."""
    return loop.run_until_complete(connect())


@cache
def queries():
    """The object that enqueues over that connection."""
    return Queries(AsyncpgDriver(connected()))


def prepare():
    """Make its tables."""
    loop.run_until_complete(queries().install())


def close():
    """Close the connection, which keeps the database from being removed."""
    loop.run_until_complete(connected().close())


def clear():
    """Empty its tables."""
    loop.run_until_complete(connected().execute("TRUNCATE pgqueuer, pgqueuer_log"))


def enqueue(count):
    """Enqueue jobs one by one."""

    async def one_by_one():
        for _ in range(count):
            await queries().enqueue("nothing", None)

    queries()
    loop.run_until_complete(one_by_one())


def enqueue_many(count):
    """Enqueue jobs by lists of them."""

    async def by_lists():
        for first in range(0, count, CHUNK):
            length = min(CHUNK, count - first)
            await queries().enqueue(["nothing"] * length, [None] * length, [0] * length)

    queries()
    loop.run_until_complete(by_lists())


def enqueue_stamp():
    """Enqueue a job that says how long it has waited."""
    sent = str(time.monotonic()).encode()
    loop.run_until_complete(queries().enqueue("stamp", sent))


def unsettled():
    """How many jobs are not done; those that are have moved to its log."""
    return loop.run_until_complete(connected().fetchval("SELECT count(*) FROM pgqueuer"))


async def work(batch_size):
    """Perform jobs for ever."""
    worker = PgQueuer.from_asyncpg_connection(await connect())

    @worker.entrypoint("nothing")
    async def nothing(job):
        bodies.nothing()

    @worker.entrypoint("stamp")
    async def stamp(job):
        bodies.stamp(float(job.payload))

    await worker.run(batch_size=batch_size)


if __name__ == "__main__":
    django.setup()
    loop.run_until_complete(work(int(sys.argv[1])))
