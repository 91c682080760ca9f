"""The states by name, and every move between them; run on each database."""

import itertools
import socket
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone
from django_delayed.databases import virtual_time
from django_delayed.models import ATTEMPTS_KEPT, DelayedJob, FailedAttempt
from django_delayed.serialization.errors import describe
from django_delayed.states import SUSPECT, DelayedJobQuerySet, State
from tests.blog.jobs import Plain
from tests.blog.models import Post

W1, W2 = "1" * 32, "2" * 32
HOUR = timedelta(hours=1)
STATES = [state.value for state in State]

pytestmark = pytest.mark.django_db


def write(name="a job", due=-HOUR, **columns):
    return DelayedJob.objects.create(name=name, payload="{}", run_at=timezone.now() + due, **columns)


def claim(worker=W1):
    [row] = DelayedJob.objects.claim(worker)
    return row


def error(text="it broke"):
    return describe(ValueError(text), "a job")


# States.


@pytest.mark.parametrize("attempts", [0, 3])
@pytest.mark.parametrize("due", [-HOUR, HOUR])
@pytest.mark.parametrize("times", list(itertools.product([False, True], repeat=3)))
def test_a_row_is_in_exactly_one_state(times, due, attempts):
    columns = dict(zip(("locked_at", "failed_at", "finished_at"), times, strict=True))
    row = write(due=due, attempts=attempts, **{name: timezone.now() for name, on in columns.items() if on})
    assert [state for state in STATES if getattr(DelayedJob.objects, state)().exists()] == [row.state]


def test_the_states_are_read_in_the_order_finished_failed_running():
    now = timezone.now()
    assert write(finished_at=now, failed_at=now, locked_at=now).state == "finished"
    assert write(failed_at=now, locked_at=now).state == "failed"
    assert write(locked_at=now, attempts=1).state == "running"
    assert write(attempts=1, due=HOUR).state == write(attempts=1).state == "retrying"
    assert write(due=HOUR).state == "scheduled"
    assert write().state == "enqueued"


def test_a_row_and_the_database_agree_on_the_state_in_virtual_time_too():
    row = write(due=HOUR)
    with virtual_time() as time:
        for span, state in ((timedelta(minutes=50), "scheduled"), (timedelta(minutes=20), "enqueued")):
            time.advance(span)
            assert row.state == state
            assert DelayedJob.objects.in_state(state).exists()
    assert row.state == "scheduled"


def test_ready_are_the_due_and_waiting_are_all_that_may_be_claimed_now_or_later():
    for columns in ({}, {"attempts": 1}, {"due": HOUR}, {"attempts": 1, "due": HOUR}):
        write(name=f"{columns.get('attempts', 0)} {columns.get('due', -HOUR) > timedelta(0)}", **columns)
    for column in ("locked_at", "failed_at", "finished_at"):
        write(**{column: timezone.now()})
    ready = set(DelayedJob.objects.ready().values_list("name", flat=True))
    waiting = set(DelayedJob.objects.waiting().values_list("name", flat=True))
    assert ready == {"0 False", "1 False"}
    assert waiting == {"0 False", "1 False", "0 True", "1 True"}


# The worker's moves.

MOVES = {
    "finish": lambda jobs, row: jobs.finish(row),
    "finish and keep": lambda jobs, row: jobs.finish(row),
    "discard_held": lambda jobs, row: jobs.discard_held(row),
    "reschedule": lambda jobs, row: jobs.reschedule(row, error("late"), HOUR),
    "snooze": lambda jobs, row: jobs.snooze(row, HOUR),
    "fail": lambda jobs, row: jobs.fail(row, error("late")),
    "crash": lambda jobs, row: jobs.crash(row, error("late"), HOUR),
    "release": lambda jobs, row: jobs.release([row]),
    "suspect": lambda jobs, row: jobs.suspect(row),
}


def columns_of(row):
    [columns] = DelayedJob.objects.filter(pk=row.pk).values()
    return columns


@pytest.mark.parametrize("errors_before", [0, 1])
@pytest.mark.parametrize("name", MOVES)
def test_a_move_after_the_claim_was_lost_changes_nothing(name, errors_before):
    write(keep_for=HOUR if name == "finish and keep" else None)
    for _ in range(errors_before):
        DelayedJob.objects.reschedule(claim(), error(), -HOUR)
    lost = claim(W1)
    DelayedJob.objects.release([lost])
    claim(W2)
    before = columns_of(lost), list(FailedAttempt.objects.values())
    assert not MOVES[name](DelayedJob.objects, lost)
    assert (columns_of(lost), list(FailedAttempt.objects.values())) == before


