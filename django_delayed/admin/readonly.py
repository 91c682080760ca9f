"""Rows that are shown and not edited."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import SuspiciousOperation
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from ..conf import settings
from .reading import id_in


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows rows of the queue's database; rows are not added, edited or deleted here."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(settings.DATABASE)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # Else every column is a filter, also one without an index, or whose text not everybody may read.
        return False

    def response_action(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse | None:
        # Django would look for such rows, which is an error of the server.
        if None in map(id_in, request.POST.getlist(ACTION_CHECKBOX_NAME)):
            raise SuspiciousOperation("A chosen row has an id that no row can have.")
        return super().response_action(request, *args, **options)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
