"""https://huey.readthedocs.io/en/latest/django.html, on SQLite: one worker thread by default."""

import sqlite3

from huey import SqliteHuey

from .common import *  # noqa: F403
from .common import DATABASES, INSTALLED_APPS


class NormalConnection(sqlite3.Connection):
    """As durable as the other contenders: huey itself leaves synchronous at FULL, or turns it off."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA synchronous = NORMAL")


INSTALLED_APPS = [*INSTALLED_APPS, "huey.contrib.djhuey", "benchmarks.families.huey_app"]
HUEY = SqliteHuey("bench", filename=f"{DATABASES['default']['NAME']}.huey", factory=NormalConnection)
