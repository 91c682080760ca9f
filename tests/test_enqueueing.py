import logging
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection, transaction
from django.db.models.signals import post_init, pre_init
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from django_delayed import SerializationError, delay, enqueue, enqueue_all
from django_delayed.enqueueing.rows import _model
from django_delayed.models import DelayedJob
from django_delayed.signals import job_enqueued, job_finished, job_started
from tests.blog import jobs
from tests.blog.jobs import CleanUpJob, Curious, Hooked, Plain
from tests.blog.models import Post
from tests.blog.work import load, work_off

# Whether the database has one writer at a time.
one_writer = not connection.features.has_select_for_update


def numbers():
    return [args[0] for args in (load(row).args for row in DelayedJob.objects.order_by("pk"))]


# One row


@pytest.mark.django_db
def test_a_job_becomes_a_row_that_is_ready():
    row = enqueue(Plain(1, key="ü"), queue="mail", priority=-3)
    stored = DelayedJob.objects.get()
    assert stored == row
    assert (stored.name, stored.queue, stored.priority, stored.state) == ("Plain", "mail", -3, "enqueued")
    assert (stored.attempts, stored.crashes, stored.max_attempts, stored.claimable) == (0, 0, 25, 1)
    assert (stored.last_error, stored.error_class, stored.locked_by, stored.result) == ("", "", "", "")
    assert stored.run_at == stored.created_at == row.run_at == row.created_at
    assert stored.keep_for is None
    assert stored in DelayedJob.objects.ready()


@pytest.mark.django_db
def test_the_row_that_is_returned_is_the_row_that_was_stored():
    row = Plain.set(wait=90).perform_later(1)
    stored = DelayedJob.objects.get()
    for field in DelayedJob._meta.concrete_fields:
        assert getattr(row, field.attname) == getattr(stored, field.attname), field.name
    assert not row._state.adding
    assert row._state.db == "default"


@pytest.mark.django_db
def test_the_settings_say_how_often_it_is_tried_and_how_long_it_is_kept(settings):
    settings.DJANGO_DELAYED = {"MAX_ATTEMPTS": 3, "KEEP_FINISHED_FOR": timedelta(days=2)}
    row = DelayedJob.objects.get(pk=Plain.perform_later().pk)
    assert (row.max_attempts, row.keep_for) == (3, timedelta(days=2))
    assert CleanUpJob.perform_later(Post.objects.create(title="a")).max_attempts == 8


@pytest.mark.django_db
def test_one_enqueue_is_one_statement(django_assert_num_queries):
    post = Post.objects.create(title="a")
    with django_assert_num_queries(1):
        post.delay().send_to_twitter()
    with django_assert_num_queries(1):
        post.reindex()
    with django_assert_num_queries(1):
        CleanUpJob.set(wait=timedelta(weeks=1)).perform_later(post)


def test_without_the_app_an_enqueue_says_what_to_add(settings):
    _model.cache_clear()
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_delayed"]
    with pytest.raises(ImproperlyConfigured, match='Add "django_delayed" to INSTALLED_APPS'):
        Plain.perform_later()
    with pytest.raises(ImproperlyConfigured, match='Add "django_delayed" to INSTALLED_APPS'):
        delay(jobs.resize)(1)


@pytest.mark.parametrize("thing", [Plain, Plain.set(queue="a"), delay, None, 5, jobs.Cleaner], ids=range(6))
def test_an_object_that_is_not_a_job_is_refused_and_the_error_says_what_to_write(thing):
    with pytest.raises(TypeError, match=r"takes an instance of a Job, as in enqueue\(MyJob\(…\)\)"):
        enqueue(thing)


@pytest.mark.django_db
def test_a_job_may_be_enqueued_twice():
    job = Plain(1)
    assert enqueue(job).pk != enqueue(job).pk


# Many rows


