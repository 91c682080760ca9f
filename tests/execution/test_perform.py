"""One claimed job is performed, and every way to end is an outcome."""

import functools
import gettext
import json
import logging
import re
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import (
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.db.models.signals import post_init
from django_delayed import Job, JobTimeout, RecordNotFound, delay, enqueue
from django_delayed.calls.call import CallJob
from django_delayed.databases import DatabaseNow
from django_delayed.exceptions import JobInterrupted
from django_delayed.execution.outcomes import Discarded, Failed, Finished, Released, Rescheduled
from django_delayed.execution.perform import perform as perform_in
from django_delayed.execution.session import Session
from django_delayed.execution.settle import settle
from django_delayed.models import DelayedJob, FailedAttempt
from django_delayed.serialization import names
from django_delayed.signals import job_discarded, job_errored, job_failed, job_finished, job_started
from tests.blog import jobs
from tests.blog.jobs import CleanUpJob, Plain
from tests.blog.models import Letter, Post, SealedField
from tests.blog.work import WORKER, claim, perform, perform_next, write
from tests.connections import end_connection, needs_server

from shop.mailers import CustomerMailer

ROOT = Path(__file__).parents[2]
transactional = pytest.mark.django_db(transaction=True)


@pytest.mark.django_db
def test_a_job_that_succeeds_is_finished_and_gone(heard, caplog):
    caplog.set_level(logging.INFO, "django_delayed")
    pk = Plain.perform_later(1).pk
    _, outcome = perform_next()
    assert isinstance(outcome, Finished)
    assert not DelayedJob.objects.exists()
    (started, _, started_pk, _), (finished, sender, finished_pk, what) = heard
    assert (started, finished, started_pk, finished_pk, sender) == (job_started, job_finished, pk, pk, Plain)
    assert what == {"job": outcome.job, "duration": outcome.duration}
    first, second = caplog.messages
    assert first == f"Plain #{pk} RUNNING"
    assert second == f"Plain #{pk} COMPLETED after {outcome.duration:.4f} s"


@pytest.mark.django_db
def test_a_job_that_fails_is_tried_again(heard, caplog):
    post = Post.objects.create(title="a")
    pk = post.delay().fail().pk
    _, outcome = perform_next()
    assert isinstance(outcome, Rescheduled)
    stored = DelayedJob.objects.get()
    assert (stored.state, stored.attempts, stored.locked_by) == ("retrying", 1, "")
    assert (stored.error_class, stored.error_message) == ("ConnectionError", "no route")
    assert stored.last_error.startswith("ConnectionError: no route\n\nTraceback")
    assert stored.run_at - stored.created_at >= timedelta(seconds=6)
    [(_, _, _, _), (signal_sent, _, _, what)] = heard
    assert signal_sent is job_errored
    assert (what["job"], what["error"]) == (outcome.job, outcome.error)
    assert caplog.messages[-1] == f"Post.fail #{pk} FAILED (0 prior attempts) with ConnectionError: no route"
    assert DelayedJob.objects.exclude(last_error="").last().last_error == stored.last_error


@pytest.mark.django_db
def test_a_job_that_failed_too_often_has_failed_for_good(heard, caplog):
    jobs.HookedOnce.perform_later("perform")
    _, outcome = perform_next()
    assert isinstance(outcome, Failed)
    assert DelayedJob.objects.get().state == "failed"
    assert [one for one, *_ in heard] == [job_started, job_errored, job_failed]
    assert "FAILED permanently with ArithmeticError: in perform" in caplog.messages[-1]


@pytest.mark.django_db
def test_a_job_is_discarded_on_the_errors_that_it_names(heard, diary, caplog):
    caplog.set_level("INFO", "django_delayed")
    pk = jobs.Discarded.perform_later("lookup").pk
    _, outcome = perform_next()
    assert isinstance(outcome, Discarded)
    assert not DelayedJob.objects.exists()
    assert [one for one, *_ in heard] == [job_started, job_discarded]
    _, sender, _, what = heard[-1]
    assert (sender, what["job"], what["error"]) == (jobs.Discarded, outcome.job, outcome.error)
    assert diary == [("after_discard", KeyError)]
    last = caplog.records[-1]
    assert (last.levelname, last.getMessage()) == ("INFO", f"Discarded #{pk} DISCARDED with KeyError: 'gone'")
    jobs.Discarded.perform_later("other")
    perform_next()
    assert DelayedJob.objects.get().state == "retrying"
    assert diary[1:] == [("on_error", ValueError)]


@pytest.mark.django_db
def test_a_job_is_discarded_whatever_its_hook_raises(caplog):
    jobs.DiscardedBadly.perform_later("lookup")
    _, outcome = perform_next()
    assert isinstance(outcome, Discarded)
    assert not DelayedJob.objects.exists()
    assert "its after_discard() raised an error, which is ignored" in caplog.text


@pytest.mark.django_db
def test_a_job_that_failed_before_is_discarded_with_its_failed_attempts(diary):
    jobs.Discarded.perform_later("other")
    perform_next()
    assert FailedAttempt.objects.exists()
    DelayedJob.objects.update(run_at=DatabaseNow(), payload=jobs.Discarded("lookup").dump())
    perform_next()
    assert not DelayedJob.objects.exists()
    assert not FailedAttempt.objects.exists()


@pytest.mark.django_db
def test_a_job_whose_record_is_gone_is_discarded_if_it_says_so(heard):
    user = User.objects.create_user("ada")
    jobs.DiscardedWithItsRecord.perform_later(user)
    user.delete()
    _, outcome = perform_next()
    assert (type(outcome), outcome.job) == (Discarded, None)
    assert not DelayedJob.objects.exists()
    assert [one for one, *_ in heard] == [job_started, job_discarded]


# Where its traceback begins


def first_frames(text):
    """The file and the function of the first frame of each traceback in a text."""
    return [
        (Path(file).relative_to(ROOT).as_posix(), function)
        for file, function in re.findall(
            r'Traceback \(most recent call last\):\s+File "(.*?)", line \d+, in (\S+)', text
        )
    ]


BLOG = "tests/blog/jobs.py"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("enqueue", "frame"),
    [
        (lambda: jobs.FailingAbroad.perform_later(), (BLOG, "perform")),
        (lambda: jobs.Hooked.perform_later("before_perform"), (BLOG, "before_perform")),
        (lambda: jobs.Hooked.perform_later("after_perform"), (BLOG, "after_perform")),
        (lambda: jobs.RaisingFirst.perform_later(), (BLOG, "around_perform")),
        (lambda: jobs.Impatient.perform_later(1), (BLOG, "perform")),
        (lambda: Post.objects.create(title="a").delay().fail(), ("tests/blog/models.py", "fail")),
        (lambda: delay(jobs.call)("not there"), (BLOG, "call")),
    ],
    ids=range(7),
)
def test_a_traceback_begins_at_the_first_frame_of_the_application(diary, caplog, enqueue, frame):
    enqueue()
    row, outcome = perform_next()
    [stored] = first_frames(DelayedJob.objects.get(pk=row.pk).last_error)
    [logged] = first_frames(logging.Formatter().format(caplog.records[-1]))
    [entry, *_] = traceback.extract_tb(outcome.exception.__traceback__)
    assert stored == logged == (Path(entry.filename).relative_to(ROOT).as_posix(), entry.name) == frame


