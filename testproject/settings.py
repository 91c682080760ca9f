"""One settings module for the demo, the tests and CI. What differs between them comes from the environment:

DATABASE          sqlite (the default), postgresql or mariadb
DATABASE_NAME     the database in it; a file name on SQLite
SQLITE_DEFAULTS   1: SQLite as Django sets it up by itself, without the options below
PGHOST, PGPORT, PGUSER, PGPASSWORD, MYSQL_HOST, MYSQL_TCP_PORT, MYSQL_USER, MYSQL_PWD
EMAIL_HOST, EMAIL_PORT
DEBUG             0 or 1
LOG_LEVEL         of django_delayed and the shop
"""

from os import environ, getpid
from pathlib import Path

import django
from django_delayed import cron

BASE_DIR = Path(__file__).resolve().parent
DEBUG = environ.get("DEBUG", "1") == "1"
SECRET_KEY = "the-demo-has-no-secrets-of-its-own-and-is-not-for-the-internet"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ROOT_URLCONF = "urls"
WSGI_APPLICATION = "wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rangefilter",
    "django_delayed",
    "shop",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
# Not on the class: the tests have settings of their own, and this schedule must not add jobs to theirs.
DJANGO_DELAYED = {
    "RECURRING": {
        "digest": {"job": "shop.jobs:SendDigestJob", "schedule": cron("0 7 * * *"), "queue": "mail"}
    }
}
# Without names in QUEUES, a task may have any queue.
TASKS = {"default": {"BACKEND": "django_delayed.tasks.DelayedBackend", "QUEUES": []}}
if django.VERSION < (6, 0):
    INSTALLED_APPS.append("django_tasks")

CONTEXT_PROCESSORS = [
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
]

if django.VERSION >= (6, 0):
    from django.utils.csp import CSP

    MIDDLEWARE.insert(1, "django.middleware.csp.ContentSecurityPolicyMiddleware")
    CONTEXT_PROCESSORS.append("django.template.context_processors.csp")
    SECURE_CSP = {
        "default-src": [CSP.SELF],
        "script-src": [CSP.SELF, CSP.NONCE],
        "style-src": [CSP.SELF, CSP.NONCE],
        "img-src": [CSP.SELF, "data:"],
        "object-src": [CSP.NONE],
        "base-uri": [CSP.NONE],
        "form-action": [CSP.SELF],
        "frame-ancestors": [CSP.NONE],
    }

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": CONTEXT_PROCESSORS},
    }
]


def sqlite():
    path = BASE_DIR / environ.get("DATABASE_NAME", "db.sqlite3")
    options = {
        # A transaction that begins as a reader cannot always become a writer, however long it waits.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
    }
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {} if environ.get("SQLITE_DEFAULTS") == "1" else options,
        # A file, as the tests start workers in processes of their own; each run of the tests has another one.
        "TEST": {"NAME": path.with_name(f"test_{getpid()}_{path.name}")},
    }


def postgresql():
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": environ.get("DATABASE_NAME", "django_delayed"),
        "HOST": environ.get("PGHOST", "127.0.0.1"),
        "PORT": environ.get("PGPORT", "5432"),
        "USER": environ.get("PGUSER", "postgres"),
        "PASSWORD": environ.get("PGPASSWORD", ""),
    }


def mariadb():
    return {
        "ENGINE": "django.db.backends.mysql",
        "NAME": environ.get("DATABASE_NAME", "django_delayed"),
        "HOST": environ.get("MYSQL_HOST", "127.0.0.1"),
        "PORT": environ.get("MYSQL_TCP_PORT", "3306"),
        "USER": environ.get("MYSQL_USER", "root"),
        "PASSWORD": environ.get("MYSQL_PWD", ""),
        "TEST": {"CHARSET": "utf8mb4"},
    }


database = {"sqlite": sqlite, "postgresql": postgresql, "mariadb": mariadb}[environ.get("DATABASE", "sqlite")]
DATABASES = {"default": database()}

SMTP = {"host": environ.get("EMAIL_HOST", "127.0.0.1"), "port": int(environ.get("EMAIL_PORT", "1025"))}
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend", "OPTIONS": SMTP}}
else:
    EMAIL_HOST, EMAIL_PORT = SMTP["host"], SMTP["port"]

LANGUAGE_CODE = "en"
USE_TZ = True
TIME_ZONE = "Europe/Paris"

STATIC_URL = "static/"
MEDIA_URL = "media/"
MEDIA_ROOT = BASE_DIR / "media"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "django_delayed": {"handlers": ["console"], "level": environ.get("LOG_LEVEL", "INFO")},
        "shop": {"handlers": ["console"], "level": environ.get("LOG_LEVEL", "INFO")},
    },
}
