"""The failed jobs of a cause as a file of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, StreamingHttpResponse

from ..databases import parts
from ..models import all_rows
from .filters import CauseFilter
from .payloads import without_secrets
from .reading import read_rows

if TYPE_CHECKING:
    from .failure_groups import FailureGroupAdmin

MOST_JOBS = 10_000
COLUMNS = (
    *("id", "name", "about", "queue", "priority", "created_at", "run_at", "failed_at", "attempts"),
    *("max_attempts", "crashes", "error_class", "error_message", "error_fingerprint", "last_error"),
)
# A payload may be as long as a megabyte, and all payloads of a batch are in memory together.
JOBS_A_BATCH = 100


def failed_jobs(group_admin: FailureGroupAdmin, request: HttpRequest) -> StreamingHttpResponse:
    """The failed jobs of the cause in the address, those that failed last first, MOST_JOBS at most.

    Each line is a JSON object, with times in UTC. Users who may view arguments get the payload too, as a
    text in which what looks secret is masked.
    """
    rows = CauseFilter.rows_of(group_admin.rows(request), CauseFilter.fingerprint_in(request))
    ids = list(rows.order_by("-failed_at", "-id").values_list("pk", flat=True)[:MOST_JOBS])
    payload = ("payload",) if group_admin.jobs.has_view_arguments_permission(request) else ()
    return StreamingHttpResponse(
        _lines(ids, (*COLUMNS, *payload)),
        content_type="application/x-ndjson",
        headers={"Content-Disposition": 'attachment; filename="failed_jobs.jsonl"'},
    )


def _lines(ids: Sequence[int], columns: Sequence[str]) -> Iterator[bytes]:
    for some in parts(ids, JOBS_A_BATCH):
        rows, unreadable = read_rows(all_rows().only(*columns), some)
        for row in rows:
            values = {name: _plain(getattr(row, name)) for name in columns}
            yield _line(values | ({"payload": without_secrets(row.payload)} if "payload" in values else {}))
        for pk in unreadable:
            yield _line({"id": pk, "unreadable": True})


def _line(values: dict[str, Any]) -> bytes:
    return f"{json.dumps(values)}\n".encode()


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
