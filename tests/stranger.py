"""A module outside of all installed apps: no row may cause its import."""

import sys

sys.stranger_was_imported = True


def greet():
    pass


class Stranger:
    @classmethod
    def hello(cls):
        """Say it."""
