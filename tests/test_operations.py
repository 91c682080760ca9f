"""The operator's moves in bulk."""

from datetime import timedelta

import pytest
from django.db import connection
from django.template import Context, Template
from django.utils import timezone
from django_delayed import states
from django_delayed.models import (
    DelayedJob,
    FailedAttempt,
    FailureGroup,
    PausedQueue,
    Verb,
    WorkerProcess,
    WorkerRequest,
    ask_workers,
)
from django_delayed.operations import (
    ADJUST,
    CANCEL,
    DISCARD,
    GIVE_UP,
    RETRY,
    RUN_NOW,
    as_of,
    pause,
    pending_cancel,
    resume,
)
from django_delayed.states import CANCELLED, CancelCounts, DelayedJobQuerySet

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
TABLE = connection.ops.quote_name(DelayedJob._meta.db_table)


def write(count, **columns):
    rows = [DelayedJob(name=f"job {number}", payload="{}", **columns) for number in range(count)]
    for row in rows:
        row.save()
    return rows


def statements_of(function):
    statements = []

    def note(execute, sql, params, many, context):
        statements.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        return statements, function()


def test_the_ids_are_read_once_and_moved_in_batches(monkeypatch):
    monkeypatch.setattr(states, "ROWS_A_TRANSACTION", 3)
    write(7, failed_at=timezone.now())
    reading, ids = statements_of(lambda: RETRY.ids(DelayedJob.objects.all()))
    assert (len(reading), len(ids)) == (1, 7)
    moving, moved = statements_of(lambda: RETRY.carry_out(ids))
    assert moved == 7
    assert sum(sql.startswith(f"UPDATE {TABLE}") for sql in moving) == 3
    removing, removed = statements_of(lambda: DISCARD.carry_out(ids))
    assert removed == 7
    assert sum(sql.startswith(f"DELETE FROM {TABLE}") for sql in removing) == 3
    assert not DelayedJob.objects.exists()


def test_an_operation_takes_the_rows_that_it_may_be_made_with():
    now = timezone.now()
    [failed] = write(1, failed_at=now)
    [waiting] = write(1)
    write(1, locked_at=now, locked_by="w")
    [early] = write(1, run_at=now + HOUR)
    assert RETRY.ids(DelayedJob.objects.all()) == [failed.pk]
    assert RUN_NOW.ids(DelayedJob.objects.all()) == [early.pk]
    assert set(DISCARD.ids(DelayedJob.objects.all())) == {failed.pk, waiting.pk, early.pk}


def test_a_row_that_changed_its_state_meanwhile_stays():
    rows = write(3, failed_at=timezone.now())
    ids = RETRY.ids(DelayedJob.objects.all())
    DelayedJob.objects.filter(pk=rows[0].pk).retry()
    DelayedJob.objects.filter(pk=rows[1].pk).update(failed_at=None, locked_at=timezone.now())
    assert RETRY.carry_out(ids) == 1
    assert DISCARD.carry_out(ids) == 2
    assert [row.state for row in DelayedJob.objects.all()] == ["running"]


def test_an_operation_may_be_limited():
    write(3)
    assert DISCARD.carry_out(DISCARD.ids(DelayedJob.objects.all(), 2)) == 2
    assert DelayedJob.objects.count() == 1


def test_waiting_jobs_are_changed_as_long_as_they_are_as_the_operator_has_seen_them():
    now = timezone.now()
    [one, other] = write(2, run_at=now + HOUR)
    [running] = write(1, locked_at=now, locked_by="w")
    ids = [one.pk, other.pk, running.pk]
    assert {*ADJUST.ids(DelayedJob.objects.all())} == {one.pk, other.pk}
    DelayedJob.objects.filter(pk=other.pk).update(priority=3)
    assert ADJUST.carry_out(ids, changes={"queue": "slow"}, seen={"priority": 0}) == 1
    assert set(DelayedJob.objects.filter(queue="slow")) == {one}
    statements, moved = statements_of(lambda: ADJUST.carry_out(ids, changes={"priority": 7}))
    assert (len(statements), moved) == (1, 2)