@pytest.mark.django_db
def test_many_jobs_are_one_insert(django_assert_num_queries):
    with django_assert_num_queries(1) as captured:
        rows = enqueue_all([Plain(number) for number in range(100)], queue="bulk", wait=60)
    assert captured[0]["sql"].count("INSERT INTO") == 1
    assert numbers() == list(range(100))
    assert [row.pk for row in rows] == list(DelayedJob.objects.order_by("pk").values_list("pk", flat=True))
    assert {(row.queue, row.state) for row in DelayedJob.objects.all()} == {("bulk", "scheduled")}


@pytest.mark.django_db
def test_thousands_of_jobs_are_few_inserts_in_one_transaction():
    with CaptureQueriesContext(
        connection,
    ) as captured:
        rows = enqueue_all(Plain(number) for number in range(2500))
    inserts = [query for query in captured if "INSERT INTO" in query["sql"]]
    assert (len(inserts), len(captured)) == (3, 5)  # and a savepoint, or BEGIN and COMMIT
    assert len({row.pk for row in rows}) == DelayedJob.objects.count() == 2500
    assert numbers() == list(range(2500))


@pytest.mark.django_db
def test_long_payloads_are_spread_over_inserts():
    with CaptureQueriesContext(connection) as captured:
        enqueue_all([Plain("x" * 1_000_000) for _ in range(9)])
    assert len([query for query in captured if "INSERT INTO" in query["sql"]]) == 3
    assert DelayedJob.objects.count() == 9


@pytest.mark.django_db(transaction=True)
def test_all_of_many_jobs_are_written_or_none(monkeypatch):
    monkeypatch.setattr("django_delayed.databases.inserting.MOST_ROWS", 2)
    broken = [Plain(1), Plain(2), Plain(3)]
    monkeypatch.setattr(broken[2], "max_attempts", 2**80, raising=False)  # no database can store that
    with pytest.raises((DatabaseError, OverflowError)):
        enqueue_all(broken)
    assert not DelayedJob.objects.exists()


@pytest.mark.django_db
def test_a_job_that_cannot_travel_keeps_all_from_being_written():
    with pytest.raises(SerializationError):
        enqueue_all([Plain(1), Plain(object()), Plain(3)])
    assert not DelayedJob.objects.exists()


@pytest.mark.django_db
def test_the_result_has_none_in_place_of_each_vetoed_job(diary, django_assert_num_queries):
    with django_assert_num_queries(1):
        first, vetoed, last = enqueue_all([Hooked("", False), Hooked("", True), Hooked("", False)])
    assert vetoed is None
    assert {first.pk, last.pk} == set(DelayedJob.objects.values_list("pk", flat=True))
    assert diary == ["before_enqueue"] * 3 + ["after_enqueue"] * 2


@pytest.mark.parametrize("given", [Plain(1), Plain, None, 7])
def test_anything_but_many_jobs_is_refused_and_the_error_says_how_to_write_it(given):
    with pytest.raises(TypeError, match=r"enqueue_all\(\) takes many jobs, as in enqueue_all\(\[MyJob"):
        enqueue_all(given)


