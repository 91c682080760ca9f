"""How the admin words the operator's moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.admin.models import CHANGE, DELETION
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from .. import operations
from ..operations import Operation


@dataclass(frozen=True)
class Wording:
    """The texts of the pages about an operation, and the flag of its entry in the admin's log."""

    operation: Operation
    flag: int
    verb: Any
    question: Any
    button: Any
    consequence: Any
    done: Any
    partly_done: Any
    refused: Any

    def result(self, moved: int, skipped: int, equal: int) -> str:
        """The message after the moves: how many rows were moved, and how many were not.

        For `equal` of the rows, another job holds the key.
        """
        counts = {"moved": moved, "skipped": skipped, "equal": equal}
        text: str = (self.partly_done if skipped > 0 else self.done) % counts
        return f"{text} {EQUAL_WAIT % counts}" if equal else text

    @property
    def name(self) -> str:
        """The name of the operation; its permission and its action have the same name."""
        return self.operation.name


EQUAL_WAIT = ngettext_lazy(
    "%(equal)d skipped: an equal job waits.", "%(equal)d skipped: equal jobs wait.", "equal"
)
RETRY_WORDING = Wording(
    operation=operations.RETRY,
    flag=CHANGE,
    verb=_("Retry"),
    question=ngettext_lazy("Retry %(count)d failed job?", "Retry %(count)d failed jobs?", "count"),
    button=ngettext_lazy("Retry %(count)d job", "Retry %(count)d jobs", "count"),
    consequence=_(
        "A retried job is ready at once and has all its attempts again. Its errors so far are kept."
    ),
    done=ngettext_lazy("%(moved)d job retried.", "%(moved)d jobs retried.", "moved"),
    partly_done=_("%(moved)d retried, %(skipped)d skipped: only failed jobs can be retried."),
    refused=_("Nothing to retry: only failed jobs can be retried."),
)
RUN_NOW_WORDING = Wording(
    operation=operations.RUN_NOW,
    flag=CHANGE,
    verb=_("Run now"),
    question=ngettext_lazy("Run %(count)d waiting job now?", "Run %(count)d waiting jobs now?", "count"),
    button=ngettext_lazy("Run %(count)d job now", "Run %(count)d jobs now", "count"),
    consequence=_("A waiting job becomes due at once. The attempts that it has made stay counted."),
    done=ngettext_lazy("%(moved)d job is due now.", "%(moved)d jobs are due now.", "moved"),
    partly_done=_(
        "%(moved)d made due, %(skipped)d skipped: only jobs that wait for their time can be made due."
    ),
    refused=_("Nothing to run now: only a job that waits for its time can be made due."),
)
ADJUST_WORDING = Wording(
    operation=operations.ADJUST,
    flag=CHANGE,
    verb=_("Change time, queue or priority"),
    question=ngettext_lazy("Change %(count)d waiting job?", "Change %(count)d waiting jobs?", "count"),
    button=ngettext_lazy("Change %(count)d job", "Change %(count)d jobs", "count"),
    consequence=_("The attempts that a job has made stay counted. What you leave as it is stays as it is."),
    done=ngettext_lazy("%(moved)d job changed.", "%(moved)d jobs changed.", "moved"),
    partly_done=_("%(moved)d changed, %(skipped)d skipped: a worker has claimed it, or it was changed."),
    refused=_("Nothing to change: only a waiting job can be changed."),
)
GIVE_UP_WORDING = Wording(
    operation=operations.GIVE_UP,
    flag=CHANGE,
    verb=_("Give up"),
    question=ngettext_lazy("Give up %(count)d retrying job?", "Give up %(count)d retrying jobs?", "count"),
    button=ngettext_lazy("Give up %(count)d job", "Give up %(count)d jobs", "count"),
    consequence=_(
        "A job that is given up counts as failed. It is not tried again until somebody retries it."
    ),
    done=ngettext_lazy("%(moved)d job given up.", "%(moved)d jobs given up.", "moved"),
    partly_done=_("%(moved)d given up, %(skipped)d skipped: only retrying jobs can be given up."),
    refused=_("Nothing to give up: only a retrying job can be given up."),
)
DISCARD_WORDING = Wording(
    operation=operations.DISCARD,
    flag=DELETION,
    verb=_("Discard"),
    question=ngettext_lazy("Discard %(count)d job?", "Discard %(count)d jobs?", "count"),
    button=ngettext_lazy("Discard %(count)d job", "Discard %(count)d jobs", "count"),
    consequence=_("A discarded job is deleted with the records of its attempts. This cannot be undone."),
    done=ngettext_lazy("%(moved)d job discarded.", "%(moved)d jobs discarded.", "moved"),
    partly_done=_("%(moved)d discarded, %(skipped)d skipped: running or already deleted."),
    refused=_("Nothing to discard: a running job cannot be discarded."),
)
CANCEL_WORDING = Wording(
    operation=operations.CANCEL,
    flag=CHANGE,
    verb=_("End"),
    question=ngettext_lazy("End %(count)d running job?", "End %(count)d running jobs?", "count"),
    button=ngettext_lazy("End %(count)d job", "End %(count)d jobs", "count"),
    consequence=_(
        "A running job is asked to end, and killed with its worker if it does not end in time. It counts as"
        " failed then, and is not tried again."
    ),
    done=ngettext_lazy("%(moved)d job was asked to end.", "%(moved)d jobs were asked to end.", "moved"),
    partly_done=_("%(moved)d asked to end, %(skipped)d skipped: ended meanwhile, or asked before."),
    refused=_("Nothing to end: only a running job can be ended, and it is asked only once."),
)
# The moves that need nothing but a confirmation; the list offers them too.
WORDINGS = (RETRY_WORDING, RUN_NOW_WORDING, GIVE_UP_WORDING, DISCARD_WORDING, CANCEL_WORDING)
ON_PAGE = (RETRY_WORDING, RUN_NOW_WORDING, ADJUST_WORDING, *WORDINGS[2:])
# The moves for the other failed jobs of a cause, on the page of a job that was retried.
OF_OTHERS = (
    (RETRY_WORDING, ngettext_lazy("Retry the other job", "Retry the other %(jobs)s jobs", "number")),
    (DISCARD_WORDING, ngettext_lazy("Discard the other job", "Discard the other %(jobs)s jobs", "number")),
)
