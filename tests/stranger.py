"""In no installed app: no row may have it imported."""

import sys

sys.stranger_was_imported = True


def greet():
    pass


class Stranger:
    @classmethod
    def hello(cls):
        """Say it."""
