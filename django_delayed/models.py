"""The tables: delayed jobs, their failed attempts, the workers that perform them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .conf import settings
from .databases import LANES_INDEX, DatabaseNow
from .fields import ClaimableField, PartialIndex, QueueField
from .serialization.errors import ErrorText, printable
from .states import STATES, DelayedJobQuerySet, State

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager  # noqa: F401

ATTEMPTS_KEPT = 10  # failed attempts a job


class DelayedJob(models.Model):
    """A job written down: what to do, and when and where it is to run."""

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(_("name"), max_length=255, help_text=_("What it does, for people."))
    about = models.CharField(
        _("about"), max_length=255, blank=True, help_text=_('The object it is about, as "blog.post:9".')
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
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    result = models.TextField(_("result"), blank=True, default="")
    # A bit for each feature that a move has to follow up; 0 for a plain job.
    extras = models.PositiveSmallIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    claimable = ClaimableField(null=True, default=1, editable=False)

    objects = DelayedJobQuerySet.as_manager()

    class Meta:
        verbose_name = _("delayed job")
        verbose_name_plural = _("delayed jobs")
        permissions = [
            ("view_arguments_delayedjob", _("Can view the arguments of delayed jobs")),
            ("retry_delayedjob", _("Can retry failed delayed jobs")),
            ("run_now_delayedjob", _("Can run waiting delayed jobs now")),
            ("discard_delayedjob", _("Can discard delayed jobs")),
        ]
        indexes = [
            PartialIndex(
                fields=["queue", "priority", "run_at", "id"],
                name=LANES_INDEX,
                where=ClaimableField.condition,
                lead_by=["claimable"],
            ),
            PartialIndex(
                fields=["locked_by"],
                name="delayed_job_held",
                where=Q(locked_at__isnull=False),
                # Led by locked_by, MariaDB would take it for the guard of a move, and lock the rows beside
                # the one that is moved: deadlocks between workers that have nothing to do with each other.
                lead_by=["locked_at"],
            ),
            PartialIndex(
                fields=["id"],
                name="delayed_job_retrying",
                where=Q(ClaimableField.condition, attempts__gt=0),
                lead_by=["claimable", "attempts"],
            ),
            # With the columns by which failed jobs are counted, so that the count reads the index alone.
            PartialIndex(
                fields=["failed_at", "id", "finished_at", "queue", "error_fingerprint"],
                name="delayed_job_failed",
                where=Q(failed_at__isnull=False),
            ),
            PartialIndex(
                fields=["finished_at"], name="delayed_job_finished", where=Q(finished_at__isnull=False)
            ),
            PartialIndex(
                fields=["expires_at"], name="delayed_job_expires", where=Q(expires_at__isnull=False)
            ),
            models.Index(fields=["about"], name="delayed_job_about"),
        ]
        constraints = [ClaimableField.constraint("delayed_job_claimable")]

    def __str__(self) -> str:
        # It stands in the log, and a row need not be written by an enqueue.
        return f"{printable(str(self.name))} #{self.pk}"

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **options: Any) -> None:
        """As Django's; `claimable` follows the timestamps even when only these are saved."""
        if update_fields is not None and not {*ClaimableField.times}.isdisjoint(update_fields):
            update_fields = {*update_fields, "claimable"}
        super().save(*args, update_fields=update_fields, **options)

    @property
    def state(self) -> State:
        """The one state that the row is in, by the clock of this machine."""
        return next(state for state, (_, holds) in STATES.items() if holds(self))

    @property
    def send(self) -> NoReturn:
        """What a message has and a row has not; it says what to write."""
        raise AttributeError(
            "The mail is enqueued, and the worker sends it: leave .send() out. Only a message has it, as in"
            " UserMailer().welcome(user).send(), without delay()."
        )


def all_rows() -> DelayedJobQuerySet:
    """All delayed jobs, in the database of the queue."""
    return DelayedJob.objects.using(settings.DATABASE)


