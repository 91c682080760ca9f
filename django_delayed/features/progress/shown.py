"""What users see of a job: where it stands and how far it is, but no arguments and no errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ...states import CANCELLED, State

if TYPE_CHECKING:
    from ...models import DelayedJob
    from .models import Progress

WORDS = {
    State.SCHEDULED: gettext_lazy("It waits for its turn."),
    State.ENQUEUED: gettext_lazy("It waits for its turn."),
    State.RUNNING: gettext_lazy("It is in progress."),
    State.RETRYING: gettext_lazy("It did not succeed, and will be tried again."),
    State.FAILED: gettext_lazy("It has failed."),
    State.FINISHED: gettext_lazy("It is done."),
}


@dataclass(frozen=True)
class Shown:
    """`words` say where the job stands, `amount` how much is done, in the active language.

    `fraction` is the part that is done, from 0.0 to 1.0, and None without a total.
    """

    words: str
    amount: str
    note: str
    fraction: float | None
    is_over: bool

    @property
    def value(self) -> str:
        """The fraction for HTML, the same in every language; "" for None."""
        return "" if self.fraction is None else f"{self.fraction:.4f}"


def show(row: DelayedJob, progress: Progress | None) -> Shown:
    """What is shown of the row's job and of its progress."""
    state = row.state
    words = _("It was cancelled.") if row.error_fingerprint == CANCELLED else str(WORDS[state])
    fraction = progress.fraction if progress else None
    if state == State.FINISHED:
        fraction = 1.0
    elif state != State.RUNNING and fraction is None:
        # A bar without a value would look as if the job ran.
        fraction = 0.0
    amount, note = (_amount(progress), progress.note) if progress else ("", "")
    return Shown(words, amount, note, fraction, state in (State.FINISHED, State.FAILED))


def show_gone() -> Shown:
    """What is shown of a job if its row is gone."""
    return Shown(_("It has ended, and no record of it is kept."), "", "", 0.0, is_over=True)


def _amount(progress: Progress) -> str:
    done = _number(progress.done)
    if progress.total is None:
        return done
    return _("%(done)s of %(total)s") % {"done": done, "total": _number(progress.total)}


def _number(value: float) -> str:
    number: Any = int(value) if value.is_integer() else round(value, 2)
    return number_format(number, force_grouping=True)
