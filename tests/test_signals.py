import logging
from types import SimpleNamespace

import pytest
from django_delayed import Job, enqueue, signals
from django_delayed.execution.stopping import Stop
from django_delayed.models import DelayedJob
from django_delayed.serialization.errors import describe
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.work_off import work_off
from tests.blog.jobs import Discarded, Hooked, HookedOnce, Plain, Sleepy

ROW = DelayedJob(pk=7, name="Post.send_to_twitter", queue="tweets", attempts=3, locked_by="a1")


class False_(Exception):
    def __bool__(self):
        return False


@pytest.fixture
def lines(caplog):
    """What the logger `django_delayed` has logged, as (level, line)."""
    caplog.set_level(logging.DEBUG, "django_delayed")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def fail(exception, row=ROW, given_up=False):
    """Announce a failure of this row, as a worker does."""
    what = {"job": None, "exception": exception, "error": describe(exception, row.name), "duration": 0.02141}
    signals.job_errored.send(None, delayed_job=row, **what, given_up=given_up)
    if given_up:
        signals.job_failed.send(None, delayed_job=row, **what, given_up=True)


def test_the_log_has_the_lines_of_delayed_job(lines):
    what = {"exception": KeyError("x"), "error": describe(KeyError("x")), "duration": 0.02141}
    signals.job_enqueued.send(None, delayed_job=ROW, job=None)
    signals.job_started.send(None, delayed_job=ROW)
    signals.job_finished.send(None, delayed_job=ROW, job=None, duration=0.02141)
    fail(ConnectionError("no route"))
    fail(ConnectionError("no route"), given_up=True)
    signals.job_discarded.send(None, delayed_job=ROW, job=None, **what)
    signals.job_cancelled.send(None, delayed_job=ROW, job=None, **what)
    assert lines() == [
        ("DEBUG", "Post.send_to_twitter #7 ENQUEUED in queue tweets"),
        ("INFO", "Post.send_to_twitter #7 RUNNING"),
        ("INFO", "Post.send_to_twitter #7 COMPLETED after 0.0214 s"),
        ("ERROR", "Post.send_to_twitter #7 FAILED (2 prior attempts) with ConnectionError: no route"),
        ("ERROR", "Post.send_to_twitter #7 FAILED permanently with ConnectionError: no route"),
        ("INFO", "Post.send_to_twitter #7 DISCARDED with KeyError: 'x'"),
        ("INFO", "Post.send_to_twitter #7 CANCELLED with KeyError: 'x'"),
    ]


@pytest.mark.parametrize(
    ("attempts", "prior"), [(1, "0 prior attempts"), (2, "1 prior attempt"), (3, "2 prior attempts")]
)
def test_prior_attempts_are_counted(lines, attempts, prior):
    row = DelayedJob(pk=7, name="job", attempts=attempts)
    fail(ValueError(), row)
    assert lines() == [("ERROR", f"job #7 FAILED ({prior}) with ValueError")]


def test_the_start_and_the_end_of_a_worker_are_logged(lines):
    signals.worker_started.send(None, worker="a1", process="host:web-1 pid:7,\nall queues")
    signals.worker_stopped.send(None, worker="a1")
    assert lines() == [
        ("INFO", "Worker a1 started: host:web-1 pid:7,\\nall queues"),
        ("INFO", "Worker a1 stopped"),
    ]


@pytest.mark.parametrize("given_up", [False, True])
@pytest.mark.parametrize(
    "error", [ConnectionError("no route"), False_("false"), OSError()], ids=["plain", "false", "mute"]
)
def test_a_failure_is_one_record_with_its_exception(lines, caplog, error, given_up):
    fail(error, given_up=given_up)
    [record] = caplog.records
    assert (record.levelname, record.exc_info[1], record.given_up) == ("ERROR", error, given_up)
    assert (record.job_id, record.job_name, record.queue, record.attempt) == (7, ROW.name, "tweets", 3)
    assert (record.worker, record.duration, record.error_class) == ("a1", 0.02141, type(error).__name__)
    assert record.fingerprint == describe(error, ROW.name).fingerprint


