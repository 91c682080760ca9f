"""Providers of CONTEXT: each kind of object that has the two functions."""

from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

from django.db import transaction

from . import diary

request_id = ContextVar("request_id", default=None)
editor = ContextVar("editor", default=None)


class RequestId:
    """A class with static methods."""

    @staticmethod
    def capture():
        return request_id.get()

    @staticmethod
    @contextmanager
    def restore(value):
        token = request_id.set(value)
        try:
            yield
        finally:
            request_id.reset(token)


class Editor:
    """Used as an instance. Captures a record, and notes which request id is active when it is restored."""

    def capture(self):
        return editor.get()

    @contextmanager
    def restore(self, value):
        diary.write("restored", value.title, request_id.get())
        token = editor.set(value)
        yield
        editor.reset(token)


the_editor = Editor()


class Incomplete:
    def capture(self):
        return 1


class Broken:
    @staticmethod
    def capture():
        return "broken"

    @staticmethod
    def restore(value):
        raise LookupError("nobody has this value")


class Curious:
    """Notes the error with which its block ends, and tries to swallow it."""

    seen = []

    @staticmethod
    def capture():
        return "curious"

    @staticmethod
    def restore(value):
        return Curious()

    def __enter__(self):
        pass

    def __exit__(self, kind, error, trace):
        self.seen.append(kind)
        return True


class Transaction:
    @staticmethod
    def capture():
        return "transaction"

    @staticmethod
    def restore(value):
        return transaction.atomic()


class BreaksAtItsEnd:
    @staticmethod
    def capture():
        return "value"

    @staticmethod
    @contextmanager
    def restore(value):
        yield
        raise LookupError("it cannot be left")


class Unstorable:
    @staticmethod
    def capture():
        return object()

    restore = nullcontext