@pytest.mark.django_db
def test_the_traceback_of_a_cause_begins_there_too(in_job):
    def fail():
        try:
            raise KeyError("x")
        except KeyError as error:
            raise ValueError("y") from error

    in_job(fail)
    perform_next()
    frames = first_frames(DelayedJob.objects.get().last_error)
    assert frames == [("tests/execution/test_perform.py", "fail"), (BLOG, "call")]


@pytest.mark.django_db
def test_a_module_that_cannot_be_imported_is_shown_from_its_own_first_line(settings, tmp_path, monkeypatch):
    (tmp_path / "broken_jobs.py").write_text("def load():\n    raise LookupError('x')\n\n\nload()\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings.DJANGO_DELAYED = {"TRUSTED_MODULES": ["broken_jobs"]}
    write({"job": "broken_jobs:Broken", "args": [], "kwargs": {}})
    row, _ = perform_next()
    text = DelayedJob.objects.get(pk=row.pk).last_error
    cause, own = re.findall(r'Traceback .*\s+File "(.*?)", line (\d+)', text)
    assert cause == (str(tmp_path / "broken_jobs.py"), "5")
    assert Path(own[0]).is_relative_to(ROOT / "django_delayed")


@pytest.mark.django_db
def test_a_traceback_without_a_frame_of_the_application_stays_whole():
    user = User.objects.create_user("ada")
    jobs.HookedOnce.perform_later(user)
    user.delete()
    perform_next()
    # Its TypeError is raised in C.
    delay(jobs.remembered)([])
    perform_next()
    for row in DelayedJob.objects.all():
        assert first_frames(row.last_error)[-1] == ("django_delayed/execution/perform.py", "_attempt")


@pytest.mark.django_db
def test_the_errors_of_hooks_begin_there_too(caplog):
    jobs.Leaving.perform_later()
    perform_next()
    logged = [first_frames(logging.Formatter().format(record)) for record in caplog.records]
    assert [frames[-1] for frames in logged if frames] == [
        (BLOG, "wait_before_retry"),
        (BLOG, "on_error"),
        (BLOG, "perform"),
    ]


# A job that cannot be loaded


@pytest.mark.django_db
def test_a_job_whose_record_is_gone_is_announced_with_its_class_and_calls_hooks_of_the_class(heard, diary):
    user = User.objects.create_user("ada")
    jobs.HookedByClass.perform_later(user)
    user.delete()
    _, outcome = perform_next()
    [_, (signal, sender, _, what)] = heard
    assert (signal, sender, what["job"]) == (job_discarded, jobs.HookedByClass, None)
    assert isinstance(what["exception"], RecordNotFound)
    assert diary == [("after_discard", jobs.HookedByClass, outcome.exception)]


@pytest.mark.django_db
def test_a_job_whose_arguments_no_longer_fit_is_announced_in_the_same_way(heard, diary):
    jobs.HookedByClass.perform_later(1)
    payload = json.loads(DelayedJob.objects.get().payload) | {"args": []}
    DelayedJob.objects.update(payload=json.dumps(payload))
    _, outcome = perform_next()
    assert isinstance(outcome, Failed)
    assert [(signal, sender) for signal, sender, *_ in heard[1:]] == [
        (job_errored, jobs.HookedByClass),
        (job_failed, jobs.HookedByClass),
    ]
    assert all(what["exception"] is outcome.exception for *_, what in heard[1:])
    assert diary == [
        ("on_error", jobs.HookedByClass, outcome.exception),
        ("on_failure", outcome.exception),
    ]


@pytest.mark.django_db
def test_a_job_whose_class_is_gone_is_announced_with_its_name(heard, diary, caplog):
    write({"job": "tests.blog.jobs:WasRemoved", "args": [], "kwargs": {}}, name="WasRemoved")
    row, _ = perform_next()
    assert [(signal, sender) for signal, sender, *_ in heard[1:]] == [(job_errored, Job), (job_failed, Job)]
    *_, what = heard[-1]
    assert "tests.blog.jobs:WasRemoved does not exist" in str(what["exception"])
    assert (row.name, caplog.records[-1].job_name) == ("WasRemoved", "WasRemoved")
    assert diary == []


@pytest.mark.django_db
def test_a_call_that_cannot_be_loaded_is_announced_as_a_call(heard):
    post = Post.objects.create(title="a")
    post.delay().bare()
    post.delete()
    row, _ = perform_next()
    assert [sender for _, sender, *_ in heard[1:]] == [CallJob, CallJob]
    assert row.name == "Post.bare"


@pytest.mark.django_db
def test_hooks_that_need_the_job_do_not_run_without_it(diary, caplog):
    user = User.objects.create_user("ada")
    jobs.HookedOnce.perform_later(user)
    user.delete()
    diary.clear()
    _, outcome = perform_next()
    assert isinstance(outcome, Failed)
    assert diary == []
    assert "which is ignored" not in caplog.text


@pytest.mark.django_db
def test_hooks_of_the_class_run_when_the_database_is_away_while_a_job_is_loaded(heard, diary, monkeypatch):
    jobs.HookedByClass.perform_later(1)
    DelayedJob.objects.update(max_attempts=2)
    away = OperationalError("away")
    monkeypatch.setattr(Job, "load", lambda row, enter, should_stop: (_ for _ in ()).throw(away))
    _, outcome = perform_next()
    assert isinstance(outcome, Rescheduled)
    assert diary == [("on_error", jobs.HookedByClass, away)]
    assert [sender for _, sender, *_ in heard[1:]] == [jobs.HookedByClass]


@pytest.mark.django_db
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), OperationalError()], ids=range(3))
def test_no_error_that_a_module_raises_when_it_is_imported_ends_the_worker(monkeypatch, heard, error):
    jobs.HookedByClass.perform_later(1)
    monkeypatch.setattr(names, "import_module", lambda name: (_ for _ in ()).throw(error))
    _, outcome = perform_next()
    assert (type(outcome), outcome.exception) == (Failed, error)
    assert [sender for _, sender, *_ in heard[1:]] == [Job, Job]


