"""The former module of code that has moved. It only imports that code."""

import os.path  # noqa: F401 - for rows that name it here
from datetime import timedelta  # noqa: F401
from os import system  # noqa: F401

from . import jobs  # noqa: F401
from .jobs import Cleaner, Mood, NoticeMailer, Plain, resize  # noqa: F401
from .jobs import CleanUpJob as SweepJob  # noqa: F401
from .models import Article  # noqa: F401


def imitate(function):
    """A decorator that claims to be the function that it decorates."""

    def imitation(*args, **kwargs):
        raise AssertionError("not the function that was meant")

    imitation.__module__, imitation.__qualname__ = function.__module__, function.__qualname__
    return imitation


shrink = imitate(resize)
