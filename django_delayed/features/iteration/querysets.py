"""The rows that a job iterates over: which querysets it may take, and their next rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.db.models.query import ModelIterable

M = TypeVar("M", bound=Model)


def check_queryset(queryset: Any) -> None:
    """Raise TypeError or ValueError for what cannot be read in the order of its primary key."""
    if not isinstance(queryset, QuerySet):
        kind = type(queryset).__name__
        raise TypeError(f"iterate() takes a queryset, such as Product.objects.all(), not {kind}.")
    if found := next((why for is_so, why in _refusals(queryset) if is_so), None):
        raise ValueError(f"iterate() goes through a queryset in the order of its primary key: {found}.")


def _refusals(queryset: QuerySet[Any]) -> Iterator[tuple[bool, str]]:
    """What may be wrong, with what the others depend on first: whether it is so, and what to do."""
    query: Any = queryset.query
    key = queryset.model._meta.pk
    by_key = [(), ("pk",), (key.name,), (key.attname,)]
    # What values(), values_list() and dates() leave; that of the clones is set later.
    gives_instances = getattr(queryset, "_fields", None) is None and issubclass(
        getattr(queryset, "_iterable_class", ModelIterable), ModelIterable
    )
    yield bool(query.combinator), "the queryset cannot be a union(), intersection() or difference()"
    yield query.is_sliced, "leave the slice out, and end the loop with break"
    yield not gives_instances, "it has to give instances; leave values(), values_list() or dates() out"
    is_ordered = query.order_by not in by_key or query.extra_order_by or not query.standard_ordering
    yield bool(is_ordered), "leave order_by() and reverse() out"
    yield bool(query.distinct_fields), "leave the fields of distinct() out"
    yield (
        query.select_for_update,
        "leave select_for_update() out, and lock the rows again in the transaction that changes them",
    )


def rows_after(queryset: QuerySet[M], after: Any, most: int) -> list[M]:
    """The next rows behind this primary key, in its order; for None, the first ones."""
    rows = queryset.order_by("pk")
    if after is not None:
        rows = rows.filter(pk__gt=after)
    return list(rows[:most])
