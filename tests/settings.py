"""The test project's settings, with an app of the tests' own beside the shop."""

from settings import *  # noqa: F403
from settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.blog"]
