"""Through Django's framework of tasks, where the result of each task is kept: docs/settings.md."""

from .django_delayed import *  # noqa: F403

TASKS = {"default": {"BACKEND": "django_delayed.tasks.DelayedBackend"}}