@pytest.mark.django_db
def test_a_job_that_was_interrupted_is_released(in_job, diary):
    def interrupt():
        raise JobInterrupted

    in_job(interrupt)
    row = claim()
    outcome = perform(row)
    assert isinstance(outcome, Released)
    assert settle([(row, outcome)]) == []
    stored = DelayedJob.objects.get()
    assert (stored.state, stored.attempts, stored.last_error) == ("enqueued", 0, "")


@transactional
def test_the_connection_in_which_a_job_was_interrupted_is_closed(in_job):
    used = []

    def interrupt():
        Post.objects.count()
        used.append((connections["default"], connections["default"].connection))
        raise JobInterrupted

    in_job(interrupt)
    session = Session()
    assert isinstance(perform_in(claim(), session), Released)
    with session:
        [(wrapper, first)] = used
        Post.objects.count()
        assert connections["default"].connection is not first
        assert wrapper.connection is not first
    session.close()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("job", "hook"),
    [
        (jobs.Hooked("perform"), "on_error"),
        (jobs.HookedOnce("perform"), "on_failure"),
        (jobs.Discarded("lookup"), "after_discard"),
    ],
    ids=["on_error", "on_failure", "after_discard"],
)
def test_a_job_that_is_interrupted_in_a_hook_for_its_error_is_released(monkeypatch, diary, caplog, job, hook):
    def interrupt(self, error):
        raise JobInterrupted

    monkeypatch.setattr(type(job), hook, interrupt)
    enqueue(job)
    _, outcome = perform_next()
    assert isinstance(outcome, Released)
    row = DelayedJob.objects.get()
    assert (row.state, row.attempts, row.last_error) == ("enqueued", 0, "")
    assert "which is ignored" not in caplog.text


