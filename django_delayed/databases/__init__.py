"""What each database does its own way: its clock, its lanes, its claim, its INSERT, its conflicts."""

from .base import Database, in_callers_transaction
from .clock import DatabaseNow, VirtualTime, aware, database_now, virtual_time
from .inserting import check_sizes, insert, split
from .lanes import LANES_INDEX, Claim, Filters, Lane, Removal, is_named
from .locking import lock_rows, remove_locked, upsert
from .parts import parts
from .schema import missing_parts, unapplied_migrations
from .transactions import beside_transaction, open_transactions, when_committed
from .vendors import VENDORS, database
from .watches import Watch

__all__ = [
    "LANES_INDEX",
    "VENDORS",
    "Claim",
    "Database",
    "DatabaseNow",
    "Filters",
    "Lane",
    "Removal",
    "VirtualTime",
    "Watch",
    "aware",
    "beside_transaction",
    "check_sizes",
    "database",
    "database_now",
    "in_callers_transaction",
    "insert",
    "is_named",
    "lock_rows",
    "missing_parts",
    "open_transactions",
    "parts",
    "remove_locked",
    "split",
    "unapplied_migrations",
    "upsert",
    "virtual_time",
    "when_committed",
]
