"""A project with this app alone: the database of `DATABASE`, under the name `DATABASE_NAME`."""

from datetime import timedelta

import django

from settings import DATABASES

__all__ = ["DATABASES"]

SECRET_KEY = "a-project-of-the-tests-has-no-secrets-of-its-own-at-all"
INSTALLED_APPS = ["django.contrib.contenttypes", "rangefilter", "django_delayed", "tests.upgrade"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TASKS = {"default": {"BACKEND": "django_delayed.tasks.DelayedBackend"}}
DJANGO_DELAYED = {"RESULT_TTL": timedelta(days=36500)}
if django.VERSION < (6, 0):
    INSTALLED_APPS += ["django_tasks"]
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
else:
    EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
LOGGING = {"version": 1, "loggers": {"django_delayed": {"level": "CRITICAL"}}}
