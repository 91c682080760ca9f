"""A worker warns of an unknown queue when it starts."""

import logging

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_delayed import Job
from django_delayed.management.queues import unknown_queues, warn_of_unknown_queues
from django_delayed.models import DelayedJob
from tests.lanes import no_lanes_are_remembered

__all__ = ["no_lanes_are_remembered"]

pytestmark = pytest.mark.django_db


class Index(Job):
    queue = "of a class"

    def perform(self):
        pass


class Reindex(Index):
    queue = "of a subclass"


class Chosen(Job):
    def queue(self):
        raise AssertionError("nobody asks it at the start")

    def perform(self):
        pass


@pytest.mark.parametrize(
    ("patterns", "unknown"),
    [
        (["default"], []),
        (["of a setting", "of mail"], []),
        (["of a class", "of a subclass"], []),
        (["index", "stale"], []),
        (["of tasks"], []),
        (["of a row"], []),
        (["*", "of a *", "!default"], []),
        (["mial"], ["mial"]),
        (["of a row", "mial*", "!slow"], ["mial*", "slow"]),
        (["Of a row"], ["Of a row"]),
        ([], []),
    ],
    ids=str,
)
def test_a_queue_is_known_from_settings_classes_methods_and_waiting_rows(settings, patterns, unknown):
    settings.DJANGO_DELAYED = {"QUEUE_ATTRIBUTES": {"of a setting": {}}, "MAIL_QUEUE": "of mail"}
    settings.TASKS = {"default": {"BACKEND": "…", "QUEUES": ["of tasks"]}, "other": {"BACKEND": "…"}}
    DelayedJob.objects.create(name="waits", payload="{}", queue="of a row")
    assert unknown_queues(patterns) == unknown


@pytest.mark.parametrize(
    ("patterns", "statements"), [((), 0), (("default", "of a class"), 0), (("mial", "x"), 1)]
)
def test_the_check_takes_at_most_one_query(patterns, statements):
    with CaptureQueriesContext(connection) as captured:
        warn_of_unknown_queues(patterns)
    assert len(captured) == statements


def test_a_worker_warns_once_of_an_unknown_queue_when_it_starts(command):
    worker = command("jobs_work", "--queues", "default,mial", "--sleep-delay", "0")
    assert worker.ends() == 0
    [line] = worker.said("WARNING")
    assert "No waiting job, no Job class and no setting has a queue 'mial'." in line


def test_jobs_workoff_warns_of_an_unknown_queue_too(caplog):
    with caplog.at_level(logging.WARNING, "django_delayed"):
        call_command("jobs_workoff", "--quiet", queues="mial*")
    [record] = caplog.records
    assert "'mial*'" in record.getMessage()


def test_the_warning_about_an_unknown_pattern_asks_for_the_name_of_a_queue(db, caplog):
    call_command("jobs_check", queues="nobody_*")
    assert "has a queue 'nobody_*'. If it is not misspelt, name a queue of this pattern in" in caplog.text
    assert "{'mail': {}}; several queues are separated by commas" in caplog.text


def test_jobs_check_warns_of_an_unknown_queue(db, caplog):
    call_command("jobs_check", queues="mial")
    assert "has a queue 'mial'. If it is not misspelt, name it in" in caplog.text
