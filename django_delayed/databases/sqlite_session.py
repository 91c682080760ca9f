"""A session of SQLite that jobs use one after the other, as long as none has set anything on it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

# Parts of statements that set something on their session.
SETTING = frozenset({sqlite3.SQLITE_PRAGMA, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH})
# Methods that set something on their session.
SETTERS = (
    *("create_function", "create_aggregate", "create_window_function", "create_collation"),
    *("set_authorizer", "set_progress_handler", "set_trace_callback"),
    *("enable_load_extension", "load_extension", "setlimit", "setconfig", "deserialize"),
)


class WatchedSession(sqlite3.Connection):
    """A session that notes whether anything was set on it: SQLite has no statement that undoes that.

    Opening one for each job takes about a millisecond, mostly to read the schema again.
    """

    def watch(self) -> None:
        """Note what is set from now on."""
        self._was_set = False
        # It is called for each part of a statement, and not at all for a statement that was prepared before.
        super().set_authorizer(self._note)

    def _note(self, action: int, first: str | None, second: str | None, schema: str | None, _: object) -> int:
        if action in SETTING or schema == "temp":
            self._was_set = True
        return sqlite3.SQLITE_OK

    @property
    def has_changed(self) -> bool:
        """Whether something was set that the next job would find."""
        rows = (self.row_factory, self.text_factory, self.isolation_level)
        return self._was_set or rows != (None, str, None)


def _noted(name: str) -> Callable[..., Any]:
    def method(self: WatchedSession, *args: Any, **kwargs: Any) -> Any:
        self._was_set = True
        return getattr(super(WatchedSession, self), name)(*args, **kwargs)

    return method


for _name in SETTERS:
    if hasattr(sqlite3.Connection, _name):
        setattr(WatchedSession, _name, _noted(_name))
