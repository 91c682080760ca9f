"""What the pages of the admin say, and what a browser sends of the forms in them."""

import re

from django.contrib.messages import get_messages
from django_delayed.admin.adjusting import AdjustForm


def said(response):
    """The messages."""
    return [str(message) for message in get_messages(response.wsgi_request)]


def hidden_fields(response):
    """What the form of a confirmation page sends."""
    fields = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', response.text):
        fields.setdefault(name, []).append(value)
    return fields


def form_of(row, **changed):
    """The form by which this waiting job is changed, as it is shown, but for these fields."""
    row.refresh_from_db()
    form = AdjustForm(row)
    return {field.name: form[field.name].value() for field in form} | {
        "run_at": form["run_at"].value().isoformat(),
        **changed,
    }
