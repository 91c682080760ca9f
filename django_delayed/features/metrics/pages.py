"""The pages with the numbers of the queue, for whoever has the token of the setting METRICS_TOKEN."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps

from django.contrib.auth.decorators import login_not_required
from django.db import Error as DatabaseError
from django.db.transaction import non_atomic_requests
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ...conf import settings
from ...stats import Snapshot, snapshot
from .exposition import CONTENT_TYPE, text_of
from .gauges import gauges

logger = logging.getLogger("django_delayed")


def for_the_token(page: Callable[[Snapshot], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """The view that shows this page to whoever has the token. Without the setting, there is no page."""

    # No transaction, as the page also works without the database; no login, as its reader has a token.
    @non_atomic_requests
    @login_not_required
    @never_cache
    @require_safe
    @wraps(page)
    def view(request: HttpRequest) -> HttpResponse:
        if settings.METRICS_TOKEN is None:
            raise Http404("The setting METRICS_TOKEN has no value.")
        if not _has(request, settings.METRICS_TOKEN):
            return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
        try:
            return page(snapshot())
        except DatabaseError as error:
            logger.warning("The numbers of the queue cannot be read: %s", error)
            return HttpResponse("The queue cannot be read.\n", status=503, content_type="text/plain")

    return view


@for_the_token
def metrics(numbers: Snapshot) -> HttpResponse:
    """The numbers as Prometheus reads them."""
    return HttpResponse(text_of(gauges(numbers)), content_type=CONTENT_TYPE)


@for_the_token
def metrics_json(numbers: Snapshot) -> HttpResponse:
    """The numbers as JSON."""
    return JsonResponse(numbers.as_json())


def _has(request: HttpRequest, token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and constant_time_compare(given.strip(), token)