@pytest.mark.django_db
def test_the_caller_is_told_the_job_before_it_is_performed(diary):
    Plain.perform_later(1)
    told = []
    perform(claim(), on_load=lambda job: told.append((job.args, list(diary))))
    assert told == [((1,), [])]


@pytest.mark.django_db
def test_any_error_that_a_job_raises_is_written_down(in_job):
    class Mute(Exception):
        def __str__(self):
            raise SystemExit("no words")

    for error in (
        SystemExit(0),
        KeyboardInterrupt(),
        GeneratorExit(),
        Mute(),
        ExceptionGroup("many", [ValueError()]),
        ValueError("a\0b \udc80 " + "x" * 3_000_000),
    ):
        DelayedJob.objects.all().delete()
        in_job(lambda error=error: (_ for _ in ()).throw(error))
        perform_next()
        row = DelayedJob.objects.get()
        assert (row.state, row.error_class) == ("retrying", type(error).__name__)
        assert len(row.last_error.encode()) <= 64 * 1024
        assert "\0" not in row.last_error


@pytest.mark.django_db
def test_sys_exit_is_an_error_of_the_job(in_job):
    for leave in (sys.exit, lambda: sys.exit(0), lambda: sys.exit("bye"), quit):
        DelayedJob.objects.all().delete()
        in_job(leave)
        perform_next()
        assert DelayedJob.objects.get().error_class == "SystemExit"


@pytest.mark.django_db
def test_hooks_and_a_policy_that_exit_do_not_end_the_worker(caplog):
    jobs.Leaving.perform_later()
    perform_next()
    row = DelayedJob.objects.get()
    assert (row.state, row.error_class) == ("retrying", "ValueError")
    assert "its on_error() raised an error, which is ignored" in caplog.text


