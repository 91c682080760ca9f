"""A project with a theme of the admin. It requests each of our pages, and presses their buttons.

Run by the tests as a program, in an environment that has the theme:  python tests/admin/themed.py unfold
"""

import json
import re
import sys
from datetime import timedelta

import django
from django.conf import settings

CONTEXT = ["request", "auth", "messages"]
PLACES = {"request": "template", "auth": "contrib.auth", "messages": "contrib.messages"}
CONTRIB = ["admin", "auth", "contenttypes", "sessions", "messages", "staticfiles"]
settings.configure(
    SECRET_KEY="of a test",
    ALLOWED_HOSTS=["testserver"],
    ROOT_URLCONF=__name__,
    STATIC_URL="static/",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        sys.argv[1],
        *(f"django.contrib.{name}" for name in CONTRIB),
        "rangefilter",
        "django_delayed",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [f"django.{PLACES[name]}.context_processors.{name}" for name in CONTEXT]
            },
        }
    ],
)
django.setup()

from django.contrib import admin  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import setup_test_environment  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402
from django_delayed.models import (  # noqa: E402
    DelayedJob,
    FailureGroup,
    JobStat,
    PausedQueue,
    Schedule,
    WorkerProcess,
)
from django_delayed.states import State  # noqa: E402

urlpatterns = [path("admin/", admin.site.urls)]
OURS = "/admin/django_delayed/"
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')


def write_rows():
    now = timezone.now()
    error = {"error_class": "KeyError", "error_message": "'vat_id'", "last_error": "KeyError: 'vat_id'"}
    given = {"name": "Order.remind", "queue": "mail", "run_at": now, "created_at": now}
    given["payload"] = json.dumps({"v": 1, "job": "shop.jobs:Remind", "args": [], "kwargs": {}})
    failed = {"attempts": 25, "failed_at": now, "error_fingerprint": "c1", **error}
    DelayedJob.objects.create(**given)
    row = DelayedJob.objects.create(**given, **failed)
    FailureGroup.objects.create(fingerprint="c1", first_seen_at=now)
    WorkerProcess.objects.create(id="w" * 32, hostname="web-1", pid=7, started_at=now, heartbeat_at=now)
    minute = now - timedelta(minutes=5)
    JobStat.objects.create(id=1, minute=minute, processed=9, failed=2, waited=1.0, ran=1.0, longest=1.0)
    Schedule.objects.create(name="clean", job="shop.jobs:Clean", cron="0 3 * * *", since=0)
    return row


def pages(row):
    """The addresses of the pages, with a text that each has to contain."""
    of_job, of_cause = f"{OURS}delayedjob/{row.pk}/", f"{OURS}failuregroup/"
    return {
        "/admin/": "Overview: 1 failed",
        f"{OURS}pausedqueue/": "Live updates",
        f"{OURS}delayedjob/": "Order.remind",
        f"{OURS}delayedjob/?state=failed": "vat_id",
        f"{of_job}change/": "The job as JSON",
        f"{of_job}retry/": "Retry 1 job",
        of_cause: "Retry one",
        f"{of_cause}cause/?cause=c1": "Newest error",
        f"{of_cause}retry/?cause=c1": "Retry 1 job",
        f"{OURS}workerprocess/": "web-1:7",
        f"{OURS}schedule/": "clean",
        f"{OURS}schedule/{Schedule.objects.get().pk}/change/": "Show the next times",
    }


def look_at(browser, row):
    for address, words in pages(row).items():
        response = browser.get(address)
        assert response.status_code == 200, (address, response.status_code)
        assert words in response.text, (address, words)
        if address != "/admin/":
            missing = [name for name in ("admin.css", "messages.js") if name not in response.text]
            assert missing == [], (address, missing)


def press(browser, address, form, **more):
    """Send the form of this page that contains this text, as a browser does."""
    text = browser.get(address).text
    [found] = [each for each in re.findall(r"<form.*?</form>", text, re.DOTALL) if form in each]
    to = re.search(r'<form[^>]* action="([^"]*)"', found)
    return browser.post(to[1].replace("&amp;", "&") if to else address, dict(HIDDEN.findall(found)) | more)


def main():
    setup_test_environment()
    call_command("migrate", verbosity=0)
    row = write_rows()
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(User.objects.create_superuser("operator"))
    look_at(browser, row)
    press(browser, f"{OURS}pausedqueue/", "Pause")
    assert PausedQueue.objects.get().queue == "mail"
    press(browser, f"{OURS}pausedqueue/", "Resume")
    assert not PausedQueue.objects.exists()
    press(browser, f"{OURS}delayedjob/{row.pk}/retry/", "Retry 1 job")
    row.refresh_from_db()
    assert row.state == State.ENQUEUED, row.state
    chosen = {"action": "discard", "_selected_action": row.pk}
    response = press(browser, f"{OURS}delayedjob/", 'value="discard"', **chosen)
    assert "Discard 1 job" in response.text
    print(f"Django {django.get_version()}: all is well")


if __name__ == "__main__":
    main()
