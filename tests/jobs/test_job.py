import dataclasses
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from django.utils import timezone, translation
from django_delayed import Job, SerializationError
from django_delayed.execution.outcomes import Finished, Rescheduled
from django_delayed.jobs.job import DelayedJobView
from django_delayed.models import DelayedJob
from tests.blog import jobs
from tests.blog.jobs import CleanUpJob, Curious, Hooked, HookedOnce, Plain
from tests.blog.models import Post
from tests.blog.work import load, perform_next, work_off, write

pytestmark = pytest.mark.django_db


# Arguments


@pytest.mark.parametrize(
    ("args", "kwargs", "sentence"),
    [
        ((), {}, r"CleanUpJob\.perform\(\): missing a required argument: 'post'"),
        ((1, 2), {}, r"CleanUpJob\.perform\(\): too many positional arguments"),
        ((1,), {"dry": True}, r"CleanUpJob\.perform\(\): got an unexpected keyword argument 'dry'"),
        ((1,), {"self": 1}, r"CleanUpJob\.perform\(\): multiple values for argument 'self'"),
        ((1,), {"post": 1}, r"CleanUpJob\.perform\(\): multiple values for argument 'post'"),
    ],
    ids=range(5),
)
def test_arguments_that_perform_does_not_take_are_an_error_at_the_call(args, kwargs, sentence):
    for make in (
        CleanUpJob,
        CleanUpJob.perform_later,
        CleanUpJob.perform_now,
        CleanUpJob.set(queue="a").perform_later,
        CleanUpJob.set(queue="a").perform_now,
    ):
        with pytest.raises(TypeError, match=sentence):
            make(*args, **kwargs)


def test_the_arguments_of_perform_may_have_any_name(diary):
    keywords = {"self": 2, "cls": 3, "job": 4, "options": 5, "args": 6}
    Plain.perform_later(1, **keywords)
    Plain.set(wait=0).perform_later(2, **keywords)
    Plain.perform_now(3, **keywords)
    work_off()
    assert sorted(diary, key=lambda entry: entry[1]) == [
        ("plain", (number,), keywords) for number in (1, 2, 3)
    ]


def test_the_repr_of_a_job_shows_its_class_and_arguments():
    job = Plain(1, "a", key=[2])
    assert repr(job) == "Plain(1, 'a', key=[2])"
    assert (job.args, job.kwargs) == ((1, "a"), {"key": [2]})


def test_perform_now_performs_here_with_its_hooks_and_writes_nothing(post, diary):
    assert CleanUpJob.perform_now(post, dry_run=True) == "cleaned"
    assert CleanUpJob.set(wait=60).perform_now(post) == "cleaned"
    Hooked.perform_now()
    assert diary[2:] == ["before_perform", "around begins", "perform", "around ends", "after_perform"]
    assert not DelayedJob.objects.exists()


def test_a_job_without_a_perform_is_refused():
    with pytest.raises(TypeError, match=r"Unwritten has no perform\(\) yet"):
        jobs.Unwritten.perform_later()
    with pytest.raises(TypeError, match="Job has no perform"):
        Job.perform_later()
    with pytest.raises(NotImplementedError, match="Unwritten has no perform"):
        jobs.Unwritten.perform_now()


def test_a_job_that_is_defined_inside_a_function_is_refused_where_it_is_enqueued():
    class Local(Job):
        def perform(self):
            return 5

    with pytest.raises(SerializationError, match=r"Local.*is a lambda or is defined inside a function"):
        Local.perform_later()
    assert Local.perform_now() == 5


def test_a_payload_over_the_limit_is_refused(settings):
    settings.DJANGO_DELAYED = {"MAX_ARGUMENTS_SIZE": 1000}
    Plain.perform_later("x" * 800)
    with pytest.raises(SerializationError, match=r"take 1,\d\d\d bytes of at most 1,000 .*Store the data"):
        Plain.perform_later("x" * 1000)
    with pytest.raises(SerializationError, match="bytes of at most"):  # counted as it is stored, in ASCII
        Plain.perform_later("ü" * 300)


