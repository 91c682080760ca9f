"""Rows of django_delayed, written by Django's ORM: what `create()` costs for a row as wide."""

from functools import cache

from django_delayed.models import DelayedJob

from benchmarks.families.delayed import Nothing

CHUNK = 1_000


@cache
def values():
    """The values of the row of a job."""
    row = Nothing.perform_later()
    fields = [field for field in DelayedJob._meta.concrete_fields if not field.primary_key]
    found = {field.attname: getattr(row, field.attname) for field in fields}
    row.delete()
    return found


def enqueue(count):
    """Create rows one by one."""
    for _ in range(count):
        DelayedJob.objects.create(**values())


def enqueue_many(count):
    """Create many rows with each statement."""
    for first in range(0, count, CHUNK):
        DelayedJob.objects.bulk_create(DelayedJob(**values()) for _ in range(min(CHUNK, count - first)))
