"""The tables: delayed jobs, attempts, causes; queues; workers, requests, numbers; those of features."""

from ..features.iteration.models import JobCursor, all_cursors
from ..features.progress.models import Progress, all_progress
from ..features.recurring.models import Schedule, ScheduleRun
from ..features.unique.models import UniqueKey
from .delayed_jobs import DelayedJob, all_rows
from .failed_attempts import ATTEMPTS_KEPT, FailedAttempt, FailedAttemptQuerySet, all_attempts, hostname
from .failure_groups import NOTE_LIMIT, FailureGroup, all_groups
from .job_stats import JobStat, all_stats
from .paused_queues import PausedQueue, all_paused
from .requests import IS_ASKED, ask_to_end, ask_workers
from .workers import Verb, WorkerProcess, WorkerProcessQuerySet, WorkerRequest

__all__ = [
    "ATTEMPTS_KEPT",
    "IS_ASKED",
    "NOTE_LIMIT",
    "DelayedJob",
    "FailedAttempt",
    "FailedAttemptQuerySet",
    "FailureGroup",
    "JobCursor",
    "JobStat",
    "PausedQueue",
    "Progress",
    "Schedule",
    "ScheduleRun",
    "UniqueKey",
    "Verb",
    "WorkerProcess",
    "WorkerProcessQuerySet",
    "WorkerRequest",
    "all_attempts",
    "all_cursors",
    "all_groups",
    "all_paused",
    "all_progress",
    "all_rows",
    "all_stats",
    "ask_to_end",
    "ask_workers",
    "hostname",
]