def test_the_payload_is_ascii_json():
    row = Plain.perform_later("ü\U0001f600", 2**70)
    assert row.payload.isascii()
    assert json.loads(row.payload)["args"] == ["ü\U0001f600", 2**70]
    assert load(row).args == ("ü\U0001f600", 2**70)


# Hooks


def test_the_hooks_come_in_order(diary):
    Hooked.perform_later()
    assert diary == ["before_enqueue", "after_enqueue"]
    diary.clear()
    work_off()
    assert diary == ["before_perform", "around begins", "perform", "around ends", "after_perform"]
    assert not DelayedJob.objects.exists()


@pytest.mark.parametrize(
    ("raising", "hooks"),
    [
        ("before_perform", ["before_perform"]),
        ("around begins", ["before_perform", "around begins"]),
        ("perform", ["before_perform", "around begins", "perform", "around ends"]),
        ("after_perform", ["before_perform", "around begins", "perform", "around ends", "after_perform"]),
    ],
    ids=range(4),
)
def test_an_error_of_a_perform_hook_is_an_error_of_the_job(diary, raising, hooks):
    error = f"in {raising}"
    Hooked.perform_later(raising)
    diary.clear()
    perform_next()
    assert diary == [*hooks, ("on_error", error), "on_error"]
    row = DelayedJob.objects.get()
    assert (row.state, row.error_class, row.error_message) == ("retrying", "ArithmeticError", error)

    HookedOnce.perform_later(raising)
    diary.clear()
    perform_next()
    assert diary == [*hooks, ("on_error", error), "on_error", ("on_failure", error), "on_failure"]
    assert DelayedJob.objects.failed().get().error_message == error

    with pytest.raises(ArithmeticError, match=error):
        Hooked.perform_now(raising)


@pytest.mark.parametrize("raising", ["on_error", "on_failure"])
def test_an_error_of_on_error_or_on_failure_is_logged_and_changes_nothing(
    diary, caplog, monkeypatch, raising
):
    monkeypatch.setattr(HookedOnce, "perform", lambda self, *args: 1 / 0)
    HookedOnce.perform_later(raising)
    perform_next()
    assert diary[-4:] == [
        ("on_error", "division by zero"),
        "on_error",
        ("on_failure", "division by zero"),
        "on_failure",
    ]
    assert f"its {raising}() raised an error, which is ignored" in caplog.text
    assert DelayedJob.objects.failed().get().error_message == "division by zero"


def test_a_job_may_veto_its_enqueue(diary):
    assert Hooked.perform_later("", True) is None
    assert diary == ["before_enqueue"]
    assert not DelayedJob.objects.exists()


def test_an_error_before_the_enqueue_reaches_the_caller_and_nothing_is_written(diary):
    with transaction.atomic(), pytest.raises(ArithmeticError, match="in before_enqueue"):
        Hooked.perform_later("before_enqueue")
    assert diary == ["before_enqueue"]
    assert not DelayedJob.objects.exists()


def test_an_error_after_the_enqueue_reaches_the_caller(diary):
    with pytest.raises(ArithmeticError, match="in after_enqueue"):
        Hooked.perform_later("after_enqueue")
    assert diary == ["before_enqueue", "after_enqueue"]


def test_around_perform_may_take_care_of_an_error(diary):
    jobs.Swallowing.perform_later()
    work_off()
    assert diary == ["swallowed"]  # no after_perform: it did not succeed
    assert not DelayedJob.objects.exists()
    assert jobs.Swallowing.perform_now() is None


def test_around_perform_may_raise_another_error():
    jobs.Translating.perform_later()
    perform_next()
    row = DelayedJob.objects.get()
    assert (row.error_class, row.error_message) == ("LookupError", "translated")


def test_without_a_yield_the_job_is_not_performed_and_is_finished(diary):
    jobs.Skipping.perform_later()
    perform_next()
    assert diary == []
    assert not DelayedJob.objects.exists()


@pytest.mark.parametrize("job", [jobs.YieldingTwice, jobs.SwallowingAndYielding], ids=range(2))
def test_a_second_yield_is_an_error_of_the_job(job):
    job.perform_later()
    perform_next()
    assert "around_perform must yield once" in DelayedJob.objects.get().error_message


def test_around_perform_may_raise_before_its_yield(diary):
    jobs.RaisingFirst.perform_later()
    perform_next()
    assert DelayedJob.objects.get().error_message == "before the yield"
    assert diary == []