@pytest.mark.parametrize("name", MOVES)
def test_a_move_is_made_once_even_when_the_same_worker_claims_again(name):
    write(keep_for=HOUR if name == "finish and keep" else None)
    first = claim(W1)
    DelayedJob.objects.release([first])
    assert not MOVES[name](DelayedJob.objects, first)
    second = claim(W1)
    assert not MOVES[name](DelayedJob.objects, first)
    assert MOVES[name](DelayedJob.objects, second)
    assert not MOVES[name](DelayedJob.objects, second)


def test_held_is_the_row_while_this_claim_is_the_valid_one():
    write()
    row = claim()
    assert DelayedJob.objects.held(row).get() == row
    DelayedJob.objects.release([row])
    assert not DelayedJob.objects.held(row).exists()
    claim(W2)
    assert not DelayedJob.objects.held(row).exists()


def test_a_finished_job_is_gone():
    write()
    assert DelayedJob.objects.finish(claim()) is True
    assert not DelayedJob.objects.exists()


def test_a_finished_job_may_be_kept_until_it_expires():
    write(keep_for=HOUR, crashes=2)
    held = claim()
    assert DelayedJob.objects.finish(held) is True
    row = DelayedJob.objects.get()
    assert (row.state, row.attempts, row.crashes) == ("finished", 1, 0)
    assert (row.locked_at, row.locked_by, row.claimable) == (None, "", None)
    assert row.started_at == held.started_at
    assert row.finished_at >= held.locked_at
    assert timedelta(0) <= row.expires_at - row.finished_at - HOUR < timedelta(seconds=60)


def test_a_job_that_was_claimed_with_others_is_kept_with_its_start():
    write(keep_for=HOUR)
    write(due=HOUR)
    [held] = DelayedJob.objects.claim(W1, 2)
    assert held.started_at is None
    assert DelayedJob.objects.finish(held) is True
    assert DelayedJob.objects.finished().get().started_at == held.locked_at


def test_a_job_that_failed_before_takes_its_failed_attempts_with_it_when_it_finishes():
    write()
    keeper = write(name="another", due=HOUR)
    FailedAttempt.objects.create(delayed_job=keeper, number=1, ended_at=timezone.now(), error_class="E")
    DelayedJob.objects.reschedule(claim(), error(), -HOUR)
    assert DelayedJob.objects.finish(claim()) is True
    assert list(FailedAttempt.objects.values_list("delayed_job", flat=True)) == [keeper.pk]


@pytest.mark.parametrize("errors_before", [0, 1])
def test_a_discarded_job_is_gone_with_its_failed_attempts(errors_before):
    write(keep_for=HOUR)
    for _ in range(errors_before):
        DelayedJob.objects.reschedule(claim(), error(), -HOUR)
    assert DelayedJob.objects.discard_held(claim()) is True
    assert not DelayedJob.objects.exists()
    assert not FailedAttempt.objects.exists()


def test_a_rescheduled_job_waits_and_keeps_its_error():
    write(crashes=1)
    held = claim()
    assert DelayedJob.objects.reschedule(held, error("first line\nsecond"), HOUR) is True
    row = DelayedJob.objects.get()
    assert (row.state, row.attempts, row.crashes, row.locked_by) == ("retrying", 1, 0, "")
    assert timedelta(minutes=59) < row.run_at - held.locked_at < timedelta(minutes=61)
    assert row.last_error.startswith("ValueError: first line\nsecond")
    assert (row.error_class, row.error_message) == ("ValueError", "first line")
    assert len(row.error_fingerprint) == 16


def test_a_failed_job_is_kept_and_not_claimed():
    write()
    held = claim()
    assert DelayedJob.objects.fail(held, error()) is True
    row = DelayedJob.objects.get()
    assert (row.state, row.attempts, row.locked_by, row.claimable) == ("failed", 1, "", None)
    assert row.failed_at >= held.locked_at
    assert DelayedJob.objects.claim(W1) == []


def test_each_failed_attempt_is_written_down():
    write()
    held = claim()
    DelayedJob.objects.reschedule(held, error("once"), -HOUR)
    DelayedJob.objects.fail(claim(W2), error("twice"))
    first, second = FailedAttempt.objects.all()
    assert (first.number, first.worker, first.error_message) == (1, W1, "once")
    assert (second.number, second.worker, second.error_message) == (2, W2, "twice")
    assert {first.hostname, second.hostname} == {socket.gethostname()}
    assert first.started_at == held.started_at
    assert first.started_at <= first.ended_at <= second.started_at <= second.ended_at


