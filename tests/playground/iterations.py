"""Jobs that go through the rows of `Item`, and say in a ledger what they do with which."""

import os
import select
import signal

from django_delayed import Job
from tests.playground.ledger import EFFECT, START, enter, note
from tests.playground.models import Effect, Item


class Through(Job):
    """Takes its time for each item; the ledger has its effect."""

    def perform(self, ledger, seconds):
        for item in self.iterate(Item.objects.all()):
            enter(ledger, START, item.pk)
            # Not time.sleep(): libfaketime breaks it.
            select.select([], [], [], seconds)
            enter(ledger, EFFECT, item.pk)


class ThroughChunks(Job):
    """Takes its time for each chunk; the effect of each item is a row, committed with the chunk."""

    def perform(self, ledger, seconds, size):
        for chunk in self.iterate(Item.objects.all(), chunk=size):
            # Not of the item: the ledger of `Through` counts these.
            enter(ledger, START, 0)
            # Half of it without a transaction: SQLite has one writer at a time.
            select.select([], [], [], seconds / 2)
            with chunk:
                Effect.objects.bulk_create(Effect(job=item.pk) for item in chunk)
                select.select([], [], [], seconds / 2)
            enter(ledger, "committed", 0)


class KillerInTheMiddle(Job):
    """Takes its process with it at this item, each time, after a second of others."""

    def perform(self, ledger, number):
        note(ledger, "begin", self.delayed_job.attempts)
        for item in self.iterate(Item.objects.all()):
            if item.pk == number:
                os.kill(os.getpid(), signal.SIGKILL)
            select.select([], [], [], 0.06)


class Steps(Job):
    """Two steps; in the second one it goes on until it is stopped, or killed."""

    def perform(self, ledger):
        with self.step("first") as step:
            if not step.is_done:
                note(ledger, "first")
        with self.step("second") as step:
            for number in range(step.cursor or 0, 200):
                note(ledger, "second", number)
                step.advance(number + 1)
                select.select([], [], [], 0.02)