# The row


@pytest.fixture
def seen():
    Curious.seen.clear()
    return Curious.seen


def test_a_job_sees_its_own_row(seen):
    row = Curious.set(queue="mail", priority=3).perform_later()
    work_off()
    (_, before), (_, during) = seen
    assert (before.id, before.name, before.queue, before.priority) == (row.pk, "Curious", "mail", 3)
    assert (before.attempts, before.locked_at, before.max_attempts) == (0, None, 25)
    assert (during.id, during.attempts, during.locked_by) == (row.pk, 1, "0" * 32)
    assert isinstance(before.run_at, datetime)
    assert isinstance(during.created_at, datetime)


def test_the_view_of_the_row_is_frozen(seen):
    Curious.perform_later()
    [(_, view)] = seen
    with pytest.raises(dataclasses.FrozenInstanceError):
        view.queue = "other"
    assert {field.name for field in dataclasses.fields(DelayedJobView)} <= {
        field.attname for field in DelayedJob._meta.concrete_fields
    }


def test_there_is_no_row_in_perform_now(seen):
    Curious.perform_now()
    assert seen == [("perform", None)]


# Performed where it was enqueued


def test_the_language_and_the_zone_of_the_enqueue_are_active_at_the_perform(diary):
    with translation.override("de"), timezone.override("Asia/Tokyo"):
        jobs.Surroundings.perform_later()
    with translation.override("fr"), timezone.override("America/New_York"):
        work_off()
        assert translation.get_language() == "fr"
        assert timezone.get_current_timezone_name() == "America/New_York"
    assert diary == [("de", "Asia/Tokyo")]


def test_the_hooks_of_an_error_are_in_the_language_of_the_enqueue_too(diary):
    with translation.override("de"):
        jobs.FailingAbroad.perform_later()
    work_off()
    assert diary == [("on_error", "de")]


def test_a_job_that_is_enqueued_without_a_language_is_performed_without_one(diary):
    with translation.override(None):
        jobs.Surroundings.perform_later()
    work_off()
    assert diary == [(None, "Europe/Paris")]


def test_a_zone_that_cannot_travel_leaves_the_worker_its_own(diary):
    class Zone(type(datetime.now().astimezone().tzinfo).__base__):
        def utcoffset(self, when):
            return timedelta(hours=1)

        def dst(self, when):
            return None

        def tzname(self, when):
            return "mine"

    with timezone.override(Zone()):
        jobs.Surroundings.perform_later()
    work_off()
    assert diary == [("en", "Europe/Paris")]


# To JSON and back


def test_a_job_is_loaded_from_its_row(post):
    row = CleanUpJob.perform_later(post, dry_run=True)
    job = load(DelayedJob.objects.get())
    assert (type(job), job.args, job.kwargs) == (CleanUpJob, (post,), {"dry_run": True})
    assert job.delayed_job.id == row.pk
    assert (row.name, row.about) == ("CleanUpJob", f"blog.post:{post.pk}")