def test_the_last_ten_failed_attempts_stay_and_only_the_newest_with_its_whole_text():
    write()
    for number in range(1, ATTEMPTS_KEPT + 4):
        assert DelayedJob.objects.reschedule(claim(), error(f"number {number}"), -HOUR)
    kept = list(FailedAttempt.objects.all())
    assert [attempt.number for attempt in kept] == list(range(4, 14))
    assert [bool(attempt.error) for attempt in kept] == [False] * 9 + [True]
    assert kept[-1].error == DelayedJob.objects.get().last_error
    assert kept[0].error_message == "number 4"


def test_ten_failed_attempts_stay_across_retries_of_the_operator():
    write(max_attempts=1)
    for _ in range(ATTEMPTS_KEPT + 2):
        DelayedJob.objects.fail(claim(), error())
        DelayedJob.objects.retry()
    assert FailedAttempt.objects.count() == ATTEMPTS_KEPT


def test_a_released_job_gets_its_attempt_back():
    write(name="1", due=-3 * HOUR, attempts=4, crashes=1)
    write(name="2", due=-2 * HOUR)
    held = DelayedJob.objects.claim(W1, 2)
    run_at = [row.run_at for row in held]
    assert DelayedJob.objects.release(held) == 2
    rows = DelayedJob.objects.order_by("name")
    assert [(row.state, row.attempts, row.crashes, row.started_at) for row in rows] == [
        ("retrying", 4, 1, None),
        ("enqueued", 0, 0, None),
    ]
    assert [row.run_at for row in rows] == run_at
    assert DelayedJob.objects.release(held) == 0
    assert len(DelayedJob.objects.claim(W2, 2)) == 2


def release_unstarted(row, age):
    return DelayedJob.objects.release_unstarted(row.locked_by, row.lock_token, row.pk, age)


def test_what_was_claimed_with_a_job_that_has_begun_is_released():
    for number in range(4):
        write(name=str(number), due=(number - 9) * HOUR)
    first, second, *_ = DelayedJob.objects.claim(W1, 3)
    [other] = DelayedJob.objects.claim(W2)
    assert release_unstarted(second, HOUR) == 2
    rows = DelayedJob.objects.order_by("name")
    assert [row.state for row in rows] == ["enqueued", "running", "enqueued", "running"]
    assert [row.locked_by for row in rows] == ["", W1, "", other.locked_by]
    started_at = rows[1].started_at
    assert -1.1 * HOUR < started_at - second.locked_at < -0.5 * HOUR
    # It began only once, and rows that the worker has claimed since then stay.
    [again] = DelayedJob.objects.claim(W1)
    assert again.pk == first.pk
    assert release_unstarted(second, 2 * HOUR) == 0
    assert DelayedJob.objects.get(pk=second.pk).started_at == started_at
    assert DelayedJob.objects.get(pk=first.pk).locked_by == W1


def test_rows_that_another_thread_of_the_worker_has_claimed_are_not_released():
    for number in range(4):
        write(name=str(number), due=(number - 9) * HOUR)
    first, _ = DelayedJob.objects.claim(W1, 2)
    DelayedJob.objects.claim(W1, 2)
    assert release_unstarted(first, HOUR) == 1
    rows = DelayedJob.objects.order_by("name")
    assert [row.state for row in rows] == ["running", "enqueued", "running", "running"]


@pytest.mark.parametrize("change", [{"locked_by": W2}, {"lock_token": 7}], ids=list)
def test_a_row_that_its_worker_does_not_hold_is_neither_noted_nor_released(change):
    for number in range(4):
        write(name=str(number), due=(number - 9) * HOUR)
    first, *_ = DelayedJob.objects.claim(W1, 2)
    DelayedJob.objects.running().update(**change)
    DelayedJob.objects.claim(W2)
    before = list(DelayedJob.objects.order_by("pk").values())
    assert release_unstarted(first, timedelta(minutes=1)) == 0
    assert list(DelayedJob.objects.order_by("pk").values()) == before


