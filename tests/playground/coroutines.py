"""Jobs with an async perform that say what they do in a ledger."""

import asyncio
import os
import signal
import time

from asgiref.sync import sync_to_async
from django_delayed import Job
from tests.playground.jobs import POLL
from tests.playground.ledger import note
from tests.playground.models import Effect


class Coroutine(Job):
    """Makes queries for a while, in several tasks."""

    async def perform(self, ledger):
        effects = (Effect.objects.acreate(job=self.delayed_job.id) for _ in range(3))
        await asyncio.gather(*effects)
        note(ledger, "performed", self.delayed_job.id)


class Sleeping(Job):
    """Sleeps until it is cancelled; then it makes a query, and ends."""

    async def perform(self, ledger):
        note(ledger, "begin", self.delayed_job.id)
        try:
            await asyncio.sleep(600)
        finally:
            await Effect.objects.acreate(job=self.delayed_job.id)
            note(ledger, "cancelled", self.delayed_job.id)


class ShortSleeping(Sleeping):
    max_run_time = 0.5


class GoingOn(Job):
    """Goes on, whatever is raised in it."""

    max_run_time = 0.5

    async def perform(self, ledger):
        note(ledger, "begin", self.delayed_job.id)
        while True:
            try:
                await asyncio.sleep(600)
            except BaseException:
                continue


class Hanging(Job):
    """Waits for a sync function that it has called."""

    max_run_time = 0.5

    async def perform(self, ledger):
        note(ledger, "begin", self.delayed_job.id)
        await sync_to_async(time.sleep)(600)


class Blocking(Job):
    """Keeps its event loop from running."""

    max_run_time = 0.5

    async def perform(self, ledger):
        note(ledger, "begin", self.delayed_job.id)
        time.sleep(600)


class Looking(Job):
    """Goes on until it is told to stop, and then comes again."""

    async def perform(self, ledger):
        note(ledger, "begin", self.delayed_job.id)
        while not self.should_stop():
            await asyncio.sleep(POLL)
        note(ledger, "told", self.delayed_job.id)
        self.snooze(0)


class Killing(Job):
    """Kills its process."""

    async def perform(self, ledger):
        note(ledger, "begin", self.delayed_job.id)
        os.kill(os.getpid(), signal.SIGKILL)
