"""The admin: delayed jobs to find, read, retry and discard; workers to look at."""

from django.contrib import admin

from ..models import DelayedJob, WorkerProcess
from .delayed_jobs import DelayedJobAdmin
from .workers import WorkerProcessAdmin

__all__ = ["DelayedJobAdmin", "WorkerProcessAdmin"]

admin.site.register(DelayedJob, DelayedJobAdmin)
admin.site.register(WorkerProcess, WorkerProcessAdmin)