def test_the_plain_rows_of_a_claim_are_removed_together():
    for number in range(6):
        write(name=str(number), due=(number - 9) * HOUR)
    rows = DelayedJob.objects.claim(W1, 5)
    first, second, third, fourth, fifth = ids = [row.pk for row in rows]
    token = rows[0].lock_token
    DelayedJob.objects.filter(pk=second).update(extras=1)
    DelayedJob.objects.filter(pk=third).update(lock_token=token - 1)
    DelayedJob.objects.filter(pk=fourth).update(locked_by=W2)
    assert DelayedJob.objects.finish_together(W1, token, ids) == {first, fifth}
    assert DelayedJob.objects.finish_together(W1, token, ids) == set()
    assert [row.name for row in DelayedJob.objects.order_by("name")] == ["1", "2", "3", "5"]
    assert DelayedJob.objects.finish_together(W1, token, [second + 1000]) == set()


@pytest.mark.parametrize(
    ("wait", "state"), [(timedelta(0), "retrying"), (HOUR, "retrying"), (None, "failed")]
)
def test_a_crash_is_counted_and_the_job_is_tried_again_or_given_up(wait, state):
    write(crashes=1)
    held = claim()
    assert DelayedJob.objects.crash(held, error("killed by SIGKILL"), wait) is True
    row = DelayedJob.objects.get()
    assert (row.state, row.attempts, row.crashes, row.locked_by) == (state, 1, 2, "")
    assert row.error_message == "killed by SIGKILL"
    assert FailedAttempt.objects.get().error_message == "killed by SIGKILL"
    assert (row.run_at - held.locked_at > timedelta(minutes=59)) is (wait == HOUR)


@pytest.mark.parametrize("move", ["reschedule", "fail", "finish and keep"])
def test_another_outcome_ends_the_count_of_crashes(move):
    write(keep_for=HOUR)
    DelayedJob.objects.crash(claim(), error(), timedelta(0))
    assert DelayedJob.objects.get().crashes == 1
    assert MOVES[move](DelayedJob.objects, claim())
    assert DelayedJob.objects.get().crashes == 0


def test_a_suspect_gets_its_attempt_back_and_runs_alone_next():
    write(crashes=0, attempts=4, extras=1)
    held = claim()
    assert not held.runs_alone
    assert DelayedJob.objects.suspect(held) is True
    row = DelayedJob.objects.get()
    assert (row.state, row.attempts, row.crashes, row.run_at) == ("retrying", 4, 0, held.run_at)
    assert row.runs_alone
    assert row.extras == 1 | SUSPECT
    # It was not performed then, so it is still a suspect.
    assert DelayedJob.objects.release([claim()]) == 1
    assert DelayedJob.objects.suspect(claim()) is True
    assert claim().runs_alone


@pytest.mark.parametrize("move", ["reschedule", "snooze", "fail", "crash", "finish and keep"])
def test_a_suspect_that_was_performed_is_no_longer_a_suspect(move):
    write(keep_for=HOUR, extras=1 | SUSPECT)
    assert MOVES[move](DelayedJob.objects, claim())
    row = DelayedJob.objects.get()
    assert row.extras == 1
    assert row.runs_alone is (move == "crash")


# The operator's moves.


def one_in_each_state():
    now = timezone.now()
    write(name="scheduled", due=HOUR)
    write(name="enqueued")
    write(name="retrying", attempts=1)
    write(name="running", locked_at=now, locked_by=W1, attempts=1)
    write(name="failed", failed_at=now, attempts=25, crashes=3, last_error="it broke")
    write(name="finished", finished_at=now, attempts=1, keep_for=HOUR)


def test_retry_gives_failed_jobs_a_fresh_start_and_touches_no_others():
    one_in_each_state()
    before = {row.pk: columns_of(row) for row in DelayedJob.objects.exclude(name="failed")}
    assert DelayedJob.objects.retry() == 1
    assert {row.pk: columns_of(row) for row in DelayedJob.objects.exclude(name="failed")} == before
    row = DelayedJob.objects.get(name="failed")
    assert (row.state, row.attempts, row.crashes, row.last_error) == ("enqueued", 0, 0, "it broke")
    assert (row.failed_at, row.claimable) == (None, 1)
    assert DelayedJob.objects.ready().filter(pk=row.pk).exists()


def test_run_now_makes_waiting_jobs_due_and_touches_no_others():
    one_in_each_state()
    write(name="retrying later", due=HOUR, attempts=3, crashes=1, last_error="it broke")
    early = ["scheduled", "retrying later"]
    before = {row.pk: columns_of(row) for row in DelayedJob.objects.exclude(name__in=early)}
    assert DelayedJob.objects.run_now() == 2
    assert {row.pk: columns_of(row) for row in DelayedJob.objects.exclude(name__in=early)} == before
    assert DelayedJob.objects.ready().filter(name__in=early).count() == 2
    row = DelayedJob.objects.get(name="retrying later")
    assert (row.state, row.attempts, row.crashes, row.last_error) == ("retrying", 3, 1, "it broke")
    assert DelayedJob.objects.get(name="scheduled").state == "enqueued"
    assert DelayedJob.objects.run_now() == 0


