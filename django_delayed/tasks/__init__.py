"""Django's tasks, and those of the package django-tasks on Django 5.2, as delayed jobs."""

from .backend import DelayedBackend
from .task import DelayedTask

__all__ = ["DelayedBackend", "DelayedTask"]
