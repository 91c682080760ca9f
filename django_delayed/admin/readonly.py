"""The bases of the other admins: for rows of the queue's database, and for rows that are not edited."""

from __future__ import annotations

from typing import Any

import django
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db.models import Model, QuerySet
from django.forms.widgets import Script
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import capfirst

from ..conf import settings
from .reading import id_in

# Before the name of a page that is about one row.
OF_ONE = "<path:object_id>/"


def may_view(site: admin.AdminSite, model: type[Any], request: HttpRequest) -> bool:
    """Whether this site has the model, and this user may view its rows there."""
    return site.is_registered(model) and bool(site.get_model_admin(model).has_view_permission(request))


def address(site: admin.AdminSite, model: type[Model], page: str, *args: Any) -> str:
    """The address of a page about this model on this site, such as "changelist"."""
    return reverse(f"{site.name}:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


class QueueAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows rows of the queue's database."""

    class Media:
        css = {"all": ["django_delayed/admin.css"]}
        js = [Script("django_delayed/messages.js", type="module")]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        # Django's title asks the user to select a row.
        title = {"title": capfirst(self.opts.verbose_name_plural)}
        return super().changelist_view(request, title | (extra_context or {}))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(settings.DATABASE)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # Otherwise every column is a filter, also one without an index, or one that not everybody may read.
        return False

    def response_action(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse | None:
        # Django would query for such an id, which ends in a server error.
        if not all(map(self.could_be_id, request.POST.getlist(ACTION_CHECKBOX_NAME))):
            raise SuspiciousOperation("A chosen row has an id that no row can have.")
        return super().response_action(request, *args, **options)

    def could_be_id(self, text: str) -> bool:
        """Whether a row can have this id."""
        return id_in(text) is not None

    def has(self, request: HttpRequest, permission: str) -> bool:
        """Whether this user has this permission on the rows, such as "retry"."""
        codename = get_permission_codename(permission, self.opts)
        return bool(request.user.has_perm(f"{self.opts.app_label}.{codename}"))

    def url(self, request: HttpRequest, page: str, *args: Any) -> str:
        """The address of a page of this admin."""
        return address(self.admin_site, self.model, page, *args)

    def url_of(self, name: str, view: Any, before: str = "") -> URLPattern:
        """A page of this admin, for `get_urls`; `before` comes before its name in the address."""
        full_name = f"{self.opts.app_label}_{self.opts.model_name}_{name}"
        return path(f"{before}{name}/", self.admin_site.admin_view(view), name=full_name)

    def for_viewers(self, view: Any) -> Any:
        """Wrap a view that takes this admin and a request, for users who may view its rows."""

        def refuse_others(request: HttpRequest, **options: Any) -> Any:
            if not self.has_view_permission(request):
                raise PermissionDenied
            return view(self, request, **options)

        return refuse_others

    def page_context(self, request: HttpRequest) -> dict[str, Any]:
        """What the template of a page needs."""
        request.current_app = self.admin_site.name
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            # The style sheet expects a list from Django 6.1 on.
            "breadcrumbs_are_a_list": django.VERSION >= (6, 1),
        }


class ReadOnlyAdmin(QueueAdmin):
    """Shows rows that are not added, edited or deleted here."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
