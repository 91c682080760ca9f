"""What each database does its own way: its clock, its lanes, its claim, its INSERT, its conflicts."""

from .base import Database, in_callers_transaction
from .clock import DatabaseNow, VirtualTime, virtual_time
from .inserting import check_sizes, insert, split
from .lanes import LANES_INDEX, Claim, Filters, Lane, is_named
from .transactions import open_transactions
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
    "VirtualTime",
    "Watch",
    "check_sizes",
    "database",
    "in_callers_transaction",
    "insert",
    "is_named",
    "open_transactions",
    "split",
    "virtual_time",
]
