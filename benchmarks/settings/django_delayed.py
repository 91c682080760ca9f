"""The defaults. They are described in docs/settings.md."""

from .common import *  # noqa: F403
from .common import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "rangefilter", "django_delayed"]
DJANGO_DELAYED = {"TRUSTED_MODULES": ["benchmarks.families.delayed", "benchmarks.families.tasks"]}
