"""What an operator does with schedules: run now, pause, resume. Each is logged, and the operator is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.http import HttpRequest
from django.utils.translation import gettext as _

from ..exceptions import UnknownCode
from ..features.recurring import runs
from ..features.recurring.definitions import WRONG, Definition, definition_of, definitions
from ..features.recurring.models import Schedule

if TYPE_CHECKING:
    from .schedules import ScheduleAdmin


def run_now(model_admin: ScheduleAdmin, request: HttpRequest, row: Schedule) -> None:
    """Make a job of the schedule, log it, and tell the operator."""
    try:
        job = runs.run_now(row, _definition_of(row))
    except WRONG as error:
        messages.error(request, _("%(schedule)s made no job: %(error)s") % {"schedule": row, "error": error})
        return
    model_admin.log_change(request, row, f"run_now: {job}")
    if job is None:
        messages.warning(request, _("%(schedule)s made no job: a hook refused it.") % {"schedule": row})
    else:
        messages.success(request, _("%(schedule)s made the job %(job)s.") % {"schedule": row, "job": job})


def pause(model_admin: ScheduleAdmin, request: HttpRequest, row: Schedule) -> None:
    """Pause the schedule, log it, and tell the operator."""
    if runs.pause([row.pk]):
        model_admin.log_change(request, row, "pause")
        messages.success(request, _("%(schedule)s is paused.") % {"schedule": row})
    else:
        messages.warning(request, _("%(schedule)s was paused already.") % {"schedule": row})


def resume(model_admin: ScheduleAdmin, request: HttpRequest, row: Schedule) -> None:
    """Resume the schedule, log it, and tell the operator."""
    if runs.resume([row.pk]):
        model_admin.log_change(request, row, "resume")
        messages.success(request, _("%(schedule)s continues at its next time.") % {"schedule": row})
    else:
        messages.warning(request, _("%(schedule)s was not paused.") % {"schedule": row})


def _definition_of(row: Schedule) -> Definition:
    """The definition that a job is made from. Raises one of WRONG."""
    if not row.in_code:
        return definition_of(row)
    of_code = definitions()
    if row.name not in of_code:
        raise UnknownCode(_("the code of this process does not have it."))
    return of_code[row.name]
