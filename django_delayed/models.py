"""The tables: delayed jobs, their failed attempts, the workers that perform them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .databases.clock import DatabaseNow
from .databases.indexes import PartialIndex
from .states import ATTEMPTS_KEPT, DelayedJobQuerySet
from .tracebacks import ErrorText

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager  # noqa: F401

TIMES = {"locked_at", "failed_at", "finished_at"}
NO_TIMES = Q(locked_at__isnull=True, failed_at__isnull=True, finished_at__isnull=True)


class State(models.TextChoices):
    """Where a delayed job stands; read from its timestamps, never stored."""

    SCHEDULED = "scheduled", _("scheduled")
    ENQUEUED = "enqueued", _("enqueued")
    RUNNING = "running", _("running")
    RETRYING = "retrying", _("retrying")
    FAILED = "failed", _("failed")
    FINISHED = "finished", _("finished")


class QueueField(models.CharField):  # type: ignore[type-arg]
    """A name that is compared letter by letter; by default "Mail" and "mail" are one to MySQL and MariaDB."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        parameters = super().db_parameters(connection)
        return {**parameters, "collation": "utf8mb4_bin"} if connection.vendor == "mysql" else parameters


class ClaimableField(models.SmallIntegerField):  # type: ignore[type-arg]
    """1 while the row may be claimed, else NULL; follows the timestamps at every save."""

    def pre_save(self, model_instance: Any, add: bool) -> int | None:
        row = model_instance
        free = row.locked_at is None and row.failed_at is None and row.finished_at is None
        row.claimable = 1 if free else None
        return row.claimable


