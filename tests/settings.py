"""The settings of the test project, with two apps of the tests in addition to the shop."""

from settings import *  # noqa: F403
from settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.blog", "tests.playground"]

# A row that was written by hand fails at once. Separate tests are about how long it may wait.
DJANGO_DELAYED = {"UNKNOWN_GRACE": 0}