def test_retrying_jobs_are_given_up_in_batches_by_the_operator(monkeypatch):
    monkeypatch.setattr(states, "ROWS_A_TRANSACTION", 2)
    write(3, attempts=1, last_error="it broke", error_fingerprint="c1")
    write(1)
    ids = GIVE_UP.ids(DelayedJob.objects.all())
    statements, moved = statements_of(lambda: GIVE_UP.carry_out(ids, by="ann"))
    assert (len(statements), moved, len(ids)) == (2, 3, 3)
    assert DelayedJob.objects.failed().filter(last_error__startswith="Given up by ann.").count() == 3
    # The cause has failed jobs now, as after the last attempt of a worker.
    assert not FailureGroup.objects.exists()
    assert {*RETRY.ids(RETRY.among_all(DelayedJob.objects.all()))} == {*ids}


@pytest.mark.parametrize("operation", [RETRY, RUN_NOW], ids=lambda operation: operation.name)
def test_a_job_that_an_operator_watches_is_kept(operation):
    now = timezone.now()
    columns = {"retry": {"failed_at": now}, "run_now": {"run_at": now + HOUR}}[operation.name]
    [watched, other] = write(2, **columns)
    assert operation.carry_out([watched.pk], keep_for=HOUR) == 1
    assert operation.carry_out([other.pk]) == 1
    assert dict(DelayedJob.objects.values_list("pk", "keep_for")) == {watched.pk: HOUR, other.pk: None}


def waits_of(rows):
    """The minutes by which each of these jobs is due later than the first."""
    moments = list(DelayedJob.objects.order_by("pk").values_list("run_at", flat=True))
    return [round((moment - moments[0]) / timedelta(minutes=1)) for moment in moments]


def test_retried_jobs_are_spread_over_some_time():
    rows = write(5, failed_at=timezone.now())
    assert RETRY.carry_out([row.pk for row in rows], spread=timedelta(minutes=100)) == 5
    assert waits_of(rows) == [0, 20, 40, 60, 80]
    assert DelayedJob.objects.enqueued().count() == 1
    assert DelayedJob.objects.scheduled().count() == 4


