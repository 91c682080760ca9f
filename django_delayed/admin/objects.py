"""The links between the page of an object and the delayed jobs about it, in both directions."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from django.apps import apps
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch
from django.utils.html import format_html

from ..models import DelayedJob
from ..serialization.records import about_of
from .readonly import address, may_view

# Adds to a block of the object's page, whichever template that page has.
TEMPLATE = "admin/django_delayed/with_jobs.html"


class DelayedJobsMixin:
    """For a ModelAdmin, left of it: the page of an object links to the delayed jobs about that object.

    The link costs no statement, and the list finds the jobs by an index. Users who may not view delayed jobs
    see no link.
    """

    admin_site: AdminSite

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        order = cls.__mro__
        if ModelAdmin in order and order.index(ModelAdmin) < order.index(DelayedJobsMixin):
            raise TypeError(
                f"{cls.__name__} has DelayedJobsMixin right of ModelAdmin, where it does nothing. Write"
                f" class {cls.__name__}(DelayedJobsMixin, ModelAdmin)."
            )

    def render_change_form(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        """As Django's, with the link."""
        response: HttpResponse = super().render_change_form(request, *args, **options)  # type: ignore[misc]
        if isinstance(response, TemplateResponse) and response.context_data is not None:
            context = response.context_data
            if found := jobs_address(self.admin_site, request, context.get("original")):
                page: Any = response.resolve_template(response.template_name)
                context |= {"page_of_object": page, "delayed_jobs": found, "of_jobs": DelayedJob._meta}
                response.template_name = TEMPLATE
        return response


def jobs_address(site: AdminSite, request: HttpRequest, instance: Model | None) -> str | None:
    """The address of the list of jobs about this object; None without one, or if this user may not see it."""
    if not (about := about_of(instance)) or not may_view(site, DelayedJob, request):
        return None
    return f"{address(site, DelayedJob, 'changelist')}?{urlencode({SEARCH_VAR: about})}"


def object_link(site: AdminSite, request: HttpRequest, about: str) -> str:
    """The object "blog.post:9" as a link to its page in the admin; as a text if this user may not see it."""
    label, _, key = about.partition(":")
    with suppress(LookupError, ValueError, NoReverseMatch):
        model = apps.get_model(label)
        if may_view(site, model, request):
            return format_html('<a href="{}">{}</a>', address(site, model, "change", quote(key)), about)
    return about
