"""Rows that no enqueue writes and no worker can read are set aside as failed; the others are performed."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.urls import reverse
from django.utils import translation
from django_delayed import claiming, enqueue_all
from django_delayed.models import DelayedJob
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.work_off import work_off
from tests.blog.jobs import Plain
from tests.databases.odd_rows import NEVER_DUE, ODD, write_by_hand

pytestmark = pytest.mark.django_db(transaction=True)


def write(assignment):
    """Write three rows, and give the second these values by hand; returns its id."""
    pk = enqueue_all([Plain(number) for number in range(3)])[1].pk
    write_by_hand(pk, assignment)
    return pk


@pytest.mark.parametrize("name", ODD)
def test_an_odd_row_is_set_aside_and_the_others_are_performed(name, diary, caplog):
    pk = write(ODD[name])
    assert work_off(Configuration()) is True
    assert sorted(args for _, args, _ in diary) == [(0,), (2,)]
    [(error_class, failed_at, locked_by)] = DelayedJob.objects.values_list(
        "error_class", "failed_at", "locked_by"
    )
    assert (error_class, failed_at is not None, locked_by) == ("UnreadableRow", True, "")
    assert f"The rows [{pk}] of delayed jobs cannot be read" in caplog.text
    assert DelayedJob.objects.values_list("error_fingerprint", flat=True).get() == "unreadable row"


@pytest.mark.parametrize("name", ODD)
def test_a_claim_of_an_odd_row_holds_none_of_the_others_when_it_returns_none(name):
    pk = write(ODD[name])
    taken = DelayedJob.objects.claim("1" * 32, 10)
    others = DelayedJob.objects.exclude(pk=pk)
    assert others.running().count() == len(taken)
    assert others.filter(attempts=0).enqueued().count() == 2 - len(taken)
    assert DelayedJob.objects.failed().filter(pk=pk).exists()


@pytest.mark.parametrize("name", NEVER_DUE)
def test_a_row_that_is_never_due_is_left_alone_and_the_others_are_performed(name, diary):
    pk = write(NEVER_DUE[name])
    assert work_off(Configuration()) is True
    assert sorted(args for _, args, _ in diary) == [(0,), (2,)]
    assert list(DelayedJob.objects.values_list("pk", "attempts")) == [(pk, 0)]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="has no times or numbers of text")
@pytest.mark.parametrize("name", NEVER_DUE)
def test_a_lane_that_cannot_be_read_is_reported_once(name, caplog, monkeypatch):
    monkeypatch.setattr(claiming, "_reported", set())
    write(NEVER_DUE[name])
    for _ in range(3):
        work_off(Configuration())
    what = "A row of queue 'default' has a priority or run_at that cannot be read; it is skipped"
    assert caplog.messages.count(what) == 1


@pytest.mark.parametrize("name", ODD)
def test_what_was_set_aside_can_be_retried(name, diary):
    pk = write(ODD[name])
    work_off(Configuration())
    if "payload" not in name:
        assert DelayedJob.objects.filter(pk=pk).retry() == 1
        work_off(Configuration())
        assert ("plain", (1,), {}) in diary
    assert DelayedJob.objects.discard() <= 1
    assert not DelayedJob.objects.exists()


def pages(*ids):
    """The addresses of the admin's list and of the pages of these jobs."""
    names = ("change", "retry", "run_now", "discard", "history")
    return [
        reverse("admin:django_delayed_delayedjob_changelist"),
        reverse("admin:django_delayed_failuregroup_changelist"),
        *(reverse(f"admin:django_delayed_delayedjob_{name}", args=[pk]) for pk in ids for name in names),
    ]


@pytest.mark.parametrize("name", [*ODD, *NEVER_DUE])
def test_the_admin_lists_the_others_and_says_what_to_do_with_an_odd_row(name, client):
    client.force_login(User.objects.create_superuser("root"))
    pk = write((ODD | NEVER_DUE)[name])
    others = set(DelayedJob.objects.exclude(pk=pk).values_list("pk", flat=True))
    with translation.override("en"):
        for address in pages(pk):
            assert client.get(address).status_code in (200, 302)
        listed = client.get(pages()[0])
    shown = {row.pk for row in listed.context["cl"].result_list}
    assert shown >= others
    assert (f"DelayedJob.objects.set_aside([{pk}])" in listed.text) == (pk not in shown)
    DelayedJob.objects.set_aside([pk])
    assert pk in {row.pk for row in client.get(pages()[0]).context["cl"].result_list}
    assert all(client.get(address).status_code in (200, 302) for address in pages(pk))


@pytest.mark.parametrize("name", [*ODD, *NEVER_DUE])
def test_an_odd_row_is_discarded_with_all_others(name, client):
    client.force_login(User.objects.create_superuser("root"))
    pk = write((ODD | NEVER_DUE)[name])
    address = pages()[0]
    chosen = {"action": "discard", "select_across": "1", "index": "0", "_selected_action": pk}
    question = client.post(address, chosen)
    assert "#" in question.text
    answer = chosen | {"confirmed": "yes", "as_of": "2100-01-01T00:00:00+00:00", "expected": "3"}
    assert client.post(address, answer).status_code == 302
    # A row created in the year 20000 is newer than the question; `set_aside` gives it another date.
    assert list(DelayedJob.objects.values_list("pk", flat=True)) == ([pk] if "created" in name else [])
