"""Several processes enqueue equal jobs at once, and none of them meets an error."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from django.db import connection, transaction
from django_delayed import Unique
from django_delayed.models import DelayedJob, UniqueKey
from tests.blog.jobs import Plain
from tests.blog.models import Word
from tests.blog.work import WORKER
from tests.connections import wait_for_a_lock

CROWD = Path(__file__).with_name("crowd.py")
PRODUCERS = 3

pytestmark = pytest.mark.django_db(transaction=True)
needs_row_locks = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite has one writer at a time, and no row locks"
)
both = pytest.mark.parametrize("on_duplicate", ["skip", "replace"])
in_both_ways = pytest.mark.parametrize("how", ["plain", "atomic"])


@pytest.fixture
def crowd(manage):
    """Start processes of crowd.py that begin together. Returns them."""

    def start(*commands):
        started = [
            manage(*command, start_with=(sys.executable, CROWD), stdin=subprocess.PIPE)
            for command in commands
        ]
        for process in started:
            assert process.stdout.readline() == "ready\n"
        for process in started:
            process.stdin.write("go\n")
            process.stdin.flush()
        return started

    return start


def output_of(process):
    """What the process prints until it ends, which must be without an error."""
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def arguments(rows):
    return Counter(json.loads(row.payload)["args"][0] for row in rows)


@both
@in_both_ways
def test_only_one_of_equal_jobs_from_several_processes_waits(crowd, on_duplicate, how):
    for process in crowd(*[("enqueue", number, 25, on_duplicate, how) for number in range(PRODUCERS)]):
        output_of(process)
    assert arguments(DelayedJob.objects.all()) == Counter(range(20))
    held = set(UniqueKey.objects.values_list("delayed_job_id", flat=True))
    assert held == set(DelayedJob.objects.values_list("pk", flat=True))


@both
@in_both_ways
def test_a_job_sees_the_last_change_and_no_process_meets_an_error(crowd, on_duplicate, how):
    *producers, consumer = crowd(
        *[("change", number, 25, on_duplicate, how) for number in range(PRODUCERS)], ("consume", "9")
    )
    for process in producers:
        output_of(process)
    seen = [int(line) for line in output_of(consumer).splitlines()]
    assert Word.objects.count() == seen[-1] == PRODUCERS * 25
    assert len(seen) <= PRODUCERS * 25
    assert not DelayedJob.objects.exists()


@needs_row_locks
def test_the_second_process_waits_for_the_transaction_of_the_first_and_is_a_duplicate(write, in_thread):
    with transaction.atomic():
        first = write()
        second = in_thread(write)
        wait_for_a_lock()
    assert first.pk
    assert second.result(timeout=30) is None


@needs_row_locks
def test_the_second_process_enqueues_if_the_transaction_of_the_first_is_rolled_back(write, in_thread, ids):
    with transaction.atomic():
        write()
        second = in_thread(write)
        wait_for_a_lock()
        transaction.set_rollback(True)
    second = second.result(timeout=30)
    assert ids() == [second.pk]


@needs_row_locks
def test_a_job_does_not_begin_before_the_transaction_of_its_duplicate_has_ended(write, in_thread):
    first = write()

    def claim():
        return DelayedJob.objects.claim(WORKER)

    with transaction.atomic():
        assert write() is None
        assert in_thread(claim).result(timeout=30) == []
    assert in_thread(claim).result(timeout=30) == [first]


@needs_row_locks
def test_a_worker_finishes_a_job_while_the_transaction_of_its_duplicate_is_open(write, in_thread):
    unique = Unique(until="finish")
    write(unique=unique)
    [held] = DelayedJob.objects.claim(WORKER)
    with transaction.atomic():
        assert write(unique=unique) is None
        assert in_thread(DelayedJob.objects.finish, held).result(timeout=30)
    assert write(unique=unique) is not None


@needs_row_locks
def test_an_enqueue_of_a_job_that_is_not_equal_does_not_wait(write, in_thread):
    with transaction.atomic():
        write(1)
        assert in_thread(write, 2).result(timeout=30)
        assert in_thread(lambda: Plain.perform_later(1)).result(timeout=30)
