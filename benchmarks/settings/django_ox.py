"""https://oxpull.com/django-ox/configuration/"""

from .common import *  # noqa: F403
from .common import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "django_ox"]
TASKS = {"default": {"BACKEND": "django_ox.backend.OxBackend"}}