@pytest.mark.django_db
def test_no_jobs_take_no_statement(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert enqueue_all([]) == []
        assert enqueue_all([Hooked("", True)]) == [None]


@pytest.mark.django_db
def test_each_job_of_many_has_its_own_options():
    first, second = Plain(1), CleanUpJob(Post.objects.create(title="a"))
    first.layers = ({"queue": "first"},)
    assert [row.queue for row in enqueue_all([first, second])] == ["first", "maintenance"]
    assert [row.queue for row in enqueue_all([first, second], queue="all")] == ["all", "all"]


# Hooks and signals


@pytest.mark.django_db
@pytest.mark.parametrize("signal", [pre_init, post_init])
def test_a_receiver_of_model_signals_hears_of_every_row(signal):
    heard = []

    def hear(**what):
        heard.append(what["instance"] if signal is post_init else what["kwargs"]["name"])

    signal.connect(hear, sender=DelayedJob)
    try:
        rows = enqueue_all([Plain(1), Plain(2)])
    finally:
        signal.disconnect(hear, sender=DelayedJob)
    assert heard == (rows if signal is post_init else ["Plain", "Plain"])
    assert numbers() == [1, 2]


@pytest.mark.django_db
def test_a_change_of_one_row_does_not_change_another():
    first, second = enqueue_all([Plain(1), Plain(2)])
    first.priority, first.failed_at = 7, timezone.now()
    assert (second.priority, second.failed_at, second._state is first._state) == (0, None, False)


@pytest.mark.django_db
def test_after_enqueue_sees_the_row():
    Curious.seen.clear()
    row = Curious.perform_later()
    assert [(hook, view.id) for hook, view in Curious.seen] == [("after_enqueue", row.pk)]


@pytest.fixture
def heard():
    """What a receiver of the signals about jobs has got; it raises each time."""
    said = []

    def hear(**what):
        said.append(what)
        raise ArithmeticError("a receiver that is broken")

    for signal in (job_enqueued, job_started, job_finished):
        signal.connect(hear)
    yield said
    for signal in (job_enqueued, job_started, job_finished):
        signal.disconnect(hear)


@pytest.mark.django_db
def test_a_signal_tells_of_every_enqueued_job(heard, caplog):
    caplog.set_level(logging.CRITICAL, "django.dispatch")
    job = Plain(1)
    row = enqueue(job)
    [said] = heard
    assert (said["signal"], said["sender"], said["job"], said["delayed_job"]) == (
        job_enqueued,
        Plain,
        job,
        row,
    )


# The transaction of an enqueue: ENQUEUE


@pytest.mark.django_db(transaction=True)
def test_a_job_is_committed_or_rolled_back_with_the_transaction_of_its_caller():
    with transaction.atomic():
        Plain.perform_later()
        assert DelayedJob.objects.exists()
        transaction.set_rollback(True)
    assert not DelayedJob.objects.exists()
    with transaction.atomic():
        Plain.perform_later()
    assert DelayedJob.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_on_commit_a_job_is_written_once_the_transaction_has_committed(settings, diary):
    settings.DJANGO_DELAYED = {"ENQUEUE": "on_commit"}
    with transaction.atomic():
        with transaction.atomic():
            row = Hooked.perform_later()
        assert (row.pk, row.state) == (None, "enqueued")
        assert Hooked.set(wait=60).perform_later().state == "scheduled"
        assert not DelayedJob.objects.exists()
        assert diary == ["before_enqueue"] * 2
    assert DelayedJob.objects.order_by("pk").first() == row
    assert diary == ["before_enqueue"] * 2 + ["after_enqueue"] * 2
    assert Hooked.perform_later().pk  # without a transaction, it is written at once


@pytest.mark.django_db
def test_on_commit_a_job_is_written_when_a_test_captures_the_callbacks(
    settings, django_capture_on_commit_callbacks
):
    settings.DJANGO_DELAYED = {"ENQUEUE": "on_commit"}
    with django_capture_on_commit_callbacks(execute=True):
        Plain.perform_later()
        assert not DelayedJob.objects.exists()
    assert DelayedJob.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_on_commit_a_job_is_not_written_after_a_rollback(settings):
    settings.DJANGO_DELAYED = {"ENQUEUE": "on_commit"}
    with transaction.atomic():
        with transaction.atomic():
            Plain.perform_later()
            transaction.set_rollback(True)
        Plain.perform_later("kept")
    assert numbers() == ["kept"]


TWO_DATABASES = """
import django
django.setup()
from django.core.management import call_command
from django.db import transaction
from django_delayed.models import DelayedJob
from tests.blog.jobs import Plain

call_command("migrate", database="queue", verbosity=0)
for roll_back in (True, False):
    with transaction.atomic():
        with transaction.atomic(using="queue"):
            assert Plain.perform_later(roll_back).pk is None
        transaction.set_rollback(roll_back)
        assert not DelayedJob.objects.using("queue").exists()
assert '"args":[false]' in DelayedJob.objects.using("queue").get().payload

with transaction.atomic():
    with transaction.atomic(using="queue"):
        Plain.perform_later("of a transaction that is rolled back")
        transaction.set_rollback(True, using="queue")
assert DelayedJob.objects.using("queue").count() == 1
"""
OF_THE_QUEUE_ALONE = """
with transaction.atomic(using="queue"):
    assert Plain.perform_later().pk
    transaction.set_rollback(True, using="queue")
assert Plain.perform_later().pk
assert DelayedJob.objects.using("queue").count() == 2
"""
ALL_MOVES = """
from datetime import timedelta

import django
django.setup()
from django.core.management import call_command
from django.db import connections, transaction
from django.utils import timezone
from django_delayed.models import DelayedJob, FailedAttempt, WorkerProcess
from django_delayed.testing import work_off
from tests.blog.jobs import FailingAbroad, Plain

call_command("migrate", database="queue", verbosity=0)
rows, now, hour = DelayedJob.objects.using("queue"), timezone.now(), timedelta(hours=1)

def refuse(*statement):
    raise AssertionError(statement)


with connections["default"].execute_wrapper(refuse):
    FailingAbroad.perform_later()
    Plain.perform_later()
    work_off(raise_errors=False)
    assert rows.get().attempts == FailedAttempt.objects.using("queue").count() == 1
    assert rows.run_now() == rows.adjust(priority=3) == rows.give_up("ann") == 1
    assert rows.retry(hour) == 1
    [row] = rows.claim("w", 1)
    assert rows.release([row]) == 1

    WorkerProcess.objects.using("queue").create(
        id="w", hostname="host", pid=7, started_at=now, heartbeat_at=now
    )
    [row] = rows.claim("w", 1)
    Plain.perform_later()
    assert rows.cancel("ann") == (1, 1)
    # Neither of a move and a statement that belongs to it is written if that statement fails.
    try:
        rows.finish(row, [lambda: 1 / 0])
    except ZeroDivisionError:
        pass
    assert rows.running().count() == 1
    assert rows.set_aside([row.pk]) == 1
    assert rows.discard() == 1
"""
OF_THE_DATA_ELSEWHERE = """
import django
django.setup()
from django.core.management import call_command
from django.db import transaction
from tests.blog.jobs import Plain

call_command("migrate", database="queue", verbosity=0)
with transaction.atomic(using="queue"):
    row = Plain.perform_later()
    assert row.pk is None
assert row.pk
with transaction.atomic(using="queue"), transaction.atomic():
    assert Plain.perform_later().pk
"""
IN_A_TEST_CASE = """
import unittest
import django
django.setup()
from django.core.management import call_command
from django.test import TestCase
from django.db import transaction
from django_delayed.models import all_rows
from django_delayed.testing import work_off
from tests.blog.jobs import Plain

call_command("migrate", database="queue", verbosity=0)

class OfBoth(TestCase):
    databases = {"default", "queue"}

    def test_callbacks(self):
        row = Plain.perform_later()
        assert row.pk is None
        with self.captureOnCommitCallbacks(execute=True):
            row = Plain.perform_later()
        assert all_rows().get() == row
        assert work_off() == 1

    def test_transactions_within(self):
        with self.captureOnCommitCallbacks(execute=True):
            with transaction.atomic():
                Plain.perform_later()
                assert not all_rows().exists()
        assert all_rows().count() == 1

unittest.main(argv=["test"])
"""


@pytest.fixture
def beside_another_database(tmp_path, child_environment):
    """Run a script in a separate process with this DJANGO_DELAYED and an empty database "queue"."""

    def run(script, **given):
        (tmp_path / "two_databases.py").write_text(
            "from tests.settings import *\n"
            "queue = {'ENGINE': 'django.db.backends.sqlite3',"
            f" 'NAME': {str(tmp_path / 'queue.sqlite3')!r}}}\n"
            "DATABASES = {**DATABASES, 'queue': queue}\n"
            f"DJANGO_DELAYED = {given}\n"
        )
        environment = {
            **child_environment,
            "DJANGO_SETTINGS_MODULE": "two_databases",
            "PYTHONPATH": f"{tmp_path}:{child_environment['PYTHONPATH']}",
        }
        subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=60)

    return run


