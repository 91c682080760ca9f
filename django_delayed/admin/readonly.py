"""Rows of the queue's database in the admin, and those that are shown and not edited."""

from __future__ import annotations

from typing import Any

import django
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import get_permission_codename
from django.core.exceptions import SuspiciousOperation
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse

from ..conf import settings
from .reading import id_in


def may_view(site: admin.AdminSite, model: type[Any], request: HttpRequest) -> bool:
    """Whether this site has the model, and this user may view its rows there."""
    return site.is_registered(model) and bool(site.get_model_admin(model).has_view_permission(request))


class QueueAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows rows of the queue's database."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(settings.DATABASE)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # Else every column is a filter, also one without an index, or whose text not everybody may read.
        return False

    def response_action(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse | None:
        # Django would look for such rows, which is an error of the server.
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
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=args)

    def url_of(self, route: str, name: str, view: Any) -> URLPattern:
        """A page of this admin, for `get_urls`."""
        full_name = f"{self.opts.app_label}_{self.opts.model_name}_{name}"
        return path(route, self.admin_site.admin_view(view), name=full_name)

    def page_context(self, request: HttpRequest) -> dict[str, Any]:
        """What the template of a page needs."""
        request.current_app = self.admin_site.name
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            # Since Django 6.1, whose style sheet expects one.
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