@pytest.mark.parametrize("state", ["scheduled", "enqueued", "retrying", "running", "finished"])
def test_retry_of_other_jobs_logs_that_none_has_failed(state, caplog):
    one_in_each_state()
    assert DelayedJob.objects.in_state(state).retry() == 0
    assert "none has failed. run_now() is for waiting jobs" in caplog.text


@pytest.mark.parametrize("names", [["failed"], ["failed", "retrying"], []], ids=len)
def test_retry_logs_nothing_if_it_moves_a_job_or_if_there_is_none(names, caplog):
    one_in_each_state()
    assert DelayedJob.objects.filter(name__in=names).retry() == len(names[:1])
    assert DelayedJob.objects.failed().retry() == 1 - len(names[:1])
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("before", "after"), [(None, HOUR), (HOUR / 2, HOUR), (2 * HOUR, 2 * HOUR)], ids=["none", "less", "more"]
)
@pytest.mark.parametrize("move", ["retry", "run_now"])
def test_an_operator_may_have_a_job_kept_at_least_for_a_while(move, before, after):
    columns = {"retry": {"failed_at": timezone.now(), "due": -HOUR}, "run_now": {"due": HOUR}}[move]
    write(keep_for=before, **columns)
    assert getattr(DelayedJob.objects, move)(HOUR) == 1
    assert DelayedJob.objects.finish(claim())
    row = DelayedJob.objects.get()
    assert (row.state, row.keep_for, row.expires_at - row.finished_at) == ("finished", after, after)


@pytest.mark.parametrize("move", ["retry", "run_now"])
def test_otherwise_no_job_is_kept(move):
    columns = {"retry": {"failed_at": timezone.now(), "due": -HOUR}, "run_now": {"due": HOUR}}[move]
    write(**columns)
    assert getattr(DelayedJob.objects, move)() == 1
    assert DelayedJob.objects.finish(claim())
    assert not DelayedJob.objects.exists()


def test_adjust_changes_what_waits_and_touches_no_other_job():
    one_in_each_state()
    write(name="retrying later", due=HOUR, attempts=3, crashes=1, last_error="it broke")
    waiting = ["scheduled", "enqueued", "retrying", "retrying later"]
    before = {row.pk: columns_of(row) for row in DelayedJob.objects.all()}
    then = timezone.now() + 2 * HOUR
    assert DelayedJob.objects.adjust(run_at=then, queue="slow", priority=7) == 4
    changes = {"run_at": then, "queue": "slow", "priority": 7}
    for row in DelayedJob.objects.all():
        changed = changes if row.name in waiting else {}
        assert columns_of(row) == before[row.pk] | changed


@pytest.mark.parametrize("change", [{"run_at": timezone.now() - HOUR}, {"queue": "slow"}, {"priority": -7}])
def test_adjust_leaves_what_it_is_not_given(change):
    row = write(due=HOUR)
    before = columns_of(row)
    assert DelayedJob.objects.adjust(**change) == 1
    assert columns_of(row) == before | change
    assert bool(DelayedJob.objects.claim(W1)) == ("run_at" in change)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, "takes run_at, queue or priority"),
        ({"queue": None}, "takes run_at, queue or priority"),
        ({"queue": ""}, "1 to 255 printable"),
        ({"queue": "x" * 256}, "1 to 255 printable"),
        ({"queue": "a,b"}, "no comma"),
        ({"queue": lambda: "slow"}, "must be a string"),
        ({"priority": "5"}, "must be a whole number"),
        ({"priority": 2**31}, "fit into 32 bits"),
        ({"run_at": datetime(2030, 1, 1)}, "aware of its time zone"),
        ({"run_at": date(2030, 1, 1)}, "must be a datetime"),
        ({"run_at": datetime(9999, 1, 1, tzinfo=UTC)}, "out of range"),
    ],
    ids=str,
)
def test_adjust_refuses_what_an_enqueue_refuses(change, problem):
    row = write()
    before = columns_of(row)
    with pytest.raises((TypeError, ValueError), match=problem):
        DelayedJob.objects.adjust(**change)
    assert columns_of(row) == before


