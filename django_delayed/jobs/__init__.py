"""A Job: what to do and with which arguments; its hooks, its rules, the check of its definition."""

from .configured import ConfiguredJob
from .dequeueing import dequeue
from .job import Job
from .rules import Retry
from .view import DelayedJobView

__all__ = ["ConfiguredJob", "DelayedJobView", "Job", "Retry", "dequeue"]
