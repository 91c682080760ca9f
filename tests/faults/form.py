"""The two forms of a row of the table in docs/guarantees.md, and the figures of a run.

The short form is one of the usual tests. FAULTS=long runs the long form, with the figures of the table;
`make faults` sets it.
The short form of a row about processes runs on SQLite only, its long form on each database.
"""

import json
import os
import time

import pytest
from django.db import connection

IS_LONG = os.environ.get("FAULTS") == "long"
# Seconds for one event of the long form, such as the end of all jobs.
LONG_PATIENCE = 240


def form(short, long):
    return long if IS_LONG else short


PATIENCE = form(60, LONG_PATIENCE)

about_processes = pytest.mark.skipif(
    not IS_LONG and connection.vendor != "sqlite", reason="about processes: its short form is for SQLite"
)


class Figures:
    """The figures of a run of a row: printed, and written to the file FAULTS_FIGURES as a line of JSON."""

    def __init__(self, row):
        self.row = row
        self.began = time.monotonic()

    def __call__(self, **figures):
        took = round(time.monotonic() - self.began)
        line = {"row": self.row, "database": connection.display_name, **figures, "seconds": took}
        if connection.vendor == "mysql" and connection.mysql_is_mariadb:
            line["database"] = "MariaDB"
        print(line)
        if path := os.environ.get("FAULTS_FIGURES"):
            with open(path, "a") as file:
                file.write(f"{json.dumps(line)}\n")