def test_give_up_fails_what_is_to_be_tried_again_and_touches_no_other_job():
    one_in_each_state()
    write(name="retrying later", due=HOUR, attempts=3, last_error="it broke\n\nTraceback")
    retrying = ["retrying", "retrying later"]
    before = {row.pk: columns_of(row) for row in DelayedJob.objects.exclude(name__in=retrying)}
    assert DelayedJob.objects.give_up("ann") == 2
    assert {row.pk: columns_of(row) for row in DelayedJob.objects.exclude(name__in=retrying)} == before
    row = DelayedJob.objects.get(name="retrying later")
    assert (row.state, row.attempts, row.claimable, row.expires_at) == ("failed", 3, None, None)
    assert row.last_error == "Given up by ann.\n\nit broke\n\nTraceback"
    assert DelayedJob.objects.give_up("ann") == 0


def test_a_job_that_was_given_up_may_be_retried_and_fails_with_its_own_error():
    write(attempts=3, last_error="it broke")
    assert DelayedJob.objects.give_up() == 1
    assert DelayedJob.objects.get().last_error == "Given up by an operator.\n\nit broke"
    assert DelayedJob.objects.retry() == 1
    assert DelayedJob.objects.fail(claim(), error("again"))
    assert "Given up" not in DelayedJob.objects.get().last_error


def test_the_name_of_who_gives_up_may_have_any_characters():
    write(attempts=1, last_error="it broke")
    assert DelayedJob.objects.give_up("ann\0\ud800é" + "x" * 300) == 1
    assert DelayedJob.objects.get().last_error.startswith("Given up by ann\ufffd\\ud800é" + "x" * 200)


@pytest.mark.parametrize("by", [None, 5, b"ann"])
def test_give_up_by_an_invalid_name_is_refused(by):
    write(attempts=1)
    with pytest.raises(TypeError, match=r"give_up\(by=…\) must be the name of the operator, not "):
        DelayedJob.objects.give_up(by)
    assert DelayedJob.objects.retrying().exists()


def test_a_job_that_is_given_up_expires_as_other_failed_jobs_do(settings):
    settings.DJANGO_DELAYED = {"KEEP_FAILED_FOR": HOUR}
    write(attempts=1)
    assert DelayedJob.objects.give_up("ann") == 1
    row = DelayedJob.objects.get()
    assert row.expires_at - row.failed_at == HOUR


def test_retry_and_discard_move_the_rows_of_their_query_only():
    one, other = (write(name=name, failed_at=timezone.now()) for name in ("one", "other"))
    assert DelayedJob.objects.filter(pk=one.pk).retry() == 1
    assert DelayedJob.objects.filter(pk=other.pk).discard() == 1
    assert DelayedJob.objects.get() == one


def test_discard_removes_every_state_but_running():
    one_in_each_state()
    for row in DelayedJob.objects.all():
        FailedAttempt.objects.create(delayed_job=row, number=1, ended_at=timezone.now(), error_class="E")
    assert DelayedJob.objects.discard() == 5
    assert [row.name for row in DelayedJob.objects.all()] == ["running"]
    assert [attempt.delayed_job.name for attempt in FailedAttempt.objects.all()] == ["running"]


def test_discard_takes_any_number_of_rows():
    DelayedJob.objects.bulk_create(DelayedJob(name=str(n), payload="{}") for n in range(1201))
    held = DelayedJob.objects.claim(W1, 3)
    assert DelayedJob.objects.discard() == 1198
    assert set(DelayedJob.objects.all()) == set(held)


def test_discard_leaves_the_failed_attempts_of_a_row_that_was_claimed_meanwhile():
    free, held = write(name="free", due=HOUR, attempts=1), write(name="held", attempts=1)
    for row in (free, held):
        FailedAttempt.objects.create(delayed_job=row, number=1, ended_at=timezone.now(), error_class="E")
    claim()
    assert DelayedJob.objects.discard_batch([free.pk, held.pk]) == 1
    assert list(DelayedJob.objects.all()) == [held]
    assert [attempt.delayed_job for attempt in FailedAttempt.objects.all()] == [held]


def test_prune_removes_the_rows_that_have_expired():
    now = timezone.now()
    write(name="expired", finished_at=now, expires_at=now - HOUR)
    write(name="failed and expired", failed_at=now, expires_at=now - HOUR)
    write(name="still kept", finished_at=now, expires_at=now + HOUR)
    write(name="kept for good", finished_at=now - HOUR)
    write(name="running", locked_at=now, expires_at=now - HOUR)
    assert DelayedJob.objects.prune() == 2
    names = set(DelayedJob.objects.values_list("name", flat=True))
    assert names == {"still kept", "kept for good", "running"}
    assert DelayedJob.objects.prune() == 0


