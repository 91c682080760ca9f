"""Rows by their ids, without those that Python cannot read: an UPDATE by hand may write such values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.utils.translation import ngettext

from ..claiming import UNREADABLE
from ..models import DelayedJob

LARGEST_ID = 2**63 - 1


def id_in(text: str) -> int | None:
    """The id in the text; None for what cannot be the id of a row."""
    is_short = text.isdecimal() and len(text) <= len(str(LARGEST_ID))
    return int(text) if is_short and int(text) <= LARGEST_ID else None


def read_rows(rows: Any, ids: Sequence[int]) -> tuple[list[DelayedJob], list[int]]:
    """The rows that have these ids, in the order of the ids, and the ids of the unreadable ones."""
    rows = rows.order_by()
    try:
        found = {row.pk: row for row in rows.filter(pk__in=ids)}
    except UNREADABLE:
        found = dict(_one_by_one(rows, ids))
    unreadable = [pk for pk in ids if found.get(pk, pk) is None]
    return [row for pk in ids if (row := found.get(pk))], unreadable


def unreadable_text(ids: Sequence[int]) -> str:
    """What an operator is told about these rows."""
    text = ngettext(
        "The delayed job %(ids)s has a value that cannot be read, and is not shown."
        " DelayedJob.objects.set_aside([%(ids)s]) makes it a failed job that can be shown.",
        "The delayed jobs %(ids)s have values that cannot be read, and are not shown."
        " DelayedJob.objects.set_aside([%(ids)s]) makes them failed jobs that can be shown.",
        len(ids),
    )
    return text % {"ids": ", ".join(map(str, ids))}


def _one_by_one(rows: Any, ids: Sequence[int]) -> Iterator[tuple[int, DelayedJob | None]]:
    for pk in ids:
        try:
            for row in rows.filter(pk=pk):
                yield pk, row
        except UNREADABLE:
            yield pk, None
