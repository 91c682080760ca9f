"""Jobs that go through the rows of `Item`, and write in a ledger what they do with each."""

import os
import select
import signal

from django_delayed import Job
from tests.playground.ledger import EFFECT, START, enter, note
from tests.playground.models import Effect, Item


class Through(Job):
    """Takes so many seconds for each item, and writes its effect into the ledger."""

    def perform(self, ledger, seconds):
        for item in self.iterate(Item.objects.all()):
            enter(ledger, START, item.pk)
            # This is not time.sleep(), which libfaketime breaks.
            select.select([], [], [], seconds)
            enter(ledger, EFFECT, item.pk)


class ThroughChunks(Job):
    """Takes so many seconds for each chunk; the effect of an item is a row, committed with the chunk."""

    def perform(self, ledger, seconds, size):
        for chunk in self.iterate(Item.objects.all(), chunk=size):
            # The entry names no item: `Through` has an entry for each, and these are counted.
            enter(ledger, START, 0)
            # Half of the time is outside of a transaction, because SQLite has one writer at a time.
            select.select([], [], [], seconds / 2)
            with chunk:
                Effect.objects.bulk_create(Effect(job=item.pk) for item in chunk)
                select.select([], [], [], seconds / 2)
            enter(ledger, "committed", 0)


class KillerInTheMiddle(Job):
    """Kills its process at this item in each attempt, after about a second of other items."""

    def perform(self, ledger, number):
        note(ledger, "begin", self.delayed_job.attempts)
        for item in self.iterate(Item.objects.all()):
            if item.pk == number:
                os.kill(os.getpid(), signal.SIGKILL)
            select.select([], [], [], 0.06)


class Steps(Job):
    """Has two steps; in the second one it goes on until it is stopped or killed."""

    def perform(self, ledger):
        with self.step("first") as step:
            if not step.is_done:
                note(ledger, "first")
        with self.step("second") as step:
            for number in range(step.cursor or 0, 200):
                note(ledger, "second", number)
                step.advance(number + 1)
                select.select([], [], [], 0.02)