def test_many_jobs_are_spread_in_a_hundred_steps():
    rows = write(301, failed_at=timezone.now())
    statements, moved = statements_of(
        lambda: RETRY.carry_out([row.pk for row in rows], spread=timedelta(minutes=301))
    )
    assert moved == 301
    assert sum(sql.startswith(f"UPDATE {TABLE}") for sql in statements) == 101
    assert waits_of(rows) == [number // 3 * 3 for number in range(301)]


@pytest.mark.parametrize("operation", [RETRY, DISCARD], ids=lambda operation: operation.name)
def test_a_cause_is_written_down_when_its_first_job_is_moved_and_settled_with_the_last(operation):
    now = timezone.now()
    rows = write(3, failed_at=now - HOUR, error_fingerprint="c1")
    DelayedJob.objects.filter(pk=rows[2].pk).update(failed_at=now - 2 * HOUR)
    assert operation.carry_out([rows[0].pk], by="ann") == 1
    group = FailureGroup.objects.get()
    # The cause was first seen in a job that has not been moved yet.
    assert (group.fingerprint, group.first_seen_at) == ("c1", now - 2 * HOUR)
    assert (group.settled_at, group.settled_by) == (None, "")
    operation.carry_out([row.pk for row in rows[1:]], by="bob" * 100)
    group.refresh_from_db()
    assert group.first_seen_at == now - 2 * HOUR
    assert group.settled_by == ("bob" * 100)[:255]
    assert not group.is_back(now)
    assert group.is_back(timezone.now() + HOUR)


def test_a_job_without_a_cause_leaves_no_group():
    now = timezone.now()
    rows = [
        *write(1, failed_at=now, error_fingerprint=CANCELLED),
        *write(1, error_fingerprint="waits"),
    ]
    assert DISCARD.carry_out([row.pk for row in rows]) == 2
    assert not FailureGroup.objects.exists()


def test_a_cause_that_is_known_costs_no_second_insert():
    rows = write(3, failed_at=timezone.now(), error_fingerprint="c1")
    kinds = []
    for row in rows[:2]:
        statements, _ = statements_of(lambda row=row: RETRY.carry_out([row.pk]))
        kinds.append([sql.split()[0] for sql in statements])
    assert kinds == [
        # Which causes there are, whether they are known, when they were first seen; their rows; which jobs
        # have a key; the move; whether any job is left.
        ["SELECT", "SELECT", "SELECT", "INSERT", "SELECT", "UPDATE", "SELECT"],
        ["SELECT", "SELECT", "SELECT", "UPDATE", "SELECT"],
    ]


def test_a_report_names_the_first_hundred_rows():
    assert RETRY.report("2 of 2", [7, 8], "") == "retry: 2 of 2: 7, 8"
    text = RUN_NOW.report("not completed", range(1, 151), "queue=mail")
    assert text.startswith("run_now: not completed where queue=mail: 1, 2, 3, ")
    assert text.endswith("99, 100, …")


@pytest.mark.parametrize("column", ["created_at", "failed_at", "finished_at"])
def test_rows_that_changed_after_the_cut_off_are_left_out(column):
    now = timezone.now()
    early = {"created_at": now - 2 * HOUR}
    [before] = write(1, **(early | {column: now - HOUR}))
    write(1, **(early | {column: now + HOUR}))
    assert DISCARD.ids(DelayedJob.objects.all(), until=now) == [before.pk]
    assert len(DISCARD.ids(DelayedJob.objects.all())) == 2


def test_ten_thousand_ids_are_cut_off_in_one_statement():
    [row] = write(1)
    statements, found = statements_of(lambda: list(as_of(range(1, row.pk + 10_000), timezone.now() + HOUR)))
    assert (len(statements), found) == (1, [row])


def test_registered_workers_are_asked_and_nobody_else():
    now, there = timezone.now(), "1" * 32
    WorkerProcess.objects.create(id=there, hostname="host", pid=7, started_at=now, heartbeat_at=now)
    assert ask_workers(Verb.STOP, [there, "2" * 32], "ann" * 100) == [there]
    request = WorkerRequest.objects.get()
    assert (request.worker, request.verb, request.requested_by) == (there, "stop", ("ann" * 100)[:255])
    assert (request.delayed_job_id, request.lock_token) == (None, None)
    assert abs(request.requested_at - now) < HOUR
    assert WorkerProcess.objects.get().pid == 7


@pytest.fixture
def held():
    """Write running jobs of a registered worker, each with its own claim."""
    now, there = timezone.now(), "1" * 32
    WorkerProcess.objects.create(id=there, hostname="host", pid=7, started_at=now, heartbeat_at=now)
    return lambda *tokens: [write(1, locked_at=now, locked_by=there, lock_token=token)[0] for token in tokens]


def test_running_jobs_are_asked_to_end_once_for_each_claim_and_no_other_job_is(held):
    row, other = held(1, 2)
    [orphan] = write(1, locked_at=timezone.now(), locked_by="2" * 32, lock_token=3)
    [waiting] = write(1)
    ids = [row.pk, other.pk, orphan.pk, waiting.pk]
    assert CANCEL.carry_out([row.pk], by="ann") == 1
    assert {*CANCEL.ids(DelayedJob.objects.all())} == {other.pk, orphan.pk}
    assert CANCEL.carry_out(ids, by="bob" * 100) == 1
    assert CANCEL.carry_out(ids, by="cleo") == 0
    requests = WorkerRequest.objects.order_by("pk")
    said = list(requests.values_list("delayed_job_id", "lock_token", "requested_by"))
    assert said == [(row.pk, 1, "ann"), (other.pk, 2, ("bob" * 100)[:255])]
    assert [request.verb for request in requests] == [Verb.CANCEL] * 2
    # Another claim of the same row may be asked again.
    DelayedJob.objects.filter(pk=row.pk).update(lock_token=9)
    assert CANCEL.carry_out([row.pk], by="ann") == 1


def test_cancel_removes_what_waits_asks_what_runs_and_leaves_the_rest(held):
    row, asked_already = held(1, 2)
    CANCEL.carry_out([asked_already.pk], by="ann")
    now = timezone.now()
    waiting = [*write(2), *write(1, run_at=now + HOUR), *write(1, attempts=2, last_error="gone")]
    FailedAttempt.objects.create(delayed_job=waiting[-1], number=1, ended_at=now, error_class="OSError")
    ended = write(1, failed_at=now) + write(1, finished_at=now)
    [spared] = write(1, queue="other")
    counts = DelayedJob.objects.filter(queue="default").cancel(by="bob")
    assert counts == CancelCounts(removed=4, asked=1)
    assert {*DelayedJob.objects.all()} == {row, asked_already, *ended, spared}
    assert not FailedAttempt.objects.exists()
    assert [pending_cancel(one).requested_by for one in (row, asked_already)] == ["bob", "ann"]
    assert DelayedJob.objects.filter(queue="default").cancel() == (0, 0)


def test_cancel_goes_in_batches(held, monkeypatch):
    monkeypatch.setattr(states, "ROWS_A_TRANSACTION", 2)
    held(1, 2, 3)
    write(4)
    assert DelayedJob.objects.all().cancel() == (4, 3)
    assert WorkerRequest.objects.count() == 3


@pytest.mark.parametrize("moved_by", ["a claim", "the end of an attempt"])
def test_cancel_finds_a_job_that_is_moved_meanwhile(held, monkeypatch, moved_by):
    [row] = held(1) if moved_by == "the end of an attempt" else write(1)
    times = {"locked_at": None, "locked_by": ""}
    if moved_by == "a claim":
        held()
        times = {"locked_at": timezone.now(), "locked_by": "1" * 32, "lock_token": 1}
    discard, passes = DelayedJobQuerySet.discard_batch, []

    def meanwhile(self, ids, only):
        passes.append(ids)
        if moved_by == "a claim" and len(passes) == 1:
            DelayedJob.objects.filter(pk=row.pk).update(**times)
        removed = discard(self, ids, only)
        if moved_by == "the end of an attempt" and len(passes) == 1:
            DelayedJob.objects.filter(pk=row.pk).update(**times)
        return removed

    monkeypatch.setattr(DelayedJobQuerySet, "discard_batch", meanwhile)
    assert DelayedJob.objects.all().cancel() == ((0, 1) if moved_by == "a claim" else (1, 0))


def test_cancel_costs_six_statements_for_a_batch_of_jobs_that_wait():
    write(20)
    statements, counts = statements_of(lambda: DelayedJob.objects.all().cancel())
    assert counts == (20, 0)
    assert len([sql for sql in statements if "SAVEPOINT" not in sql]) == 6


@pytest.mark.parametrize("by", [None, 5, b"ann"])
def test_cancel_by_an_invalid_name_is_refused(by):
    write(1)
    with pytest.raises(TypeError, match=r"cancel\(by=…\) must be the name of the operator, not "):
        DelayedJob.objects.all().cancel(by=by)
    assert DelayedJob.objects.exists()


@pytest.mark.parametrize(
    ("given", "error"),
    [
        *(("5", TypeError), (True, TypeError), ([], TypeError), (-1, ValueError), (-HOUR, ValueError)),
        *((float("nan"), ValueError), (1e300, ValueError), (timedelta.max, ValueError)),
    ],
    ids=str,
)
def test_a_span_that_no_row_can_have_is_refused_and_moves_nothing(given, error):
    write(1, failed_at=timezone.now())
    write(1, run_at=timezone.now() + HOUR)
    failed, waiting = DelayedJob.objects.failed(), DelayedJob.objects.waiting()
    with pytest.raises(error, match=r"^wait must |^wait is out of range"):
        failed.retry(wait=given)
    if given:
        for move in (failed.retry, waiting.run_now):
            with pytest.raises(error, match=r"^keep_for must |^keep_for is out of range"):
                move(keep_for=given)
    assert (failed.count(), waiting.not_due().count()) == (1, 1)


def test_a_span_may_be_seconds():
    write(1, failed_at=timezone.now())
    assert DelayedJob.objects.failed().retry(keep_for=60, wait=600.5) == 1
    row = DelayedJob.objects.get()
    assert row.keep_for == timedelta(minutes=1)
    assert row.run_at > timezone.now() + timedelta(minutes=9)


@pytest.mark.parametrize("verb", ["cancel", "give_up", "adjust"])
def test_a_template_makes_no_move(verb):
    write(1, attempts=1)
    page = Template(f"{{{{ rows.{verb} }}}}").render(Context({"rows": DelayedJob.objects.all()}))
    assert page == ""
    assert DelayedJob.objects.retrying().exists()


def test_the_operator_who_ends_a_job_is_known_while_it_runs(held):
    row, other = held(1, 2)
    CANCEL.carry_out([row.pk], by="ann")
    assert pending_cancel(row).requested_by == "ann"
    assert pending_cancel(other) is None
    row.failed_at = timezone.now()
    assert pending_cancel(row) is None


def test_retrying_all_leaves_out_what_an_operator_has_ended():
    [failed] = write(1, failed_at=timezone.now())
    write(1, failed_at=timezone.now(), error_fingerprint=CANCELLED)
    rows = DelayedJob.objects.all()
    assert RETRY.ids(RETRY.among_all(rows)) == [failed.pk]
    assert len(RETRY.ids(rows)) == len(DISCARD.ids(DISCARD.among_all(rows))) == 2


def test_a_request_about_a_row_names_its_claim():
    now, there = timezone.now(), "1" * 32
    WorkerProcess.objects.create(id=there, hostname="host", pid=7, started_at=now, heartbeat_at=now)
    [row] = write(1, locked_at=now, locked_by=there, lock_token=5)
    assert CANCEL.carry_out([row.pk], by="ann") == 1
    assert list(WorkerRequest.objects.values_list("delayed_job_id", "lock_token")) == [(row.pk, 5)]


# Pauses


def test_a_queue_is_paused_once_and_by_whom():
    assert pause(["mail", "images", "mail"], "ann") == ["mail", "images"]
    assert pause(["mail", "search"], "bob" * 100) == ["search"]
    assert dict(PausedQueue.objects.values_list("queue", "paused_by")) == {
        "mail": "ann",
        "images": "ann",
        "search": ("bob" * 100)[:255],
    }
    assert resume(["mail", "search", "feeds"]) == ["mail", "search"]
    assert resume(["mail"]) == []
    assert [queue.pk for queue in PausedQueue.objects.all()] == ["images"]


@pytest.mark.parametrize("queue", ["", "m*", "a,b", " mail", "x" * 256, "a\0b", None, 5])
def test_an_invalid_name_of_a_queue_is_neither_paused_nor_resumed(queue):
    for change in (lambda: pause(["mail", queue], "ann"), lambda: resume([queue])):
        with pytest.raises((TypeError, ValueError), match="queue"):
            change()
    assert not PausedQueue.objects.exists()


def test_one_name_is_not_a_list_of_names():
    with pytest.raises(TypeError, match=r"\['mail'\]"):
        pause("mail", "ann")


def test_two_operators_may_pause_a_queue_at_the_same_moment(monkeypatch):
    pause(["mail"], "ann")
    # The second one has looked before the first one wrote.
    monkeypatch.setattr("django.db.models.QuerySet.exists", lambda rows: False)
    pause(["mail"], "bob")
    assert PausedQueue.objects.get().paused_by == "ann"