CALL = {"job": "call", "args": [], "kwargs": {}}
PLAIN = {"job": "tests.blog.jobs:Plain", "args": [], "kwargs": {}}
POST = {"@type": "model", "value": "blog.post"}
HOSTILE = {
    "empty": "",
    "nothing": "null",
    "list": "[]",
    "object": "{}",
    "number": "1",
    "text": '"os.system"',
    "cut off": '{"job": "tests.blog.jobs:Pl',
    "garbage": "\x01\ufffd" * 1_000_000,
    "deep": "[" * 200_000,
    "deep object": '{"a":' * 200_000,
    "deep argument": '{"v": 1, "job": "tests.blog.jobs:Plain", "args": '
    + "[" * 2000
    + "]" * 2000
    + ', "kwargs": {}}',
    "long number": '{"v": 1, "job": ' + "1" * 10_000 + "}",
    "os.system": {"job": "os:system", "args": ["touch /tmp/hostile"], "kwargs": {}},
    "eval": {"job": "builtins:eval", "args": ["1"], "kwargs": {}},
    "imported function": {"job": "tests.blog.jobs:system", "args": ["true"], "kwargs": {}},
    "imported module": {"job": "tests.blog.jobs:os.system", "args": ["true"], "kwargs": {}},
    "static method from elsewhere": {**CALL, "class": "tests.blog.jobs:Borrowed", "method": "run"},
    "inherited from elsewhere": {**CALL, "class": "tests.blog.jobs:Borrowed", "method": "from_float"},
    "inherited from a builtin": {**CALL, "class": "tests.blog.jobs:Borrowed", "method": "fromhex"},
    "wrapped from elsewhere": {**CALL, "class": "tests.blog.jobs:Borrowed", "method": "wrapped"},
    "function of ours": {**CALL, "function": "django_delayed.worker.recovery:recover_stale"},
    "class of ours": {**CALL, "class": "django_delayed.worker.activity:Activity", "method": "close"},
    "job class of ours by its path": {**PLAIN, "job": "django_delayed.calls.call:CallJob"},
    "imported class": {**PLAIN, "job": "tests.blog.jobs:Job"},
    "dunder": {**PLAIN, "job": "tests.blog.jobs:Plain.__init__"},
    "the base": {**PLAIN, "job": "django_delayed.jobs.job:Job"},
    "unwritten": {**PLAIN, "job": "tests.blog.jobs:Unwritten"},
    "no job": {**PLAIN, "job": "tests.blog.jobs:Cleaner"},
    "a function": {**PLAIN, "job": "tests.blog.jobs:resize"},
    "a model": {**PLAIN, "job": "tests.blog.models:Post"},
    "a module outside": {**PLAIN, "job": "tests.stranger:greet"},
    "name of a list": {**PLAIN, "job": ["tests.blog.jobs:Plain"]},
    "no arguments": {"job": "tests.blog.jobs:Plain"},
    "arguments of a text": {**PLAIN, "args": "ab"},
    "arguments of an object": {**PLAIN, "args": {"@type": "set", "value": []}},
    "keywords of a list": {**PLAIN, "kwargs": [["a", 1]]},
    "arguments that do not fit": {**PLAIN, "job": "tests.blog.jobs:CleanUpJob"},
    "type of a list": {**PLAIN, "args": [{"@type": ["os.system"], "value": "true"}]},
    "record that is gone": {
        **PLAIN,
        "args": [{"@type": "record", "model": "blog.post", "pk": 999_999, "db": "default"}],
    },
    "no language": {**PLAIN, "language": ["de"]},
    "language that is a path": {**PLAIN, "language": "../../../tmp/de"},
    "no zone": {**PLAIN, "timezone": "Mars/Phobos"},
    "zone that is a path": {**PLAIN, "timezone": "/etc/passwd"},
    "zone of a list": {**PLAIN, "timezone": ["Europe/Paris"]},
    "no call": CALL,
    "function: os.system": {**CALL, "function": "os:system", "args": ["true"]},
    "function: eval": {**CALL, "function": "builtins:eval", "args": ["1"]},
    "function: imported": {**CALL, "function": "tests.blog.jobs:system", "args": ["true"]},
    "function: a class": {**CALL, "function": "tests.blog.jobs:Cleaner"},
    "function: a job": {**CALL, "function": "tests.blog.jobs:Plain"},
    "function: a property": {**CALL, "function": "tests.blog.jobs:Cleaner.size"},
    "function: a class method": {**CALL, "function": "tests.blog.jobs:Cleaner.clean"},
    "function: asynchronous method": {**CALL, "function": "tests.blog.models:Post.reindex"},
    "function: a lazy object": {**CALL, "function": "tests.blog.jobs:lazy"},
    "function: a number": {**CALL, "function": 5},
    "function: nothing": {**CALL, "function": None},
    "function: does not fit": {**CALL, "function": "tests.blog.jobs:resize"},
    "method: none": {**CALL, "target": POST},
    "method: empty": {**CALL, "class": "tests.blog.jobs:Cleaner", "method": ""},
    "method: private": {**CALL, "target": POST, "method": "_internal"},
    "method: dunder": {**CALL, "target": POST, "method": "__init__"},
    "method: mro": {**CALL, "target": POST, "method": "mro"},
    "method: a property": {**CALL, "target": POST, "method": "headline"},
    "method: a field": {**CALL, "target": POST, "method": "title"},
    "method: a manager": {**CALL, "target": POST, "method": "objects"},
    "method: an exception": {**CALL, "target": POST, "method": "DoesNotExist"},
    "method: of instances": {**CALL, "target": POST, "method": "send_to_twitter"},
    "method: a chain": {**CALL, "target": POST, "method": "objects.all"},
    "method: a list": {**CALL, "target": POST, "method": ["rebuild"]},
    "method: does not fit": {**CALL, "target": POST, "method": "ping"},
    "target: a text": {**CALL, "target": "abc", "method": "upper"},
    "target: a list": {**CALL, "target": [1], "method": "clear"},
    "target: an enum": {**CALL, "target": {"@type": "date", "value": "2026-01-01"}, "method": "today"},
    "target: nothing": {**CALL, "method": "rebuild"},
    "target: gone": {
        **CALL,
        "target": {"@type": "record", "model": "blog.post", "pk": 999_999, "db": "default"},
        "method": "send_to_twitter",
    },
    "class: outside": {**CALL, "class": "subprocess:Popen", "method": "wait"},
    "class: imported": {**CALL, "class": "tests.blog.jobs:timedelta", "method": "total_seconds"},
    "class: a function": {**CALL, "class": "tests.blog.jobs:resize", "method": "perform"},
    "class: instance method": {**CALL, "class": "tests.blog.jobs:Cleaner", "method": "scrub"},
    "class: a property": {**CALL, "class": "tests.blog.jobs:Cleaner", "method": "size"},
    "class: an attribute": {**CALL, "class": "tests.blog.jobs:Cleaner", "method": "level"},
    "class: of django": {**CALL, "class": "django.contrib.auth.models:User", "method": "check"},
    "owner: outside": {**CALL, "target": POST, "method": "rebuild", "owner": "os:system"},
    "owner: another": {**CALL, "target": POST, "method": "rebuild", "owner": "tests.blog.models:Word"},
    "owner: a function": {**CALL, "target": POST, "method": "rebuild", "owner": "tests.blog.jobs:resize"},
    "owner: nothing": {**CALL, "target": POST, "method": "rebuild", "owner": None},
}


