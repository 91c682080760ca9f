"""A Job: what to do and with which arguments; its hooks, the check of its definition, signatures."""

from .configured import ConfiguredJob
from .job import Job
from .rules import Retry
from .view import DelayedJobView

__all__ = ["ConfiguredJob", "DelayedJobView", "Job", "Retry"]