def test_a_job_that_is_retried_while_it_is_about_to_be_removed_stays(monkeypatch):
    write(name="failed and expired", failed_at=timezone.now(), expires_at=timezone.now() - HOUR)
    discard = DelayedJobQuerySet.discard_batch

    def retry_first(rows, *what):
        assert DelayedJob.objects.retry() == 1
        return discard(rows, *what)

    monkeypatch.setattr(DelayedJobQuerySet, "discard_batch", retry_first)
    assert DelayedJob.objects.prune() == 0
    assert DelayedJob.objects.get().state == "enqueued"


FAIL = {
    "fail": lambda jobs, row: jobs.fail(row, error()),
    "crash": lambda jobs, row: jobs.crash(row, error(), None),
    "set_aside": lambda jobs, row: jobs.set_aside([row.pk]),
}


@pytest.mark.parametrize("name", FAIL)
def test_a_failed_job_expires_only_with_the_setting(settings, name):
    write()
    assert FAIL[name](DelayedJob.objects, claim())
    assert DelayedJob.objects.get().expires_at is None
    settings.DJANGO_DELAYED = {"KEEP_FAILED_FOR": HOUR}
    DelayedJob.objects.retry()
    assert FAIL[name](DelayedJob.objects, claim())
    row = DelayedJob.objects.get()
    assert (row.state, row.expires_at - row.failed_at) == ("failed", HOUR)
    assert DelayedJob.objects.prune() == 0


@pytest.mark.parametrize("name", FAIL)
def test_a_failed_job_that_is_not_kept_is_removed_with_its_failed_attempts(settings, name):
    settings.DJANGO_DELAYED = {"KEEP_FAILED_FOR": 0}
    write()
    FAIL[name](DelayedJob.objects, claim())
    assert DelayedJob.objects.prune() == 1
    assert not FailedAttempt.objects.exists()


def test_an_attempt_that_is_tried_again_does_not_expire(settings):
    settings.DJANGO_DELAYED = {"KEEP_FAILED_FOR": 0}
    write()
    DelayedJob.objects.reschedule(claim(), error(), -HOUR)
    DelayedJob.objects.crash(claim(), error(), HOUR)
    assert DelayedJob.objects.prune() == 0
    assert DelayedJob.objects.get().expires_at is None


def test_a_retried_job_does_not_expire():
    write(failed_at=timezone.now(), expires_at=timezone.now() - HOUR)
    assert DelayedJob.objects.retry() == 1
    assert DelayedJob.objects.get().expires_at is None


# Further statements in a move.


def note(text):
    return lambda: FailedAttempt.objects.create(
        delayed_job_id=10**9, number=1, ended_at=timezone.now(), error_class=text
    )


WITH_ALSO = {
    "finish": lambda row, also: DelayedJob.objects.finish(row, also),
    "finish and keep": lambda row, also: DelayedJob.objects.finish(row, also),
    "discard_held": lambda row, also: DelayedJob.objects.discard_held(row, also),
    "reschedule": lambda row, also: DelayedJob.objects.reschedule(row, error(), HOUR, also),
    "fail": lambda row, also: DelayedJob.objects.fail(row, error(), also),
    "crash": lambda row, also: DelayedJob.objects.crash(row, error(), HOUR, also),
}


@pytest.mark.parametrize("name", WITH_ALSO)
def test_a_move_runs_further_statements_in_its_transaction(name):
    write(keep_for=HOUR if name == "finish and keep" else None)
    row = claim()
    before = columns_of(row)

    def break_off():
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        WITH_ALSO[name](row, [note("first"), break_off])
    assert columns_of(row) == before
    assert not FailedAttempt.objects.exists()
    assert WITH_ALSO[name](row, [note("first"), note("second")]) is True
    assert [a.error_class for a in FailedAttempt.objects.filter(delayed_job_id=10**9)] == ["first", "second"]


# All or nothing.

ALL_MOVES = {
    **MOVES,
    "run_now": lambda jobs, row: jobs.run_now(),
    "retry": lambda jobs, row: jobs.retry(),
    "discard": lambda jobs, row: jobs.discard(),
    "prune": lambda jobs, row: jobs.prune(),
}


