"""The tables of schedules and of the jobs that these have made."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Case, Q, When
from django.utils.translation import gettext_lazy as _

from ...conf import settings
from ...databases import DatabaseNow
from ...fields import QueueField
from ...serialization.errors import printable
from .schedules import Cron, Every, Times, moment_of


class CatchUp(models.TextChoices):
    """Which of the ticks that came while no supervisor was there become jobs."""

    LATEST = "latest", _("the latest")
    NONE = "none", _("none")
    ALL = "all", _("all, at most 100")


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    """Schedules, and which of them are gone."""

    def gone(self) -> ScheduleQuerySet:
        """Those of code that no supervisor has announced for a lease."""
        return self.filter(_is_gone())

    def with_gone(self) -> Any:
        """The same rows, each with an attribute `gone`: whether it is one of `gone`."""
        return self.annotate(gone=Case(When(_is_gone(), then=True), default=False))


def _is_gone() -> Q:
    unannounced = Q(announced_at=None) | Q(announced_at__lt=DatabaseNow(plus=-settings.LEASE))
    return Q(unannounced, in_code=True)


class Schedule(models.Model):
    """When which job recurs. Supervisors write the rows of their code's schedules, operators make others.

    `since` is the moment after which its ticks still have to become jobs, in seconds since 1970: these do not
    depend on a time zone or on USE_TZ.
    """

    id = models.BigAutoField(primary_key=True)
    name = QueueField(_("name"), max_length=255)
    in_code = models.BooleanField(_("in the code"), default=False, editable=False)
    job = models.CharField(_("job"), max_length=255, help_text=_("A Job class, as module:name."))
    cron = models.CharField(
        _("cron expression"),
        max_length=255,
        blank=True,
        default="",
        help_text=_("Minute, hour, day, month and day of the week, such as 0 3 * * *."),
    )
    zone = models.CharField(
        _("time zone"),
        max_length=255,
        blank=True,
        default="",
        help_text=_("Such as Europe/Paris; empty: that of the settings."),
    )
    every = models.DurationField(
        _("every"), null=True, blank=True, help_text=_("Instead of a cron expression, such as 00:05:00.")
    )
    catch_up = models.CharField(
        _("catch up"),
        max_length=8,
        choices=CatchUp.choices,
        default=CatchUp.LATEST,
        help_text=_("Which of the times that were missed become jobs."),
    )
    arguments = models.TextField(_("arguments"), blank=True, default="", editable=False)
    queue = models.CharField(
        _("queue"), max_length=255, blank=True, default="", help_text=_("Empty: as the job says.")
    )
    priority = models.IntegerField(
        _("priority"), null=True, blank=True, help_text=_("Lower runs first; empty: as the job says.")
    )
    paused = models.BooleanField(_("paused"), default=False, editable=False)
    since = models.BigIntegerField(editable=False)
    last_tick = models.BigIntegerField(null=True, editable=False)
    announced_at = models.DateTimeField(_("announced at"), null=True, editable=False)

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        ordering = ["name", "pk"]
        permissions = [
            ("run_now_schedule", _("Can run the job of a schedule now")),
            ("pause_schedule", _("Can pause and resume schedules")),
        ]
        constraints = [
            # A schedule of the code gets its row, whatever names operators have chosen.
            models.UniqueConstraint(fields=["in_code", "name"], name="delayed_schedule_name"),
            models.CheckConstraint(
                condition=Q(cron="", every__isnull=False) | Q(~Q(cron=""), every__isnull=True),
                name="delayed_schedule_times",
            ),
        ]

    def __str__(self) -> str:
        return printable(str(self.name))

    @property
    def times(self) -> Times:
        """When it is due. The values are not checked."""
        return Cron(self.cron, self.zone) if self.every is None else Every(self.every)

    @property
    def last_tick_at(self) -> datetime | None:
        """The last tick that became a job, as an aware moment."""
        return None if self.last_tick is None else moment_of(self.last_tick)


def columns_of(times: Times) -> dict[str, Any]:
    """The columns of a schedule that say when it is due."""
    if isinstance(times, Cron):
        return {"cron": times.expression, "zone": times.zone, "every": None}
    return {"cron": "", "zone": "", "every": times.interval}


class ScheduleRun(models.Model):
    """A tick of a schedule and the job that it has become; without a tick, an operator asked for the job.

    With the unique key, each tick becomes one job, however many supervisors there are.
    """

    id = models.BigAutoField(primary_key=True)
    schedule = models.ForeignKey(
        Schedule,
        models.CASCADE,
        related_name="runs",
        db_constraint=False,
        db_index=False,
        verbose_name=_("schedule"),
    )
    # Seconds since 1970.
    tick = models.BigIntegerField(null=True)
    # No foreign key: the row of a job is removed without a look at other tables. None if a hook or a unique
    # key refused the job.
    delayed_job_id = models.BigIntegerField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        verbose_name = _("run of a schedule")
        verbose_name_plural = _("runs of schedules")
        constraints = [
            models.UniqueConstraint(fields=["schedule", "tick"], name="delayed_schedule_tick"),
        ]

    def __str__(self) -> str:
        return f"{'' if self.tick is None else moment_of(self.tick)} #{self.delayed_job_id}".lstrip()


def all_schedules() -> ScheduleQuerySet:
    """All schedules, in the database of the queue."""
    return Schedule.objects.using(settings.DATABASE)
