"""A task of Django's framework."""

from tests.imported import work
from tests.tasks.framework import task


@task
def note(*args, **kwargs):
    work.note(*args, **kwargs)
