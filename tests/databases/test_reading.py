"""Rows that our own statements return, as instances."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.signals import post_init
from django_delayed.claiming import COLUMNS
from django_delayed.databases import database
from django_delayed.databases.reading import read_rows
from django_delayed.models import DelayedJob
from tests.blog.jobs import Plain

pytestmark = pytest.mark.django_db


def read(columns=COLUMNS, where=""):
    table = database(connection).table_of(DelayedJob)
    statement = f"SELECT {', '.join(columns)} FROM {table} {where} ORDER BY id"
    return read_rows(DelayedJob.objects.all(), columns, statement, [])


@pytest.fixture(params=[False, True], ids=["", "heard of"])
def heard(request):
    """The instances that a receiver of the model's signal has got, if there is a receiver."""
    instances = []

    def hear(instance, **_):
        instances.append(instance)

    if request.param:
        post_init.connect(hear, sender=DelayedJob)
    yield instances
    post_init.disconnect(hear, sender=DelayedJob)


def test_the_rows_are_as_django_reads_them(heard):
    for number in range(3):
        Plain.set(wait=timedelta(hours=number)).perform_later(number)
    DelayedJob.objects.filter(pk=DelayedJob.objects.latest("pk").pk).update(keep_for=timedelta(days=1.5))
    expected = list(DelayedJob.objects.order_by("pk"))
    heard.clear()
    rows = read()
    assert heard in ([], rows)
    assert rows == expected
    for row, other in zip(rows, expected, strict=True):
        assert {name: getattr(row, name) for name in COLUMNS} == {
            name: getattr(other, name) for name in COLUMNS
        }
        assert {*map(type, row.__dict__.values())} <= {*map(type, other.__dict__.values())}
        assert (row._state.adding, row._state.db) == (False, "default")


def test_other_fields_are_read_when_they_are_asked_for(heard, django_assert_num_queries):
    Plain.perform_later(1)
    [row] = read(("id", "name"))
    assert row.get_deferred_fields() >= {"queue", "payload"}
    with django_assert_num_queries(1):
        assert row.queue == "default"


def test_no_rows_are_an_empty_list():
    assert read(where="WHERE id = 0") == []
