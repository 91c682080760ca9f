"""Tasks of every kind."""

import asyncio
import sys
from dataclasses import replace
from datetime import timedelta

from django.utils import timezone, translation
from django_tasks import task as task_of_the_package
from tests.tasks.framework import task

from . import diary
from .models import Post


@task
def add(first, second=0):
    return first + second


@task(priority=10, queue_name="images")
def resize(photo, width=100):
    diary.write("resize", photo, width)


@task_of_the_package(priority=7)
def add_of_the_package(first, second):
    return first + second


@task
async def add_async(first, second=0):
    await asyncio.sleep(0)
    return first + second


@task
async def count_posts():
    return await Post.objects.acount()


@task(takes_context=True)
def look(context, *args, **kwargs):
    diary.write("look", context)
    return context.attempt


@task(takes_context=True)
async def look_async(context):
    diary.write("look", context)
    return context.task_result.id


@task
def surroundings():
    return [translation.get_language(), str(timezone.get_current_timezone())]


class Refused(Exception):
    """An error of the project's own."""


@task
def fail(message="it broke"):
    raise ValueError(message)


@task
def refuse():
    raise Refused("come back later")


@task
def leave(how):
    if how == "exit":
        sys.exit("gone")
    raise KeyboardInterrupt("gone")


@task
def return_something_odd():
    return lambda: True


@task
def fail_then(result):
    """Fails until the diary has three entries."""
    diary.write("attempt")
    if len(diary.entries) < 3:
        raise Refused(f"attempt {len(diary.entries)}")
    return result


@task
def _private():
    return "private"


def wait(attempts, error):
    diary.write("wait", attempts, type(error))
    return timedelta(seconds=90)


def with_policy(**policy):
    """Like @task(…) with a policy, which the decorator of Django 6.0 does not accept."""
    return lambda made: replace(made, **policy)


@with_policy(max_attempts=2, max_run_time=timedelta(minutes=1), wait_before_retry=wait)
@task
def impatient():
    raise ValueError("it broke")


@with_policy(wait_before_retry=15)
@task
def regular():
    raise ValueError("it broke")


@with_policy(discard_on=(Refused,))
@task
def discarding(error):
    raise {"refused": Refused, "value": ValueError}[error]("come back later")


@with_policy(max_run_time=0.2)
@task
async def sleep_async():
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        diary.write("cancelled")
        raise