UNKNOWN_TYPES = {
    "unknown type": {**PLAIN, "args": [{"@type": "os.system", "value": "true"}]},
    "unknown type in a keyword": {**PLAIN, "kwargs": {"a": {"@type": "pickle", "value": "gASVAA=="}}},
    "unknown type in a list": {**PLAIN, "args": [[{"@type": "tests.blog.jobs:Plain", "value": []}]]},
}


@pytest.mark.parametrize("payload", UNKNOWN_TYPES.values(), ids=UNKNOWN_TYPES)
def test_a_row_with_a_type_that_nobody_registered_runs_nothing_however_often_it_is_tried(payload, diary):
    row = write(payload, max_attempts=2)
    _, outcome = perform_next()
    assert isinstance(outcome, Rescheduled)
    DelayedJob.objects.filter(pk=row.pk).update(run_at=timezone.now() - timedelta(days=1))
    perform_next()
    row = DelayedJob.objects.failed().get()
    assert (row.attempts, row.error_class) == (2, "UnknownType")
    assert diary == []


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
def test_a_row_that_no_enqueue_has_written_fails_at_once_and_says_why(payload, diary):
    write(payload)
    Plain.perform_later("the next job")
    _, outcome = perform_next()
    row = DelayedJob.objects.failed().get()
    assert row.state == "failed"
    assert row.attempts == 1
    assert row.error_class in ("DeserializationError", "RecordNotFound", "UnknownCode")
    assert row.error_message
    assert outcome.job is None
    assert diary == []
    work_off()
    assert diary == [("plain", ("the next job",), {})]


def test_the_error_about_a_name_that_no_longer_exists_says_what_to_do():
    write({**PLAIN, "job": "tests.blog.jobs:RenamedJob"})
    perform_next()
    message = DelayedJob.objects.get().error_message
    assert message.startswith(
        "tests.blog.jobs:RenamedJob does not exist. If it has moved, give its new name in"
    )
    for way in ("DJANGO_DELAYED['ALIASES']", "the aliases of the Job", "import it at the old place"):
        assert way in message


