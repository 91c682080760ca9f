"""Providers of CONTEXT: objects of every kind that has the two functions."""

from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

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
    """An instance; what it captures is a record, for which it says in whose request it was fetched."""

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
