"""Our backend in place of Django's dummy and immediate ones, for their tests; imported before these."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from django import test
from django.core.management import call_command
from django.db import connections
from django.tasks.backends import dummy, immediate
from django_delayed.models import DelayedJob
from django_delayed.tasks import DelayedBackend


def read(query, *args):
    if not asyncio._get_running_loop():
        return query(*args)
    with ThreadPoolExecutor(1) as thread:  # async code cannot make queries itself
        return [thread.submit(query, *args), thread.submit(connections.close_all)][0].result()


class Dummy(DelayedBackend):
    results = property(lambda self: [self.get_result(row.pk) for row in read(list, DelayedJob.objects.all())])
    clear = staticmethod(lambda: DelayedJob.objects.all().delete())
    get_result = lambda self, result_id: read(DelayedBackend.get_result, self, result_id)  # noqa: E731


class Immediate(Dummy):
    def enqueue(self, task, args, kwargs):
        result = super().enqueue(task, args, kwargs)
        call_command("jobs_workoff", quiet=True)
        result.refresh()
        return result


class Committing(test.TransactionTestCase):
    __init_subclass__ = classmethod(lambda cls: setattr(cls, "available_apps", None))  # keep our app


dummy.DummyBackend, immediate.ImmediateBackend = Dummy, Immediate
test.SimpleTestCase = test.TransactionTestCase = Committing
