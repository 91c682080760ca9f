"""A project with the app of the other queue and ours, for the processes of the tests."""

import os

import django

SECRET_KEY = "a-project-of-the-tests-has-no-secrets-of-its-own-at-all"
INSTALLED_APPS = ["django.contrib.contenttypes", "rangefilter", "django_delayed", os.environ["THEIR_APP"]]
INSTALLED_APPS += ["tests.imported"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
DJANGO_DELAYED = {"ALIASES": {"tests.imported.tasks:remind": "tests.imported.work:Remind"}}
TASKS = {
    "default": {"BACKEND": "django_delayed.tasks.DelayedBackend", "QUEUES": ["default", "mail"]},
    "theirs": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": []},
}
if django.VERSION < (6, 0):
    INSTALLED_APPS += ["django_tasks"]
