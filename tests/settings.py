"""The test project's settings, with two apps of the tests' own beside the shop."""

from settings import *  # noqa: F403
from settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.blog", "tests.playground"]

# A row that was written by hand fails at once. How long it may wait has tests of its own.
DJANGO_DELAYED = {"UNKNOWN_GRACE": 0}
