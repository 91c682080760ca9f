"""https://procrastinate.readthedocs.io/en/stable/howto/django/configuration.html"""

from .common import *  # noqa: F403
from .common import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "procrastinate.contrib.django"]
PROCRASTINATE_IMPORT_PATHS = ["benchmarks.families.procrastinate_app"]
