"""The page on which users see the progress of their own job; the same address gives it as JSON."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.core.signing import BadSignature
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ...models import DelayedJob, all_rows
from .shown import show, show_gone
from .tokens import TokenExpired, row_id_in, sign

# The columns that tell the state: a script asks every two seconds, and a payload may be large.
COLUMNS = ("run_at", "attempts", "locked_at", "failed_at", "finished_at", "error_fingerprint")


def progress_url(row: DelayedJob, max_age: timedelta | float | None = None) -> str:
    """The path of the page with the progress of this row's job, for whoever is to see it.

    It is valid for `max_age`, a timedelta or seconds; without that, as long as the row is there. Raises
    TypeError or ValueError for what is no saved row or no duration, and ImproperlyConfigured if the project
    does not include our urls.
    """
    if not isinstance(row, DelayedJob):
        raise TypeError(f"Progress is shown for a DelayedJob, not for {row!r}.")
    if row.pk is None:
        raise ValueError(f"{row} has no row yet, or never gets one: there is no page about it.")
    token = sign(row.pk, max_age)
    try:
        return reverse("django_delayed:progress", args=[token])
    except NoReverseMatch as error:
        raise ImproperlyConfigured(
            'The page of progress has no address: add path("jobs/", include("django_delayed.urls")) to the'
            " urlpatterns of the project."
        ) from error


def progress_context(row: DelayedJob, max_age: timedelta | float | None = None) -> dict[str, Any]:
    """What the template of a job's progress needs. A job that has no row yet has no page to look at."""
    url = "" if isinstance(row, DelayedJob) and row.pk is None else progress_url(row, max_age)
    return {"shown": show(row, row.progress), "url": url}


@require_safe
@never_cache
def progress_page(request: HttpRequest, token: str) -> HttpResponse:
    """The progress of the job that the token is for; as JSON if the request prefers that by Accept."""
    row = _row_of(token)
    shown, status = (show_gone(), 410) if row is None else (show(row, row.progress), 200)
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        response: HttpResponse = JsonResponse(asdict(shown), status=status)
    else:
        context = {"shown": shown, "url": request.path}
        response = render(request, "django_delayed/progress_page.html", context, status=status)
    patch_vary_headers(response, ["Accept"])
    return response


def _row_of(token: str) -> DelayedJob | None:
    try:
        row_id = row_id_in(token)
    except BadSignature as error:
        raise Http404 from error
    except TokenExpired as error:
        raise PermissionDenied(_("This address is not valid any more.")) from error
    return all_rows().only(*COLUMNS).filter(pk=row_id).first()
