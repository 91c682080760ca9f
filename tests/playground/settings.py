"""The settings of the processes that tests start: they start quickly, and have no LOGGING of their own.

DELAYED    DJANGO_DELAYED, as JSON; UNKNOWN_GRACE is 0 unless it says otherwise
RECURRING  the setting of this name, as JSON, each schedule as the seconds of an interval
LOGGING    the setting, as JSON
LANGUAGE   the LANGUAGE_CODE
APPS       more of INSTALLED_APPS
TASKS      more of the entry in TASKS, as JSON
"""

import json
from os import environ

from django_delayed import every

from settings import *  # noqa: F403
from settings import DATABASES, TASKS
from settings import INSTALLED_APPS as OF_THE_SHOP

INSTALLED_APPS = ["rangefilter", "django_delayed", "tests.playground", *environ.get("APPS", "").split()]
INSTALLED_APPS += {"django_tasks"} & {*OF_THE_SHOP}
TASKS["default"] |= json.loads(environ.get("TASKS", "{}"))
MIDDLEWARE = []
TEMPLATES = []
ROOT_URLCONF = "tests.playground.urls"
LOGGING = json.loads(environ.get("LOGGING", "{}"))
LANGUAGE_CODE = environ.get("LANGUAGE", "en")
DJANGO_DELAYED = {"UNKNOWN_GRACE": 0, **json.loads(environ.get("DELAYED", "{}"))}
DJANGO_DELAYED["RECURRING"] = {
    name: entry | {"schedule": every(entry["schedule"])}
    for name, entry in json.loads(environ.get("RECURRING", "{}")).items()
}
DATABASES["default"]["OPTIONS"] = DATABASES["default"].get("OPTIONS", {}) | json.loads(
    environ.get("DATABASE_OPTIONS", "{}")
)