class DelayedJob(models.Model):
    """A job written down: what to do, and when and where it is to run."""

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(_("name"), max_length=255, help_text=_("What it does, for people."))
    subject = models.CharField(
        _("subject"), max_length=255, blank=True, help_text=_('The object it is about, as "blog.post:9".')
    )
    payload = models.TextField(_("payload"), help_text=_("The job as JSON."))
    queue = QueueField(_("queue"), max_length=255, default="default")
    priority = models.IntegerField(_("priority"), default=0, help_text=_("Lower runs first."))
    run_at = models.DateTimeField(_("run at"), default=timezone.now)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    crashes = models.PositiveSmallIntegerField(_("crashes"), default=0)
    max_attempts = models.PositiveIntegerField(_("max attempts"), default=25)
    last_error = models.TextField(_("last error"), blank=True, default="")
    error_class = models.CharField(_("error class"), max_length=255, blank=True, default="")
    error_message = models.CharField(_("error message"), max_length=255, blank=True, default="")
    error_fingerprint = models.CharField(_("error fingerprint"), max_length=16, blank=True, default="")
    locked_at = models.DateTimeField(_("locked at"), null=True, blank=True)
    locked_by = models.CharField(_("locked by"), max_length=32, blank=True, default="")
    lock_token = models.BigIntegerField(_("lock token"), default=0, editable=False)
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    failed_at = models.DateTimeField(_("failed at"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)
    keep_for = models.DurationField(_("keep for"), null=True, blank=True)
    result = models.TextField(_("result"), blank=True, default="")
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    claimable = ClaimableField(null=True, default=1, editable=False)

    objects = DelayedJobQuerySet.as_manager()

    class Meta:
        verbose_name = _("delayed job")
        verbose_name_plural = _("delayed jobs")
        permissions = [
            ("retry_delayedjob", _("Can retry failed delayed jobs")),
            ("discard_delayedjob", _("Can discard delayed jobs")),
        ]
        indexes = [
            PartialIndex(
                fields=["queue", "priority", "run_at", "id"],
                name="delayed_job_lanes",
                where=Q(claimable=1),
                lead_by=["claimable"],
            ),
            PartialIndex(
                fields=["locked_by"],
                name="delayed_job_held",
                where=Q(locked_at__isnull=False),
                # Led by locked_by, MariaDB would take it for the guard of a move, and lock its neighbours.
                lead_by=["locked_at"],
            ),
            PartialIndex(
                fields=["failed_at", "id"], name="delayed_job_failed", where=Q(failed_at__isnull=False)
            ),
            PartialIndex(
                fields=["finished_at"], name="delayed_job_finished", where=Q(finished_at__isnull=False)
            ),
            models.Index(fields=["subject"], name="delayed_job_subject"),
        ]
        constraints = [
            models.CheckConstraint(
                name="delayed_job_claimable",
                # A CHECK is content with NULL, which `claimable = 1` alone would be where claimable is NULL.
                condition=Q(NO_TIMES, claimable=1, claimable__isnull=False)
                | Q(~NO_TIMES, claimable__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} #{self.pk}"

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **options: Any) -> None:
        """As Django's; `claimable` follows the timestamps also when these alone are saved."""
        if update_fields is not None and TIMES & set(update_fields):
            update_fields = {*update_fields, "claimable"}
        super().save(*args, update_fields=update_fields, **options)

    @property
    def state(self) -> State:
        """The one state that the row is in."""
        if self.finished_at is not None:
            return State.FINISHED
        if self.failed_at is not None:
            return State.FAILED
        if self.locked_at is not None:
            return State.RUNNING
        if self.attempts:
            return State.RETRYING
        # A row that waits for the commit does not know its run_at yet, only how far ahead that is.
        ahead = bool(self.run_at) if isinstance(self.run_at, timedelta) else self.run_at > timezone.now()
        return State.SCHEDULED if ahead else State.ENQUEUED


class FailedAttemptQuerySet(models.QuerySet["FailedAttempt"]):
    """The failed attempts of a job."""

    def record(self, job: DelayedJob, error: ErrorText) -> None:
        """Write down that the job's present attempt failed; the newest ten stay, one with its whole text."""
        attempts = self.filter(job=job)
        attempts.exclude(error="").update(error="")
        attempts.create(
            job=job,
            number=job.attempts,
            worker=job.locked_by,
            started_at=job.started_at or job.locked_at,
            ended_at=DatabaseNow(),
            error_class=error.error_class,
            error_message=error.message,
            error=error.text,
        )
        if job.attempts > ATTEMPTS_KEPT or attempts.count() > ATTEMPTS_KEPT:
            kept = list(attempts.order_by("-pk").values_list("pk", flat=True)[:ATTEMPTS_KEPT])
            attempts.exclude(pk__in=kept).delete()


class FailedAttempt(models.Model):
    """One failed attempt of a delayed job, or one crash of its worker; the last ten a job are kept."""

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey(
        DelayedJob, models.CASCADE, related_name="failed_attempts", db_constraint=False, verbose_name=_("job")
    )
    number = models.PositiveIntegerField(_("number"))
    worker = models.CharField(_("worker"), max_length=32, blank=True)
    started_at = models.DateTimeField(_("started at"), null=True)
    ended_at = models.DateTimeField(_("ended at"))
    error_class = models.CharField(_("error class"), max_length=255)
    error_message = models.CharField(_("error message"), max_length=255, blank=True)
    error = models.TextField(_("error"), blank=True)

    objects = FailedAttemptQuerySet.as_manager()

    class Meta:
        verbose_name = _("failed attempt")
        verbose_name_plural = _("failed attempts")
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.error_class}: {self.error_message}" if self.error_message else self.error_class


class WorkerProcessQuerySet(models.QuerySet["WorkerProcess"]):
    """Workers, by the age of their beat."""

    def silent(self, lease: timedelta) -> WorkerProcessQuerySet:
        """Workers that count as dead: their last beat is `lease` old."""
        return self.filter(beat_at__lt=DatabaseNow(plus=-lease))


class WorkerProcess(models.Model):
    """A process that claims and performs; without its row, it is dead."""

    id = models.CharField(primary_key=True, max_length=32, help_text=_("Random, new at each start."))
    hostname = models.CharField(_("hostname"), max_length=255)
    pid = models.PositiveIntegerField(_("pid"))
    queues = models.TextField(_("queues"), blank=True, help_text=_("Separated by commas; empty: all."))
    min_priority = models.IntegerField(_("min priority"), null=True, blank=True)
    max_priority = models.IntegerField(_("max priority"), null=True, blank=True)
    started_at = models.DateTimeField(_("started at"))
    beat_at = models.DateTimeField(_("beat at"))

    objects = WorkerProcessQuerySet.as_manager()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return f"host:{self.hostname} pid:{self.pid}"