class FailedAttemptQuerySet(models.QuerySet["FailedAttempt"]):
    """The failed attempts of delayed jobs."""

    def record(self, row: DelayedJob, error: ErrorText) -> None:
        """Write down that the present attempt failed. The newest ten are kept, one with its whole text."""
        attempts = self.filter(delayed_job=row)
        attempts.exclude(error="").update(error="")
        attempts.create(
            delayed_job=row,
            number=row.attempts,
            worker=row.locked_by,
            started_at=row.started_at or row.locked_at,
            ended_at=DatabaseNow(),
            error_class=error.path or error.error_class,
            error_message=error.message,
            error=error.text,
        )
        if row.attempts > ATTEMPTS_KEPT or attempts.count() > ATTEMPTS_KEPT:
            kept = list(attempts.order_by("-pk").values_list("pk", flat=True)[:ATTEMPTS_KEPT])
            attempts.exclude(pk__in=kept).delete()

    def remember(self, row: DelayedJob, history: str) -> None:
        """Write what the rules of the job remember beside the attempt that was recorded last."""
        self.filter(delayed_job=row).exclude(error="").update(history=history)

    def history_before(self, row: DelayedJob) -> str:
        """What the rules of the job remembered before the present attempt; "" if they remember nothing."""
        number = row.attempts
        attempts = self.filter(delayed_job=row).order_by("-pk")
        for earlier, history in attempts.values_list("number", "history"):
            # An attempt with this number or a higher one is from before an operator's retry.
            if earlier >= number:
                break
            if history:
                return history
            number = earlier
        return ""


class FailedAttempt(models.Model):
    """One failed attempt of a delayed job, or one crash of its worker; the last ten a job are kept."""

    id = models.BigAutoField(primary_key=True)
    delayed_job = models.ForeignKey(
        DelayedJob,
        models.CASCADE,
        related_name="failed_attempts",
        db_constraint=False,
        verbose_name=_("delayed job"),
    )
    number = models.PositiveIntegerField(_("number"))
    worker = models.CharField(_("worker"), max_length=32, blank=True)
    started_at = models.DateTimeField(_("started at"), null=True)
    ended_at = models.DateTimeField(_("ended at"))
    error_class = models.CharField(_("error class"), max_length=255)
    error_message = models.CharField(_("error message"), max_length=255, blank=True)
    error = models.TextField(_("error"), blank=True)
    # What the rules of its Job count, as JSON; "" for a job without rules.
    history = models.TextField(blank=True, default="", editable=False)

    objects = FailedAttemptQuerySet.as_manager()

    class Meta:
        verbose_name = _("failed attempt")
        verbose_name_plural = _("failed attempts")
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.error_class}: {self.error_message}" if self.error_message else self.error_class


def all_attempts() -> FailedAttemptQuerySet:
    """All failed attempts, in the database of the queue."""
    return FailedAttempt.objects.using(settings.DATABASE)


class WorkerProcessQuerySet(models.QuerySet["WorkerProcess"]):
    """Workers, by the age of their heartbeat."""

    def stale(self, lease: timedelta) -> WorkerProcessQuerySet:
        """Workers that count as dead: their last heartbeat is `lease` old."""
        return self.filter(heartbeat_at__lt=DatabaseNow(plus=-lease))


class WorkerProcess(models.Model):
    """A process that claims and performs. A worker without this row counts as dead."""

    id = models.CharField(primary_key=True, max_length=32, help_text=_("Random, new at each start."))
    hostname = models.CharField(_("hostname"), max_length=255)
    pid = models.PositiveIntegerField(_("pid"))
    queues = models.TextField(_("queues"), blank=True, help_text=_("Separated by commas; empty: all."))
    min_priority = models.IntegerField(_("min priority"), null=True, blank=True)
    max_priority = models.IntegerField(_("max priority"), null=True, blank=True)
    started_at = models.DateTimeField(_("started at"))
    heartbeat_at = models.DateTimeField(_("heartbeat at"))

    objects = WorkerProcessQuerySet.as_manager()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return f"host:{self.hostname} pid:{self.pid}"