def test_on_commit_waits_for_the_transactions_on_every_database(beside_another_database):
    beside_another_database(TWO_DATABASES, DATABASE="queue", ENQUEUE="on_commit")


def test_a_queue_on_another_alias_waits_for_the_commit_of_the_data(beside_another_database):
    beside_another_database(TWO_DATABASES + OF_THE_QUEUE_ALONE, DATABASE="queue")


def test_every_move_of_a_queue_on_another_alias_is_made_there_alone(beside_another_database):
    beside_another_database(ALL_MOVES, DATABASE="queue")


def test_a_job_about_data_on_another_alias_waits_for_their_commit(beside_another_database):
    beside_another_database(OF_THE_DATA_ELSEWHERE)


@pytest.mark.parametrize(
    "given",
    [{"DATABASE": "queue"}, {"DATABASE": "queue", "ENQUEUE": "on_commit"}, {"ENQUEUE": "on_commit"}],
    ids=str,
)
def test_in_a_test_case_of_two_databases_a_job_waits_for_the_callbacks_of_the_data(
    beside_another_database, given
):
    beside_another_database(IN_A_TEST_CASE, **given)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(one_writer, reason="this database has one writer at a time")
def test_immediately_a_job_outlives_the_rollback_of_its_caller(settings, diary):
    settings.DJANGO_DELAYED = {"ENQUEUE": "immediate"}
    with transaction.atomic():
        Post.objects.create(title="a")
        mine = connection.connection
        Hooked.perform_later()
        enqueue_all([Plain(number) for number in range(1200)])
        assert connection.connection is mine
        assert diary == ["before_enqueue", "after_enqueue"]
        transaction.set_rollback(True)
    assert not Post.objects.exists()
    assert DelayedJob.objects.count() == 1201


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(one_writer, reason="this database has one writer at a time")
def test_immediately_what_after_enqueue_writes_is_the_callers(settings, monkeypatch):
    settings.DJANGO_DELAYED = {"ENQUEUE": "immediate"}
    monkeypatch.setattr(Curious, "after_enqueue", lambda self: Post.objects.create(title="a"))
    with transaction.atomic():
        Curious.perform_later()
        transaction.set_rollback(True)
    assert DelayedJob.objects.count() == 1
    assert not Post.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(one_writer, reason="this database has one writer at a time")
