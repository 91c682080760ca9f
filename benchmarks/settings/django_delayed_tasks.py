"""Through the framework of Django, where a result is kept of each task: docs/settings.md."""

from .django_delayed import *  # noqa: F403

TASKS = {"default": {"BACKEND": "django_delayed.tasks.DelayedBackend"}}
