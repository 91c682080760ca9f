"""The settings of Django's own tests of its tasks. A task is tried once, as by the immediate backend."""

from settings import *  # noqa: F403

INSTALLED_APPS = ["rangefilter", "django_delayed"]
MIDDLEWARE, TEMPLATES, LOGGING = [], [], {}
ROOT_URLCONF = "tests.playground.urls"
DJANGO_DELAYED = {"MAX_ATTEMPTS": 1, "TRUSTED_MODULES": ["tasks"]}
