"""The payload of a job of every kind is the one in the stored file, and the rows of that file are worked off.

Rows wait while code is deployed, so every later version has to read what this version writes. An intended
change of a payload adds a version and keeps this file.
"""

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from django.core.mail import EmailMessage
from django.utils import timezone, translation
from django_delayed import Job, Unique, delay
from django_delayed.jobs.payloads import _tags
from django_delayed.mail import deliver_later
from django_delayed.models import DelayedJob
from tests.blog.jobs import Cleaner, CleanUpJob, Plain, resize
from tests.blog.models import Post
from tests.blog.tasks import resize as resize_task
from tests.blog.work import work_off, write

from shop.mailers import CustomerMailer
from shop.models import Customer

STORED = json.loads(Path(__file__).with_name("stored_form.json").read_text())
VALUES = [
    *(None, True, 2**1030, -7, 1.5, "ü", b"\xff", (1, [2]), {3}, frozenset({4}), {"a": {"@type": 5}}),
    *(Decimal("1.50"), UUID(int=6), timedelta(days=1, microseconds=7), date(2026, 1, 2), time(3, 4)),
    *(datetime(2026, 1, 2, 3, 4, tzinfo=UTC), Path("a/b"), Post),
]


@pytest.fixture
def post(db):
    return Post.objects.create(pk=9, title="a")


@pytest.fixture
def customer(db):
    return Customer.objects.create(pk=4, name="Ada", email="ada@example.com")


@pytest.fixture
def enqueued(post, customer):
    """The row of a job of every kind, by its name in the file."""
    task = resize_task.using(priority=5, run_after=datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    message = EmailMessage("Hello", "How are you?", "a@example.com", ["b@example.com"])
    with translation.override("en"), timezone.override("Europe/Paris"):
        return {
            "method": post.delay().send_to_twitter("hi", tag=3),
            "method that is handled asynchronously": post.bare(1),
            "method of a model class": Post.delay().rebuild(2),
            "method of a class": delay(Cleaner).clean("attic"),
            "function": delay(resize)("a.png", width=5),
            "job": CleanUpJob.perform_later(post, dry_run=True),
            "values": Plain.perform_later(*VALUES),
            "max_run_time that was given": delay(resize, max_run_time=90)("b.png"),
            "unique by a key": delay(resize, unique=Unique("d", until="finish"))("d.png"),
            "unique by its arguments": CleanUpJob.set(unique=True).perform_later(post),
            "mail": deliver_later(message),
            "mail of a mailer": CustomerMailer.delay().welcome(customer),
            "task": DelayedJob.objects.get(pk=task.enqueue("c.png", width=6).id),
        }


def test_each_payload_is_written_as_in_the_stored_file(enqueued):
    payloads = {name: json.loads(row.payload) for name, row in enqueued.items()}
    for name in ("mail", "mail of a mailer"):
        # The headers differ from mail to mail.
        assert payloads[name]["headers"].keys() == STORED[name]["headers"].keys()
        payloads[name]["headers"] = STORED[name]["headers"]
    assert payloads == STORED


def test_every_job_class_of_ours_is_stored_by_a_tag(enqueued):
    ours = {cls for cls in subclasses(Job) if cls.__module__.startswith("django_delayed")}
    assert set(_tags) == ours
    assert {payload["job"] for payload in STORED.values()} >= set(_tags.values())
    assert not [row for row in enqueued.values() if "django_delayed" in row.payload]


def subclasses(cls):
    for subclass in cls.__subclasses__():
        yield subclass
        yield from subclasses(subclass)


def test_the_stored_rows_are_worked_off(post, customer, diary, mailoutbox):
    for name, payload in STORED.items():
        write(payload, name)
    work_off()
    assert not DelayedJob.objects.exists()
    assert diary == [
        ("tweet", 9, "hi", 3),
        ("bare", 9, (1,), {}),
        ("rebuild", "Post", 2),
        ("clean", "attic"),
        ("resize", "a.png", 5),
        ("clean up", 9, True),
        ("plain", tuple(VALUES), {}),
        ("resize", "b.png", 100),
        ("resize", "d.png", 100),
        ("clean up", 9, False),
        ("resize", "c.png", 6),
    ]
    assert [mail.subject for mail in mailoutbox] == ["Hello", "Welcome, Ada"]
    for mail, name in zip(mailoutbox, ("mail", "mail of a mailer"), strict=True):
        rendered = mail.message()
        assert {header: rendered[header] for header in STORED[name]["headers"]} == STORED[name]["headers"]


@pytest.mark.parametrize("name", ["mail", "mail of a mailer"])
def test_a_mail_that_was_stored_without_headers_is_sent_too(name, customer, mailoutbox):
    write({key: value for key, value in STORED[name].items() if key != "headers"}, name)
    work_off()
    [mail] = mailoutbox
    assert mail.message()["Message-ID"]


@pytest.mark.parametrize("version", [None, 0, 2, "1", [1]])
@pytest.mark.django_db
def test_a_payload_of_another_version_fails_and_says_so(version, diary):
    write({**STORED["function"], "v": version})
    work_off()
    row = DelayedJob.objects.get()
    error_class = "UnknownCode" if version == 2 else "DeserializationError"
    assert (row.state, row.error_class) == ("failed", error_class)
    assert row.error_message == "The payload is not one of version 1."
    assert diary == []
