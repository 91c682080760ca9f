"""The form of a schedule that an operator makes: what recurs, and when; with its next times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..conf import INTEGERS, queue_name
from ..exceptions import DelayedError, SerializationError
from ..features.recurring.definitions import WRONG, definition_of, job_classes
from ..features.recurring.models import Schedule, all_schedules, columns_of
from ..features.recurring.schedules import Times, cron, every
from ..jobs import Job
from ..serialization import arguments
from ..serialization.names import name_of

PREVIEW = "_preview"
LONGEST_ARGUMENTS = 100_000  # characters


def job_choices() -> Iterator[tuple[str, str]]:
    """The names by which a worker finds Job classes, each with a label for people."""
    for job_class in dict.fromkeys(job_classes()):
        if job_class.perform is not Job.perform:
            with suppress(SerializationError):
                name = name_of(job_class)
                yield name, f"{job_class.__qualname__} ({name.partition(':')[0]})"


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]
    """A schedule as an operator writes it. With the button PREVIEW, it is checked and not saved."""

    job = forms.ChoiceField(label=gettext_lazy("Job"))
    args = forms.JSONField(
        label=gettext_lazy("Arguments"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "maxlength": LONGEST_ARGUMENTS}),
        help_text=gettext_lazy('As a list in JSON, such as ["acme", 5].'),
    )
    kwargs = forms.JSONField(
        label=gettext_lazy("Named arguments"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "maxlength": LONGEST_ARGUMENTS}),
        help_text=gettext_lazy('As an object in JSON, such as {"dry_run": true}.'),
    )
    priority = forms.IntegerField(
        label=gettext_lazy("Priority"),
        required=False,
        min_value=INTEGERS[0],
        max_value=INTEGERS[-1],
        help_text=gettext_lazy("Lower runs first; empty: as the job says."),
    )

    class Meta:
        model = Schedule
        fields = ("name", "job", "args", "kwargs", "cron", "zone", "every", "catch_up", "queue", "priority")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The times as of the last clean; before that, the times of the row.
        self.times: Times | None = self.instance.times if self.instance.pk else None
        for name, value in zip(("args", "kwargs"), _arguments_in(self.instance), strict=True):
            self.initial.setdefault(name, value)
        if job := self.fields.get("job"):
            # The field is not there for users who may only view: they see the columns.
            job.choices = self._choices()  # type: ignore[attr-defined]

    def _choices(self) -> list[tuple[str, str]]:
        choices = sorted(job_choices(), key=lambda choice: choice[1])
        name = self.instance.job
        # The code of the job may be gone, or not deployed here yet.
        of_row = [(name, name)] if name and name not in dict(choices) else []
        return [("", "---------"), *choices, *of_row]

    def is_valid(self) -> bool:
        return super().is_valid() and PREVIEW not in self.data

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        same = all_schedules().filter(in_code=False, name=name).exclude(pk=self.instance.pk)
        if not name.isprintable():
            raise forms.ValidationError(_("A name has printable characters only."))
        if same.exists():
            raise forms.ValidationError(_("There is another schedule of this name."))
        return name

    def clean_queue(self) -> str:
        queue: str = self.cleaned_data["queue"]
        try:
            return queue and queue_name(queue, _("The name of a queue"))
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def clean_args(self) -> list[Any]:
        return self._clean_json("args", list, _("Write a list, such as [1, 2]."))

    def clean_kwargs(self) -> dict[str, Any]:
        return self._clean_json("kwargs", dict, _('Write an object, such as {"name": 1}.'))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        self.times = None
        if not {"cron", "zone", "every"} & self.errors.keys():
            self.times = self._clean_times(data)
        if self.times and not self.errors:
            data |= columns_of(self.times)
            self._check_job(data)
        return data

    def _clean_json(self, name: str, kind: type, sentence: str) -> Any:
        value = self.cleaned_data[name]
        if value is None:
            return kind()
        if not isinstance(value, kind):
            raise forms.ValidationError(sentence)
        return value

    def _clean_times(self, data: dict[str, Any]) -> Times | None:
        expression, interval = data["cron"].strip(), data["every"]
        if bool(expression) == (interval is not None):
            self.add_error("cron", _("Write either a cron expression or an interval."))
            return None
        try:
            return cron(expression, zone=data["zone"] or None) if expression else every(interval)
        except WRONG as error:
            name = "every" if not expression else "zone" if "time zone" in str(error) else "cron"
            self.add_error(name, str(error))
            return None

    def _check_job(self, data: dict[str, Any]) -> None:
        """Refuse arguments that do not fit the job, or cannot be stored."""
        try:
            data["arguments"] = arguments.to_json(arguments.encode_call(data["args"], data["kwargs"]))
            columns = ("job", "cron", "zone", "every", "arguments", "queue", "priority")
            row = Schedule(**{column: data[column] for column in columns})
            definition_of(row).make_job().dump()
        except WRONG as error:
            self.add_error("args", str(error))


def _arguments_in(row: Schedule) -> tuple[Any, Any]:
    if row.arguments:
        with suppress(DelayedError):
            return arguments.decode_call(arguments.from_json(row.arguments))
    return [], {}
