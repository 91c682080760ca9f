"""A database for a benchmark, which is removed afterwards."""

import os
from contextlib import contextmanager

from django.db import connection


@contextmanager
def scratch_database():
    """A block with an empty database, for the processes that it starts too."""
    before = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    os.environ["DATABASE_NAME"] = str(connection.settings_dict["NAME"])
    try:
        yield
    finally:
        connection.creation.destroy_test_db(before, verbosity=0)
