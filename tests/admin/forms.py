"""What a browser sends of the form by which a waiting job is changed."""

from django_delayed.admin.adjusting import AdjustForm


def form_of(row, **changed):
    """The form of this job as it is shown, but for these fields."""
    row.refresh_from_db()
    form = AdjustForm(row)
    return {field.name: form[field.name].value() for field in form} | {
        "run_at": form["run_at"].value().isoformat(),
        **changed,
    }
