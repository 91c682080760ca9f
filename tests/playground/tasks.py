"""Tasks that say what they do in a ledger."""

import asyncio
import os
import signal
import sys
import time
from dataclasses import replace

from tests.tasks.framework import task

from .jobs import note


def tried_once(made):
    """Like @task(max_attempts=1), which Django 6.0 does not take."""
    return replace(made, max_attempts=1)


@task
def add(ledger, first, second):
    note(ledger, "add")
    return first + second


@task(takes_context=True)
def fail_once(context, ledger):
    note(ledger, "attempt", context.attempt)
    if context.attempt == 1:
        raise ConnectionError("no route")
    return context.task_result.worker_ids


@tried_once
@task
def leave(ledger):
    note(ledger, "leave")
    sys.exit("gone")


@tried_once
@task
def die(ledger):
    note(ledger, "die")
    os.kill(os.getpid(), signal.SIGKILL)


@task
async def sleep_async(ledger):
    note(ledger, "sleep")
    try:
        await asyncio.sleep(600)
    finally:
        note(ledger, "cancelled")


@task
def sleep(ledger):
    note(ledger, "sleep")
    time.sleep(600)