def test_immediately_a_job_outlives_the_rollback_of_a_transaction_by_hand(settings):
    settings.DJANGO_DELAYED = {"ENQUEUE": "immediate"}
    transaction.set_autocommit(False)
    try:
        Plain.perform_later()
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    assert DelayedJob.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_immediately_without_a_transaction_a_job_is_written_at_once(settings):
    settings.DJANGO_DELAYED = {"ENQUEUE": "immediate"}
    assert Plain.perform_later() == DelayedJob.objects.get()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not one_writer, reason="this database has more than one writer")
def test_immediately_within_a_transaction_is_refused_where_there_is_one_writer(settings):
    settings.DJANGO_DELAYED = {"ENQUEUE": "immediate"}
    with transaction.atomic(), pytest.raises(ImproperlyConfigured, match="SQLite has one writer at a time"):
        Plain.perform_later()


# Performed inline: DELAY_JOBS


@pytest.fixture
def inline(settings):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": False}


@pytest.mark.django_db
def test_inline_a_job_is_performed_at_once_and_nothing_is_written(inline, diary):
    post = Post.objects.create(title="a")
    row = post.delay(queue="mail", wait=60).send_to_twitter("now")
    assert diary == [("tweet", post.pk, "now", None)]
    assert (row.pk, row.queue, row.name) == (None, "mail", "Post.send_to_twitter")
    assert not DelayedJob.objects.exists()


@pytest.mark.django_db
def test_inline_before_the_app_is_ready_is_refused_and_the_error_says_what_to_do(inline, monkeypatch):
    monkeypatch.setattr("django_delayed.enqueueing.writing.inline", None)
    with pytest.raises(ImproperlyConfigured, match="put it before"):
        Plain.perform_later()


@pytest.mark.django_db
def test_inline_the_hooks_come_in_order(inline, diary):
    enqueue_all([Hooked("", False), Hooked("", True)])
    assert diary == [
        *["before_enqueue", "before_enqueue", "after_enqueue"],
        *["before_perform", "around begins", "perform", "around ends", "after_perform"],
    ]


