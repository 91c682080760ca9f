"""The tables of workers and of what operators ask of them."""

from __future__ import annotations

import enum
import json
from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import BooleanField, Case, Value, When
from django.utils.translation import gettext_lazy as _

from ..databases import DatabaseNow
from ..serialization.errors import printable


class WorkerProcessQuerySet(models.QuerySet["WorkerProcess"]):
    """Workers, by the age of their heartbeat."""

    def stale(self, lease: timedelta) -> WorkerProcessQuerySet:
        """Workers that count as dead: their last heartbeat is `lease` old."""
        return self.filter(heartbeat_at__lt=DatabaseNow(plus=-lease))

    def with_alive(self, lease: timedelta) -> WorkerProcessQuerySet:
        """Workers with an attribute `alive`, which is False for those that are stale."""
        stale = When(heartbeat_at__lt=DatabaseNow(plus=-lease), then=Value(False))
        return self.annotate(alive=Case(stale, default=Value(True), output_field=BooleanField()))


class WorkerProcess(models.Model):
    """A process that claims and performs. A worker without this row counts as dead."""

    id = models.CharField(primary_key=True, max_length=32, help_text=_("Random, new at each start."))
    name = models.CharField(
        _("name"), max_length=255, blank=True, default="", help_text=_("As given by --name.")
    )
    hostname = models.CharField(_("hostname"), max_length=255)
    pid = models.PositiveIntegerField(_("pid"))
    queues = models.TextField(_("queues"), blank=True, help_text=_("Separated by commas; empty: all."))
    min_priority = models.IntegerField(_("min priority"), null=True, blank=True)
    max_priority = models.IntegerField(_("max priority"), null=True, blank=True)
    started_at = models.DateTimeField(_("started at"))
    heartbeat_at = models.DateTimeField(_("heartbeat at"))
    # As of the last heartbeat.
    quiet = models.BooleanField(_("quiet"), default=False, help_text=_("It claims no more."))
    processed = models.PositiveBigIntegerField(_("processed"), default=0)
    failed = models.PositiveBigIntegerField(_("failed"), default=0)
    # What each slot performs, as JSON: null, or the id of a job and for how many seconds it has been running.
    slots = models.TextField(default="[]", editable=False)

    objects = WorkerProcessQuerySet.as_manager()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        permissions = [("control_workerprocess", _("Can quiet, resume and stop workers"))]

    def __str__(self) -> str:
        return f"{self.name and f'name:{printable(self.name)} '}host:{self.hostname} pid:{self.pid}"

    @property
    def current_jobs(self) -> list[tuple[int, datetime] | None]:
        """For each slot, the id of its job at the last heartbeat, and since when it ran; None for no job."""
        slots: list[Any] = json.loads(self.slots)
        return [slot and (slot[0], self.heartbeat_at - timedelta(seconds=slot[1])) for slot in slots]


class Verb(enum.StrEnum):
    """What an operator may ask of a worker."""

    QUIET = "quiet"
    RESUME = "resume"
    STOP = "stop"
    CANCEL = "cancel"


class WorkerRequest(models.Model):
    """What an operator asks of a worker, until its supervisor has read it; it goes with the worker's row.

    A request to end a job stays as long as the job runs.

    It has a table of its own, as each heartbeat writes the row of the worker.
    """

    id = models.BigAutoField(primary_key=True)
    # No foreign key: the row of a worker is removed without a look at other tables.
    worker = models.CharField(max_length=32)
    verb = models.CharField(max_length=16)
    # The job that is meant, and its claim; None where the worker is meant.
    delayed_job_id = models.BigIntegerField(null=True)
    lock_token = models.BigIntegerField(null=True)
    requested_at = models.DateTimeField()
    requested_by = models.CharField(max_length=255, blank=True, default="")

    class Meta:
        indexes = [models.Index(fields=["worker"], name="delayed_worker_request")]

    def __str__(self) -> str:
        return f"{self.verb} {self.worker}"