WAITING = {
    "function": {"job": "call", "function": "tests.blog.{}:resize", "args": [1], "kwargs": {}},
    "class method": {
        "job": "call",
        "class": "tests.blog.{}:Cleaner",
        "method": "clean",
        "args": [1],
        "kwargs": {},
    },
    "Job": {"job": "tests.blog.{}:Plain", "args": [1], "kwargs": {}},
    "Enum": {
        "job": "tests.blog.jobs:Plain",
        "args": [{"@type": "enum", "class": "tests.blog.{}:Mood", "value": "GOOD"}],
        "kwargs": {},
    },
    "Mailer": {
        "job": "mailer",
        "mailer": "tests.blog.{}:NoticeMailer",
        "method": "notice",
        "args": ["a"],
        "kwargs": {},
    },
    "class that defines the method": {
        "job": "call",
        "target": {"@type": "record", "model": "blog.post", "pk": 9, "db": "default"},
        "method": "archive",
        "owner": "tests.blog.{}:Article",
        "args": [],
        "kwargs": {},
    },
}


@pytest.mark.parametrize("where", ["former", "gone"])
@pytest.mark.parametrize("payload", WAITING.values(), ids=WAITING)
def test_a_waiting_job_whose_code_has_moved_is_performed(settings, diary, mailoutbox, payload, where):
    Post.objects.create(pk=9, title="a")
    names = {"Article": "models", "resize": "jobs", "Cleaner": "jobs", "Plain": "jobs", "Mood": "jobs"}
    names |= {"NoticeMailer": "jobs"}
    settings.DJANGO_DELAYED = {
        "ALIASES": {
            f"tests.blog.gone:{name}": f"tests.blog.{module}:{name}" for name, module in names.items()
        }
    }
    write(json.loads(json.dumps(payload).replace("{}:", f"{where}:")))
    assert isinstance(perform_next()[1], Finished)
    assert len(diary) + len(mailoutbox) == 1


def test_a_waiting_job_is_performed_by_the_job_that_names_it_in_its_aliases(diary):
    write({**PLAIN, "job": "tests.blog.jobs:OldName"})
    perform_next()
    assert [entry[0] for entry in diary] == ["plain"]


def test_loading_a_row_takes_one_query_for_each_record(post, django_assert_num_queries):
    row = CleanUpJob.perform_later(post)
    with django_assert_num_queries(1):
        load(row)


def test_the_payload_does_not_say_when_it_was_written():
    row = Plain.perform_later(datetime(2026, 1, 1, tzinfo=UTC))
    assert set(json.loads(row.payload)) == {"v", "job", "args", "kwargs", "language", "timezone"}


PROBE = """
import sys
import django
django.setup()
from tests.blog.work import perform
from django_delayed.execution.outcomes import Failed, Rescheduled
from tests.blog import diary
from tests.blog.work import claim, write

payloads = eval(sys.stdin.read())
write({"job": "tests.blog.jobs:Unwritten", "args": [], "kwargs": {}})
assert isinstance(perform(claim()), Failed)  # what an error needs is loaded now
before = set(sys.modules)
done = []
WATCHED = ("import", "exec", "os.", "subprocess.", "socket.", "pickle.", "shutil.")
sys.addaudithook(lambda event, args: event.startswith(WATCHED) and done.append((event, str(args)[:200])))
for payload in payloads:
    write(payload)
    outcome = perform(claim())
    assert isinstance(outcome, (Failed, Rescheduled)), payload
print(sorted(set(sys.modules) - before), done, diary.entries)
"""


def test_a_row_that_no_enqueue_has_written_runs_and_imports_nothing(child_environment):
    names = [name for name in HOSTILE if name.split(":")[0] in ("function", "class", "owner", "method")]
    names += ["os.system", "eval", "imported function", "imported module", "a module outside"]
    process = subprocess.run(
        [sys.executable, "-c", PROBE],
        input=repr([*(HOSTILE[name] for name in names), *UNKNOWN_TYPES.values()]),
        env={**child_environment, "LOG_LEVEL": "CRITICAL"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.stderr == ""
    assert process.stdout == "[] [] []\n"