@pytest.mark.django_db
def test_inline_the_error_is_raised_to_the_caller(inline):
    post = Post.objects.create(title="a")
    with pytest.raises(ConnectionError, match="no route"):
        post.delay().fail()
    assert not DelayedJob.objects.exists()


@pytest.mark.django_db
def test_inline_the_arguments_are_serialized_too(inline, diary):
    with pytest.raises(SerializationError):
        Plain.perform_later(object())
    post = Post.objects.create(title="a")
    stale = Post.objects.get()
    Post.objects.update(title="b")
    Plain.perform_later(stale)
    [(_, (fetched,), _)] = diary
    assert (fetched, fetched.title) == (post, "b")


@pytest.mark.django_db
def test_inline_a_job_sees_a_row_without_an_id(inline):
    Curious.seen.clear()
    Curious.perform_later()
    (_, before), (_, during) = Curious.seen
    assert (before.id, during.id, during.name) == (None, None, "Curious")
    assert isinstance(during.run_at, datetime)


@pytest.mark.django_db
@pytest.mark.parametrize("error", [None, ValueError])
def test_inline_the_language_and_the_time_zone_stay_those_of_the_caller(inline, in_job, error):
    seen = []

    def travel():
        seen.append((translation.get_language(), timezone.get_current_timezone_name()))
        translation.activate("fr")
        timezone.activate("Asia/Tokyo")
        if error:
            raise error

    with translation.override("de"), timezone.override(UTC):
        with pytest.raises(error) if error else nullcontext():
            in_job(travel)
        seen.append((translation.get_language(), timezone.get_current_timezone_name()))
    assert seen == [("de", "UTC")] * 2


@pytest.mark.django_db
def test_a_function_of_the_job_may_say_which_are_delayed(settings, diary):
    asked = []

    def is_delayed(row):
        asked.append(row)
        return row.priority > 1

    settings.DJANGO_DELAYED = {"DELAY_JOBS": is_delayed}
    rows = []
    for number in (3, 1, 2, 0):
        rows += enqueue_all([Plain(number), Plain(-number)], priority=number)
    assert [row.priority for row in asked] == [3, 3, 1, 1, 2, 2, 0, 0]
    assert [bool(row.pk) for row in rows] == [True, True, False, False] * 2
    assert diary == [("plain", (number,), {}) for number in (1, -1, 0, 0)]
    assert numbers() == [3, -3, 2, -2]


@pytest.mark.django_db
def test_a_function_of_the_job_sees_what_the_row_would_hold(settings):
    seen = []
    settings.DJANGO_DELAYED = {
        "DELAY_JOBS": lambda row: bool(seen.append(row)),
        "QUEUE_ATTRIBUTES": {"mail": {"priority": -7, "max_attempts": 3}},
    }
    post = Post.objects.create(title="a")
    before = timezone.now()
    post.delay(queue="mail", wait=60).send_to_twitter("now")
    Plain.set(run_at=before).perform_later()
    first, second = seen
    assert (first.name, first.about) == ("Post.send_to_twitter", f"blog.post:{post.pk}")
    assert (first.queue, first.priority, first.max_attempts, first.id) == ("mail", -7, 3, None)
    assert first.run_at >= before + timedelta(minutes=1)
    assert second.run_at == before
    with pytest.raises(FrozenInstanceError):
        first.queue = "other"


@pytest.mark.django_db
@pytest.mark.parametrize("answer", [None, 1, "no"])
def test_a_function_that_does_not_say_which_are_delayed_is_refused(settings, diary, answer):
    settings.DJANGO_DELAYED = {"DELAY_JOBS": lambda: answer}
    with pytest.raises(TypeError, match=f"DELAY_JOBS must return True or False, not {answer!r}"):
        Plain.perform_later()
    assert (diary, DelayedJob.objects.count()) == ([], 0)


@pytest.mark.django_db
def test_the_jobs_of_one_transaction_are_performed_in_their_order(diary):
    enqueue_all([Plain(number) for number in range(5)])
    work_off()
    assert [args[0] for _, args, _ in diary] == list(range(5))
