"""The admin: delayed jobs to find, read, retry and discard, also by cause; the overview; workers."""

from django.contrib import admin

from ..models import DelayedJob, FailureGroup, PausedQueue, Schedule, WorkerProcess
from .delayed_jobs import DelayedJobAdmin
from .failure_groups import FailureGroupAdmin
from .objects import DelayedJobsMixin
from .queues import PausedQueueAdmin
from .schedules import ScheduleAdmin
from .workers import WorkerProcessAdmin

__all__ = [
    "DelayedJobAdmin",
    "DelayedJobsMixin",
    "FailureGroupAdmin",
    "PausedQueueAdmin",
    "ScheduleAdmin",
    "WorkerProcessAdmin",
]

admin.site.register(DelayedJob, DelayedJobAdmin)
admin.site.register(FailureGroup, FailureGroupAdmin)
admin.site.register(PausedQueue, PausedQueueAdmin)
admin.site.register(Schedule, ScheduleAdmin)
admin.site.register(WorkerProcess, WorkerProcessAdmin)
