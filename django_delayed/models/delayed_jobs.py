"""The table of delayed jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..conf import settings
from ..databases import LANES_INDEX
from ..features.progress.models import Progress, all_progress
from ..features.unique.models import UniqueKey
from ..fields import ClaimableField, PartialIndex, QueueField
from ..serialization.errors import printable
from ..serialization.results import Kept
from ..states import STATES, SUSPECT, DelayedJobQuerySet, State
from .paused_queues import PausedQueue
from .requests import ask_to_end

if TYPE_CHECKING:
    from ..features.unique.keys import Key


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
    # A bit for each feature that a move has to care for; 0 for a plain job.
    extras = models.PositiveSmallIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    claimable = ClaimableField(null=True, default=1, editable=False)

    objects = DelayedJobQuerySet.as_manager()
    # For the claim and for unique jobs, which know no model but that of their rows.
    paused_queues = PausedQueue
    unique_keys = UniqueKey
    # The key that the job of an unsaved row is to have.
    wanted_key: Key | None = None
    # And for `cancel`.
    ask_to_end = staticmethod(ask_to_end)

    class Meta:
        verbose_name = _("delayed job")
        verbose_name_plural = _("delayed jobs")
        permissions = [
            ("view_arguments_delayedjob", _("Can view the arguments of delayed jobs")),
            ("retry_delayedjob", _("Can retry failed delayed jobs")),
            ("run_now_delayedjob", _("Can run waiting delayed jobs now")),
            ("adjust_delayedjob", _("Can change time, queue and priority of waiting delayed jobs")),
            ("give_up_delayedjob", _("Can give up delayed jobs that are to be tried again")),
            ("discard_delayedjob", _("Can discard delayed jobs")),
            ("cancel_delayedjob", _("Can end running delayed jobs")),
        ]
        indexes = [
            # With `attempts`, so that the lists of scheduled and of enqueued jobs read the index alone.
            PartialIndex(
                fields=["queue", "priority", "run_at", "id", "attempts"],
                name=LANES_INDEX,
                where=ClaimableField.condition,
                lead_by=["claimable"],
            ),
            PartialIndex(
                fields=["locked_by"],
                name="delayed_job_held",
                where=Q(locked_at__isnull=False),
                # If locked_by led it, MariaDB would use it for the guard of a move, and lock the rows beside
                # the one that is moved: unrelated workers would run into deadlocks.
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
        # It goes into the log, and the row may have been written by hand.
        return f"{printable(str(self.name))} #{self.pk}"

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **options: Any) -> None:
        """As Django's; `claimable` follows the timestamps even when only these are saved."""
        if update_fields is not None and not {*ClaimableField.times}.isdisjoint(update_fields):
            update_fields = {*update_fields, "claimable"}
        super().save(*args, update_fields=update_fields, **options)

    @property
    def state(self) -> State:
        """The one state that the row is in, without a statement.

        The clock of this machine says whether its `run_at` is ahead. It may differ from the clock of the
        database.
        """
        return next(state for state, (_, holds) in STATES.items() if holds(self))

    @property
    def runs_alone(self) -> bool:
        """Whether no other job is performed at the same time: it has crashed a worker, or may have."""
        return self.crashes > 0 or bool(self.extras & SUSPECT)

    @property
    def progress(self) -> Progress | None:
        """How far its job is, read from the database each time; None for a job that has reported nothing."""
        return None if self.pk is None else all_progress().filter(pk=self.pk).first()

    @property
    def return_value(self) -> Any:
        """The value that a task or a Job with `result = True` returned, as JSON has it; None for other jobs.

        Raises ValueError for a job that has not finished, as Django's results of tasks do.
        """
        if self.finished_at is None:
            raise ValueError(f"{self} has not finished.")
        return Kept.load(self.result).value

    @property
    def send(self) -> NoReturn:
        """Only a message has this method. For a row, the error says what to write."""
        raise AttributeError(
            "The mail is enqueued, and the worker sends it: leave .send() out. Only a message has it, as in"
            " UserMailer().welcome(user).send(), without delay()."
        )


def all_rows() -> DelayedJobQuerySet:
    """All delayed jobs, in the database of the queue."""
    return DelayedJob.objects.using(settings.DATABASE)
