"""Pages of a table that may hold millions of rows."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.core.paginator import Paginator

from ..stats import MOST_COUNTED


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts and pages through MOST_COUNTED rows at most: counting two million rows takes seconds."""

    @cached_property
    def count(self) -> int:
        return min(self._counted, MOST_COUNTED)

    @property
    def is_capped(self) -> bool:
        """Whether there are more rows than were counted."""
        return self._counted > MOST_COUNTED

    @cached_property
    def _counted(self) -> int:
        return capped_count(self.object_list)


def capped_count(rows: Any) -> int:
    """How many rows the query finds; MOST_COUNTED + 1 for all higher numbers."""
    # The order is kept, if there is one: without it, PostgreSQL may scan the table instead of an index.
    return int(rows.values("pk")[: MOST_COUNTED + 1].count())