@transactional
def test_a_job_that_runs_too_long_is_stopped(in_job, monkeypatch, caplog):
    monkeypatch.setattr("django_delayed.calls.call.CallJob.max_run_time", 0.05, raising=False)
    in_job(lambda: time.sleep(30))
    perform_next()
    row = DelayedJob.objects.get()
    assert (row.state, row.error_class) == ("retrying", "JobTimeout")
    assert row.error_message == "call ran longer than its max_run_time of 0.05 s."


@transactional
def test_a_timeout_in_the_middle_of_a_statement_leaves_a_good_connection(in_job, monkeypatch):
    monkeypatch.setattr("django_delayed.calls.call.CallJob.max_run_time", 0.2, raising=False)
    sleep = {"postgresql": "SELECT pg_sleep(2)", "mysql": "SELECT SLEEP(2)"}.get(
        connection.vendor,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3e6) SELECT max(i) FROM n",
    )

    def ask():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sleep)

    in_job(ask)
    Plain.perform_later("next")
    perform_next()
    assert DelayedJob.objects.get(name="call").error_class == "JobTimeout"
    _, outcome = perform_next()
    assert isinstance(outcome, Finished)


@pytest.mark.django_db
def test_the_limit_of_the_settings_holds_where_the_job_has_none(settings, in_job):
    settings.DJANGO_DELAYED = {"MAX_RUN_TIME": 0.05}
    in_job(lambda: time.sleep(30))
    perform_next()
    assert DelayedJob.objects.get().error_class == "JobTimeout"


@transactional
def test_a_job_whose_database_is_away_when_it_is_loaded_is_tried_again(monkeypatch):
    post = Post.objects.create(title="a")
    post.delay().bare()
    row = claim()

    def refuse(*_):
        raise OperationalError("the server is away")

    with monkeypatch.context() as patched:
        patched.setattr(type(connections["default"]), "get_new_connection", refuse)
        outcome = perform(row)
    assert isinstance(outcome, Rescheduled)
    assert outcome.job is None
    assert outcome.error.error_class == "OperationalError"
    assert settle([(row, outcome)]) == []
    assert DelayedJob.objects.get().state == "retrying"


@transactional
@needs_server
def test_a_job_that_loses_its_connection_is_tried_again_and_the_next_has_a_new_one(in_job, diary):
    def lose():
        connection.ensure_connection()
        end_connection(connection)
        Post.objects.create(title="a")

    in_job(lose)
    Plain.perform_later("next")
    perform_next()
    assert DelayedJob.objects.get(name="call").state == "retrying"
    perform_next()
    assert diary == [("plain", ("next",), {})]


def lose_key(value):
    raise {"sealed text": ValueError, "sealed key": KeyError}[value]("the key server is away")


def miss_profile(sender, instance, **_):
    User.objects.get(username="nobody")


def miss_itself(sender, instance, **_):
    raise Letter.DoesNotExist("another letter")


@pytest.fixture
def spoil(monkeypatch):
    """Make the code of the model Letter raise while a letter is fetched; gives the way to stop it."""
    connected = []

    def start(how):
        if how in (miss_profile, miss_itself):
            post_init.connect(how, sender=Letter)
            connected.append(how)
        else:
            monkeypatch.setattr(SealedField, "open", staticmethod(how))

    def stop():
        monkeypatch.undo()
        while connected:
            post_init.disconnect(connected.pop(), sender=Letter)

    yield start, stop
    stop()


def refuse(error):
    def open_seal(value):
        raise error

    return open_seal


BROKEN_MODELS = {
    "ValueError of a field": (lose_key, "ValueError"),
    "TypeError of a field": (refuse(TypeError("no key")), "TypeError"),
    "KeyError of a field": (refuse(KeyError("key")), "KeyError"),
    "ValidationError of a field": (refuse(ValidationError("no key")), "ValidationError"),
    "key server away": (refuse(ConnectionError("no route")), "ConnectionError"),
    "RecursionError of a field": (refuse(RecursionError("round")), "RecursionError"),
    "sys.exit() of a field": (refuse(SystemExit(3)), "SystemExit"),
    "another record missing in post_init": (miss_profile, "DoesNotExist"),
    "another of the same model missing in post_init": (miss_itself, "DoesNotExist"),
}
ENQUEUES = {
    "target": lambda letter: letter.delay().read(),
    "argument": lambda letter: delay(jobs.decorated)(letter),
    "argument of a Job": lambda letter: Plain.perform_later(letter),
    "in a container": lambda letter: Plain.perform_later({"a": [(letter,)]}),
    "argument of a Mailer": lambda letter: CustomerMailer.delay().welcome(letter),
}


