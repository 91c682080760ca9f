"""Read the messages and the forms of the pages of the admin."""

import re

from django.contrib.messages import get_messages
from django_delayed.admin.adjusting import AdjustForm


def said(response):
    """The messages of a response."""
    return [str(message) for message in get_messages(response.wsgi_request)]


def hidden_fields(response):
    """The hidden fields that the form of a confirmation page sends."""
    fields = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', response.text):
        fields.setdefault(name, []).append(value)
    return fields


def form_of(row, **changed):
    """The data of the form that adjusts this waiting job, as it is shown, with these fields changed."""
    row.refresh_from_db()
    form = AdjustForm(row)
    return {field.name: form[field.name].value() for field in form} | {
        "run_at": form["run_at"].value().isoformat(),
        **changed,
    }
