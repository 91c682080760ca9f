"""The table of the failed attempts of delayed jobs."""

from __future__ import annotations

import socket
from collections.abc import Collection

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..conf import settings
from ..databases import DatabaseNow
from ..serialization.errors import ErrorText
from .delayed_jobs import DelayedJob

ATTEMPTS_KEPT = 10  # failed attempts a job


class FailedAttemptQuerySet(models.QuerySet["FailedAttempt"]):
    """The failed attempts of delayed jobs."""

    def record(self, row: DelayedJob, error: ErrorText) -> None:
        """Write down that the present attempt failed. The last ten are kept, only this one with its text."""
        attempts = self.filter(delayed_job=row)
        attempts.exclude(error="").update(error="")
        attempts.create(
            delayed_job=row,
            number=row.attempts,
            worker=row.locked_by,
            hostname=hostname(),
            started_at=row.started_at or row.locked_at,
            ended_at=DatabaseNow(),
            error_class=error.path or error.error_class,
            error_message=error.message,
            error=error.text,
        )
        if row.attempts > ATTEMPTS_KEPT or attempts.count() > ATTEMPTS_KEPT:
            kept = list(attempts.order_by("-pk").values_list("pk", flat=True)[:ATTEMPTS_KEPT])
            attempts.exclude(pk__in=kept).delete()

    def ended_on(self, hostname: str, rows: Collection[DelayedJob]) -> None:
        """Note that the last recorded attempts of these rows ended on this host, and not on ours."""
        self.filter(delayed_job__in=rows).exclude(error="").update(hostname=hostname)

    def remember(self, row: DelayedJob, history: str) -> None:
        """Write what the rules of the job remember, with the last recorded attempt."""
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
    # The row of the worker may be gone when somebody asks where jobs fail.
    hostname = models.CharField(_("hostname"), max_length=255, blank=True, default="")
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


def hostname() -> str:
    """The name of this host, as the rows of workers and attempts have it."""
    return socket.gethostname()[:255]


def all_attempts() -> FailedAttemptQuerySet:
    """All failed attempts, in the database of the queue."""
    return FailedAttempt.objects.using(settings.DATABASE)
