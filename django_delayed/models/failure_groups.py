"""The table of failure groups: what is known of a cause besides its failed jobs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from django.db import connections, models
from django.db.models import Min
from django.utils.translation import gettext_lazy as _

from ..conf import settings
from ..databases import DatabaseNow, database
from ..states import CANCELLED, batches
from .delayed_jobs import all_rows

NOTE_LIMIT = 2000  # characters


class FailureGroupQuerySet(models.QuerySet["FailureGroup"]):
    """The failure groups, and when they are written."""

    def remember(self, ids: Sequence[int]) -> set[str]:
        """Write the groups of the failed rows among these ids, which are about to be moved.

        Returns their fingerprints.
        """
        found: set[str] = set()
        for batch in batches(ids):
            failed = all_rows().failed().filter(pk__in=batch).order_by()
            found.update(failed.values_list("error_fingerprint", flat=True).distinct())
        found.discard(CANCELLED)
        self._write_missing(found)
        return found

    def note(self, fingerprint: str, note: str, by: str) -> bool:
        """Write the note about a cause, by the author `by`. False if no job has failed for it."""
        self._write_missing({fingerprint})
        columns = {"note": note, "noted_at": DatabaseNow(), "noted_by": by[:255]}
        return bool(self._repeat_on_conflict(self.filter(pk=fingerprint), columns))

    def settle(self, fingerprints: Collection[str], by: str) -> None:
        """Note that `by` has settled those of these causes that have no failed job left."""
        for batch in batches(sorted(fingerprints)):
            left = _failed_of(batch).values_list("error_fingerprint", flat=True).distinct()
            settled = self.filter(pk__in=set(batch).difference(left))
            self._repeat_on_conflict(settled, {"settled_at": DatabaseNow(), "settled_by": by[:255]})

    def _write_missing(self, fingerprints: Collection[str]) -> None:
        for batch in batches(sorted(fingerprints)):
            known = self.filter(pk__in=batch).values_list("pk", flat=True)
            if missing := set(batch).difference(known):
                # Of all its failed jobs, including those that are not moved.
                firsts = _failed_of(missing).values_list("error_fingerprint").annotate(Min("failed_at"))
                groups = [self.model(fingerprint, first_seen_at=first) for fingerprint, first in firsts]
                # Another operator may have written one of them at the same moment.
                self.bulk_create(groups, ignore_conflicts=True)

    def _repeat_on_conflict(self, groups: FailureGroupQuerySet, columns: dict[str, Any]) -> int:
        return database(connections[self.db]).repeat_on_conflict(lambda: groups.update(**columns))


class FailureGroup(models.Model):
    """What is known of a cause besides its failed jobs: when it was first seen and settled, and a note.

    It is settled when an operator has moved the last of its failed jobs; a job that fails for it later is
    *back again*.

    A worker never writes it, so a failure costs no further statement. Until somebody moves a failed job of a
    cause, all of them are in the index of failed jobs, with the time of the first; only a move would lose it.
    So the code that moves them writes the row, once for each cause: the operations, and the supervisor when
    it removes what `KEEP_FAILED_FOR` let expire. `retry()` and `discard()` of a queryset, which a project's
    own code calls, do not. How many jobs failed, and when the last one did, is counted and not stored.
    """

    fingerprint = models.CharField(_("fingerprint"), max_length=16, primary_key=True)
    first_seen_at = models.DateTimeField(_("first seen at"))
    settled_at = models.DateTimeField(_("settled at"), null=True, blank=True)
    settled_by = models.CharField(_("settled by"), max_length=255, blank=True, default="")
    note = models.TextField(_("note"), max_length=NOTE_LIMIT, blank=True, default="")
    noted_at = models.DateTimeField(_("noted at"), null=True, blank=True)
    noted_by = models.CharField(_("noted by"), max_length=255, blank=True, default="")

    objects = FailureGroupQuerySet.as_manager()

    class Meta:
        verbose_name = _("cause")
        verbose_name_plural = _("failed jobs by cause")
        # Whoever may view delayed jobs may view their causes.
        default_permissions = ()
        permissions = [("note_failuregroup", _("Can write notes about causes"))]

    def __str__(self) -> str:
        return self.fingerprint or "-"

    def is_back(self, last: datetime) -> bool:
        """Whether the `last` failure of a job came after the cause was settled."""
        return self.settled_at is not None and last > self.settled_at


def all_groups() -> FailureGroupQuerySet:
    """All failure groups, in the database of the queue."""
    return FailureGroup.objects.using(settings.DATABASE)


def _failed_of(fingerprints: Collection[str]) -> Any:
    return all_rows().failed().filter(error_fingerprint__in=fingerprints).order_by()
