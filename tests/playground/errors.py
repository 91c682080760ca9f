"""Errors that cannot be stored as they are, and the job that raises one of them."""

import os
import sys

from django.db import connection, transaction
from django.db.utils import DatabaseError
from django_delayed import Job

LONG = 3_000_000  # characters; a hundred times as many in the long form


class Unreadable(Exception):
    def __str__(self):
        raise RuntimeError("no message")


class Looping(Exception):
    def __repr__(self):
        return repr(self)

    __str__ = __repr__


def raise_error(error):
    raise error


def in_a_broken_transaction():
    with transaction.atomic():
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT nothing FROM nowhere")
        except DatabaseError:
            raise ValueError("odd: after an error of the database") from None


def without_a_connection():
    connection.ensure_connection()
    connection.connection.close()
    raise ValueError("odd: the connection is dead")


def of_many_causes():
    error = None
    for number in range(10_000):
        link = ValueError(f"odd: cause {number}")
        link.__cause__ = error
        error = link
    raise error


def of_a_class_with_a_long_name():
    raise type("Odd" * 1000, (Exception,), {})("odd: a long name")


# By name: a function that raises the error, given a factor for its length; and a text that the row must have.
ERRORS = {
    "NUL": (lambda _: raise_error(ValueError("odd: \0 in it")), "odd: \N{REPLACEMENT CHARACTER} in it"),
    "a lone surrogate": (lambda _: raise_error(ValueError("odd: \ud800 in it")), "odd: "),
    "a long message": (lambda factor: raise_error(ValueError("odd: " + "x" * LONG * factor)), "odd: xxx"),
    "no message": (lambda _: raise_error(Unreadable()), "its message could not be read: RuntimeError"),
    "a loop": (lambda _: raise_error(Looping()), "its message could not be read: RecursionError"),
    "many causes": (lambda _: of_many_causes(), "odd: cause 9999"),
    "many members": (
        lambda _: raise_error(ExceptionGroup("odd: many", [ValueError(str(n)) for n in range(10_000)])),
        "odd: many",
    ),
    "a file name of bytes": (lambda _: os.stat(os.fsdecode(b"/odd/\xff")), "No such file or directory"),
    "a broken transaction": (lambda _: in_a_broken_transaction(), "odd: after an error of the database"),
    "a dead connection": (lambda _: without_a_connection(), "odd: the connection is dead"),
    "a character of four bytes": (lambda _: raise_error(ValueError("odd: \N{PILE OF POO}")), "odd: "),
    "a terminal's commands": (lambda _: raise_error(ValueError("odd: \x1b[2J\r")), "odd: "),
    "a long class": (lambda _: of_a_class_with_a_long_name(), "odd: a long name"),
    "an exit": (lambda _: sys.exit("odd: gone"), "odd: gone"),
}


class Odd(Job):
    """Raises the error with this name."""

    max_attempts = 1

    def perform(self, name, factor=1):
        raiser, _ = ERRORS[name]
        raiser(factor)
