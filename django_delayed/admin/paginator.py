"""Pages of a table that may hold millions of rows."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.core.paginator import Paginator

LIMIT = 10_000  # rows that are counted, and paged through, at most


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Stops counting at LIMIT: to count two million rows takes seconds, and nobody turns to page 40,000."""

    @cached_property
    def count(self) -> int:
        return min(self._counted, LIMIT)

    @property
    def is_capped(self) -> bool:
        """Whether there are more rows than were counted."""
        return self._counted > LIMIT

    @cached_property
    def _counted(self) -> int:
        return capped_count(self.object_list)


def capped_count(rows: Any) -> int:
    """How many rows the query finds; LIMIT + 1 stands for all higher numbers."""
    return int(rows.order_by().values("pk")[: LIMIT + 1].count())