@pytest.mark.parametrize("name", ALL_MOVES)
def test_a_move_that_breaks_off_at_any_of_its_statements_changes_nothing(name):
    write(keep_for=HOUR if name == "finish and keep" else None)
    DelayedJob.objects.reschedule(claim(), error(), -HOUR)
    row = claim()
    if name == "run_now":
        DelayedJob.objects.reschedule(row, error(), HOUR)
    elif name not in MOVES:
        DelayedJob.objects.fail(row, error())
        DelayedJob.objects.update(expires_at=timezone.now() - HOUR)
    before = columns_of(row), list(FailedAttempt.objects.order_by("pk").values())
    for number in itertools.count(1):
        statements = []

        def break_off(execute, sql, *rest, statements=statements, number=number):
            # A rollback is no part of the move.
            if not sql.startswith(("ROLLBACK", "RELEASE")):
                statements.append(sql)
                if len(statements) == number:
                    raise ArithmeticError
            return execute(sql, *rest)

        try:
            with connection.execute_wrapper(break_off):
                assert ALL_MOVES[name](DelayedJob.objects, row) == 1
        except ArithmeticError:
            # The test's transaction goes on: it would keep what the move had written before it broke off.
            transaction.set_rollback(False)
            assert (columns_of(row), list(FailedAttempt.objects.order_by("pk").values())) == before
        else:
            break
    assert number > 1
    assert list(DelayedJob.objects.values()) != [before[0]]


@pytest.mark.parametrize("name", WITH_ALSO)
def test_the_further_statements_of_a_lost_claim_are_not_run(name):
    write()
    row = claim()
    DelayedJob.objects.release([row])
    assert WITH_ALSO[name](row, [note("first")]) is False
    assert not FailedAttempt.objects.exists()


# About an object.


def test_about_finds_the_jobs_of_an_instance():
    article, other = Post.objects.create(title="one"), Post.objects.create(title="other")
    called, given = article.delay().bare(), Plain.perform_later(article)
    other.delay().bare()
    assert set(DelayedJob.objects.about(article)) == {called, given}


@pytest.mark.parametrize("thing", [None, "blog.post:9", Post, Post(title="unsaved"), Post(pk=9)])
def test_about_takes_a_saved_instance(thing):
    with pytest.raises(TypeError, match="takes a saved model instance"):
        DelayedJob.objects.about(thing)


def test_about_takes_no_instance_that_is_gone():
    article = Post.objects.create()
    article.delete()
    with pytest.raises(TypeError, match="takes a saved model instance"):
        DelayedJob.objects.about(article)


# Changes by hand.


@pytest.mark.parametrize("column", ["locked_at", "failed_at", "finished_at"])
def test_an_update_by_hand_keeps_claimable_right(column):
    row = write()
    DelayedJob.objects.update(**{column: timezone.now()})
    assert DelayedJob.objects.get().claimable is None
    DelayedJob.objects.update(**{column: None})
    assert DelayedJob.objects.get().claimable == 1
    DelayedJob.objects.update(locked_at=timezone.now(), failed_at=timezone.now())
    DelayedJob.objects.update(**{column: None})
    assert DelayedJob.objects.get().claimable is None
    DelayedJob.objects.update(locked_at=None, failed_at=None, finished_at=None)
    assert claim() == row


def test_moves_in_a_callers_transaction_are_rolled_back_with_it():
    write()
    with transaction.atomic():
        assert DelayedJob.objects.fail(claim(), error())
        transaction.set_rollback(True)
    row = DelayedJob.objects.get()
    assert (row.state, row.attempts, row.last_error) == ("enqueued", 0, "")
    assert not FailedAttempt.objects.exists()


class ReadsFromAReplica:
    """The router of a project with a replica that does not exist: django_delayed must not use the replica."""

    def db_for_read(self, model, **hints):
        return "replica"

    def db_for_write(self, model, **hints):
        return "default"


@pytest.mark.parametrize("move", ["retry", "discard", "prune"])
def test_moves_are_made_where_rows_are_written(settings, move):
    settings.DATABASE_ROUTERS = [ReadsFromAReplica()]
    write(failed_at=timezone.now(), expires_at=timezone.now() - HOUR)
    assert getattr(DelayedJob.objects.failed(), move)() == 1


def test_a_job_is_claimed_and_settled_where_rows_are_written(settings):
    settings.DATABASE_ROUTERS = [ReadsFromAReplica()]
    write()
    assert DelayedJob.objects.reschedule(claim(), error(), -HOUR)
    assert DelayedJob.objects.finish(claim())
    assert not DelayedJob.objects.exists()