def test_records_of_one_job_and_class_of_error_have_one_template(lines, caplog):
    templates = []
    for name, error, given_up in (
        ("a %s job", ValueError("order 17"), False),
        ("a %s job", ValueError("order 18"), True),
        ("a %s job", ValueError(), False),
        ("a %s job", KeyError("order 17"), False),
        ("a %d job", ValueError("order 17"), False),
    ):
        fail(error, DelayedJob(pk=len(templates), name=name, attempts=len(templates) + 1), given_up)
        templates.append(caplog.records[-1].msg)
    assert [templates.index(template) for template in templates] == [0, 0, 0, 3, 4]
    assert caplog.records[0].getMessage() == "a %s job #0 FAILED (0 prior attempts) with ValueError: order 17"


def test_the_record_of_a_discarded_job_has_its_fields_and_no_exception(lines, caplog):
    what = {"exception": KeyError("x"), "error": describe(KeyError("x")), "duration": 0.5}
    signals.job_discarded.send(None, delayed_job=ROW, job=None, **what)
    [record] = caplog.records
    assert (record.exc_info, record.job_id, record.error_class) == (None, 7, "KeyError")


@pytest.mark.parametrize(
    "message",
    ["x" * 50_000_000, "a\n2026-01-01 INFO plain #1 COMPLETED", "\x1b[2J", "\u2028\u202eb"],
    ids=range(4),
)
def test_the_traceback_in_the_log_is_bounded_and_forges_no_line(caplog, message):
    try:
        raise ValueError(message)
    except ValueError as error:
        fail(error)
    head, *lines = logging.Formatter().format(caplog.records[0]).split("\n")
    assert head.startswith("Post.send_to_twitter #7 FAILED (2 prior attempts) with ValueError: ")
    assert lines[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") and line.isprintable() for line in lines)
    assert sum(map(len, lines)) < 200_000


def test_nothing_is_made_for_a_level_that_is_off(caplog, monkeypatch):
    monkeypatch.setattr(signals, "fields_of", lambda row: pytest.fail("made for nobody"))
    caplog.set_level(logging.WARNING, "django_delayed")
    signals.job_enqueued.send(None, delayed_job=ROW, job=None)
    signals.job_started.send(None, delayed_job=ROW)
    signals.job_finished.send(None, delayed_job=ROW, job=None, duration=0.1)
    assert caplog.records == []


def test_nothing_in_a_message_ends_the_line_or_reaches_the_terminal(lines):
    fail(ValueError("a\r\x1b[2J\u2028\u202eb"))
    [(_, line)] = lines()
    assert line.isprintable()
    assert "\\x1b[2J\\u2028\\u202eb" in line


SIGNALS = [name for name in vars(signals) if name.startswith(("job_", "worker_"))]


@pytest.mark.parametrize("name", SIGNALS)
def test_every_signal_is_a_signal_of_django(name):
    assert isinstance(getattr(signals, name), signals.Signal)


# By the signals of all ends but a good one: a job that ends so, and the states of its rows.
ENDS = {
    "job_snoozed": (Sleepy(), ["scheduled"]),
    "job_errored": (Hooked("perform"), ["retrying"]),
    "job_failed": (HookedOnce("perform"), ["failed"]),
    "job_discarded": (Discarded("lookup"), []),
    "job_cancelled": (Hooked("perform"), ["failed"]),
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", SIGNALS)
def test_a_receiver_that_raises_changes_nothing(name, diary, monkeypatch):
    signal, (job, states) = getattr(signals, name), ENDS.get(name, (Plain(1), []))
    heard = []
    monkeypatch.setattr(Stop, "is_cancelled", lambda stop: signal is signals.job_cancelled)

    def refuse(**_):
        raise LookupError("in a receiver")

    def hear(**_):
        heard.append(signal)

    signal.connect(refuse)
    signal.connect(hear)
    try:
        row = enqueue(job)
        assert work_off(Configuration()) is True
    finally:
        signal.disconnect(refuse)
        signal.disconnect(hear)
    assert row.pk
    assert [row.state for row in DelayedJob.objects.all()] == states
    assert heard == [signal]


@pytest.mark.django_db
def test_a_name_and_a_queue_from_a_row_cannot_forge_a_line_of_the_log(caplog):
    caplog.set_level("DEBUG", "django_delayed")
    evil = "a\nplain #1 COMPLETED\x1b[31m"
    row = DelayedJob.objects.create(name=evil, payload="{}", queue=evil)
    signals.job_enqueued.send_robust(sender=Job, delayed_job=row, job=None)
    signals.job_started.send_robust(sender=Job, delayed_job=row)
    assert caplog.messages == [
        f"a\\nplain #1 COMPLETED\\x1b[31m #{row.pk} ENQUEUED in queue a\\nplain #1 COMPLETED\\x1b[31m",
        f"a\\nplain #1 COMPLETED\\x1b[31m #{row.pk} RUNNING",
    ]


@pytest.fixture
def clock(monkeypatch):
    """The clock of the log lines, which only `clock.now += seconds` moves on."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(signals.time, "monotonic", lambda: clock.now)
    return clock


def perform(jobs):
    for _ in range(jobs):
        signals.tell_started(ROW, Job)
        signals.tell_finished(ROW, None, 0.01)


def at_info(lines):
    return [line for level, line in lines() if level == "INFO"]


SUMMARY = "250 jobs performed in a second; those that go well have their lines at DEBUG"


def test_a_second_with_many_jobs_is_summed_up_in_one_line(lines, clock):
    with signals.busy_seconds_summed_up():
        perform(250)
        assert len(at_info(lines)) == 2 * signals.LINES_A_SECOND
        assert len(lines()) == 500
        # The next second is expected to have many jobs too.
        clock.now += 1
        perform(250)
        assert at_info(lines)[200:] == [SUMMARY]
        clock.now += 1
        perform(1)
        assert at_info(lines)[201:] == [SUMMARY]
        # Now it is known that it did not.
        clock.now += 1
        perform(1)
        assert at_info(lines)[202:] == [
            "Post.send_to_twitter #7 RUNNING",
            "Post.send_to_twitter #7 COMPLETED after 0.0100 s",
        ]


@pytest.mark.parametrize("jobs", [1, 100])
def test_a_second_with_few_jobs_has_the_lines_of_each_job(lines, clock, jobs):
    with signals.busy_seconds_summed_up():
        for _ in range(3):
            perform(jobs)
            clock.now += 1
    assert len(at_info(lines)) == 6 * jobs


def test_after_a_pause_the_next_job_has_its_lines(lines, clock):
    with signals.busy_seconds_summed_up():
        perform(250)
        clock.now += 60
        perform(1)
    assert at_info(lines)[200:] == [
        SUMMARY,
        "Post.send_to_twitter #7 RUNNING",
        "Post.send_to_twitter #7 COMPLETED after 0.0100 s",
    ]


def test_a_busy_second_is_summed_up_when_the_queue_is_empty_and_at_the_end(lines, clock):
    with signals.busy_seconds_summed_up():
        perform(250)
        signals.queue_empty.send(None, worker="a1")
        assert at_info(lines)[200:] == [SUMMARY]
        perform(250)
    assert at_info(lines).count(SUMMARY) == 2


def test_failures_have_their_lines_in_a_busy_second(lines, clock):
    with signals.busy_seconds_summed_up():
        perform(250)
        fail(ConnectionError("no route"))
    assert [level for level, _ in lines() if level == "ERROR"] == ["ERROR"]


def test_outside_of_workers_every_job_has_its_lines(lines, clock):
    perform(250)
    assert len(at_info(lines)) == 500


@pytest.mark.parametrize("tell", ["started", "finished"])
def test_receivers_hear_of_a_job_and_so_does_the_log(lines, tell):
    heard = []

    def hear(sender, delayed_job, **what):
        heard.append((sender, delayed_job, {*what} - {"signal"}))

    job = Plain()
    signal = {"started": signals.job_started, "finished": signals.job_finished}[tell]
    signal.connect(hear)
    try:
        if tell == "started":
            signals.tell_started(ROW, Job)
        else:
            signals.tell_finished(ROW, job, 0.01)
    finally:
        signal.disconnect(hear)
    expected = (Job, ROW, set()) if tell == "started" else (Plain, ROW, {"job", "duration"})
    assert heard == [expected]
    assert len(lines()) == 1
    perform(1)
    assert len(heard) == 1
