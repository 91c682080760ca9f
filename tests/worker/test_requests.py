"""Requests of operators to workers, and how they are read."""

import pytest
from django.db import OperationalError
from django.db.models import QuerySet
from django.utils import timezone
from django_delayed.models import Verb, WorkerProcess, WorkerRequest, ask_workers
from django_delayed.worker.requests import read_requests

W1, W2 = "1" * 32, "2" * 32

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def workers():
    now = timezone.now()
    for id in (W1, W2):
        WorkerProcess.objects.create(id=id, hostname="host", pid=1, started_at=now, heartbeat_at=now)


def read(*workers):
    """Read the requests to these workers; gives those that are carried out."""
    carried_out = []
    read_requests(workers, lambda request: carried_out.append((request.worker, request.verb)))
    return carried_out


def test_requests_for_these_workers_are_carried_out_in_order_and_removed():
    ask_workers(Verb.QUIET, [W1, W2], "ann")
    ask_workers(Verb.RESUME, [W1], "ann")
    assert read(W1) == [(W1, "quiet"), (W1, "resume")]
    assert read(W1) == []
    assert read(W1, W2) == [(W2, "quiet")]
    assert not WorkerRequest.objects.exists()


def test_without_a_request_it_takes_one_statement(django_assert_num_queries):
    with django_assert_num_queries(1):
        assert read(W1, W2) == []


def test_a_request_whose_removal_fails_is_carried_out_again(monkeypatch):
    ask_workers(Verb.STOP, [W1], "ann")
    carried_out = []

    def fail(queryset):
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(QuerySet, "delete", fail)
        with pytest.raises(OperationalError):
            read_requests([W1], carried_out.append)
    assert len(carried_out) == 1
    assert read(W1) == [(W1, "stop")]