@pytest.mark.parametrize(("how", "error_class"), BROKEN_MODELS.values(), ids=BROKEN_MODELS)
@pytest.mark.django_db
def test_an_error_of_the_models_own_code_while_it_is_fetched_is_tried_again(spoil, diary, how, error_class):
    row = Letter.objects.create().delay().read()
    start, stop = spoil
    start(how)
    _, outcome = perform_next()
    stop()
    assert (type(outcome), outcome.error.error_class.rpartition(".")[2]) == (Rescheduled, error_class)
    assert outcome.wait == timedelta(seconds=6)
    DelayedJob.objects.filter(pk=row.pk).update(run_at=row.run_at)
    assert isinstance(perform_next()[1], Finished)
    assert diary == [("read", "text")]


@pytest.mark.parametrize("enqueue", ENQUEUES.values(), ids=ENQUEUES)
@pytest.mark.django_db
def test_it_is_tried_again_wherever_a_job_names_the_record_and_fails_when_the_record_is_gone(spoil, enqueue):
    letter = Letter.objects.create()
    start, stop = spoil
    start(lose_key)
    row = enqueue(letter)
    assert isinstance(perform_next()[1], Rescheduled)
    stop()
    letter.delete()
    DelayedJob.objects.filter(pk=row.pk).update(run_at=row.run_at)
    _, outcome = perform_next()
    assert (type(outcome), outcome.error.error_class) == (Failed, "RecordNotFound")


@pytest.mark.django_db
def test_it_is_tried_as_often_as_the_job_says(spoil):
    row = CleanUpJob.perform_later(Letter.objects.create())
    DelayedJob.objects.filter(pk=row.pk).update(attempts=CleanUpJob.max_attempts - 1)
    spoil[0](lose_key)
    assert isinstance(perform_next()[1], Failed)


@pytest.mark.django_db
def test_a_payload_that_is_nested_deeper_than_any_that_is_written_fails_at_once():
    # This is as deep as the JSON of Python 3.11 reads, and deeper than its recursion limit allows.
    nested = functools.reduce(lambda inner, _: {"@type": "tuple", "value": [inner]}, range(450), 1)
    write({"job": "tests.blog.jobs:Plain", "args": [nested], "kwargs": {}})
    _, outcome = perform_next()
    assert (type(outcome), outcome.error.error_class) == (Failed, "DeserializationError")
    assert "are nested too deep" in outcome.error.message


@pytest.mark.django_db
def test_a_hand_written_job_with_a_language_that_does_not_exist_is_performed(diary):
    payload = {
        "job": "tests.blog.jobs:Surroundings",
        "args": [],
        "kwargs": {},
        "language": "xx",
        "timezone": None,
    }
    write(payload)
    perform_next()
    assert diary == [("xx", "Europe/Paris")]
    assert gettext.gettext("a") == "a"


@pytest.mark.django_db
def test_a_row_is_performed_as_it_was_claimed():
    Plain.perform_later()
    row = claim()
    assert (row.locked_by, row.attempts, row.state) == (WORKER, 1, "running")
    assert isinstance(perform(row), Finished)
    assert DelayedJob.objects.get().state == "running"  # nothing is written before it is settled
    assert issubclass(JobTimeout, BaseException)
    assert not issubclass(JobTimeout, Exception)


@pytest.mark.django_db
@pytest.mark.parametrize("error", [None, ValueError, SystemExit])
def test_the_duration_of_an_attempt_is_that_of_the_job(in_job, error):
    def work():
        time.sleep(0.01)
        if error:
            raise error

    in_job(work)
    row, began = claim(), time.perf_counter()
    outcome = perform(row)
    assert 0.01 <= outcome.duration <= time.perf_counter() - began
