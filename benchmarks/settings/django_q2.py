"""https://django-q2.readthedocs.io/en/master/configure.html#orm-configuration, with one worker process."""

from .common import *  # noqa: F403
from .common import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "django_q"]
# The page asks for a retry that is longer than the timeout.
Q_CLUSTER = {"name": "bench", "orm": "default", "workers": 1, "timeout": 60, "retry": 120}
