"""Jobs and functions of every kind."""

import asyncio
import functools
import os
import subprocess
from datetime import timedelta
from enum import Enum
from fractions import Fraction
from os import system  # noqa: F401 - for a row that names it here

from django.core.mail import EmailMessage
from django.db import OperationalError
from django.utils import timezone, translation
from django.utils.functional import SimpleLazyObject
from django_delayed import DeserializationError, DontPerform, DuplicateJob, Job, RecordNotFound, Retry
from django_delayed.jobs import hooks
from django_delayed.mail import Mailer

from . import diary


def resize(photo, width=100):
    """Make it smaller."""
    diary.write("resize", photo, width)


def around(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        diary.write("around")
        return function(*args, **kwargs)

    return wrapper


@around
def decorated(number):
    diary.write("decorated", number)


@functools.lru_cache
def remembered(number):
    diary.write("remembered", number)


async def asynchronous(*args):
    await asyncio.sleep(0)
    diary.write("async", args)


@around
def wrapped_coroutine(number):
    return asynchronous(number)


def generate():
    yield 1


a_lambda = lambda: None  # noqa: E731
lazy = SimpleLazyObject(lambda: diary.write("a lazy object was woken"))
path_of = os.path


class Cleaner:
    """No model and no Job; a job may call its class methods."""

    level = 3

    def __init__(self, *args):
        diary.write("a Cleaner was made")

    @classmethod
    def clean(cls, where):
        diary.write("clean", where)

    @staticmethod
    def wipe(where):
        diary.write("wipe", where)

    def scrub(self):
        diary.write("scrub")

    @property
    def size(self):
        diary.write("a property was run")

    class Inner:
        @classmethod
        def sweep(cls):
            diary.write("sweep")


def shouting(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


class Borrowed(Fraction):
    """Has methods that are defined in modules from which no job may call anything."""

    run = staticmethod(os.system)
    wrapped = staticmethod(shouting(subprocess.getoutput))
    fromhex = vars(bytes)["fromhex"]


class CleanUpJob(Job):
    queue = "maintenance"
    priority = 10
    max_attempts = 8
    max_run_time = timedelta(minutes=5)

    def perform(self, post, *, dry_run=False):
        diary.write("clean up", post.pk, dry_run)
        return "cleaned"


class Plain(Job):
    def perform(self, /, *args, **kwargs):
        diary.write("plain", args, kwargs)
        return args


class Coroutine(Job):
    """Awaits what the function of this name in `CALLS` returns."""

    def before_perform(self):
        diary.write("before")

    async def perform(self, name):
        return await CALLS[name](self)

    def after_perform(self):
        diary.write("after")


class AtomicCoroutine(Coroutine):
    atomic = True


class ReturningCoroutine(Coroutine):
    result = True


class Indexing(Plain):
    """Another class that takes the same arguments."""


class Noting(Plain):
    """Notes what its hooks of the enqueue see."""

    notes = []

    def around_enqueue(self):
        try:
            yield
        except DuplicateJob as duplicate:
            self.notes.append((str(duplicate), duplicate.delayed_job_id))
            raise
        self.notes.append("enqueued")

    def after_enqueue(self):
        self.notes.append("after")


class Mood(Enum):
    GOOD = "good"


class NoticeMailer(Mailer):
    def notice(self, text):
        return EmailMessage(text, "…", "a@example.com", ["b@example.com"])


class Renamed(Plain):
    aliases = ("tests.blog.jobs:OldName", "tests.blog.gone:OlderName")


class RenamedChild(Renamed):
    """Does not inherit the aliases of its parent."""


class Unwritten(Job):
    """Has no perform() yet."""


class Hooked(Job):
    """Writes each hook into the diary; `raising` names the one that raises."""

    def perform(self, raising="", veto=False):
        self.write("perform")

    def write(self, hook):
        diary.write(hook)
        if self.args[:1] == (hook,):
            raise ArithmeticError(f"in {hook}")

    def before_enqueue(self):
        self.write("before_enqueue")
        return not (len(self.args) > 1 and self.args[1])

    def after_enqueue(self):
        self.write("after_enqueue")

    def before_perform(self):
        self.write("before_perform")

    def around_perform(self):
        self.write("around begins")
        try:
            yield
        finally:
            diary.write("around ends")

    def after_perform(self):
        self.write("after_perform")

    def on_error(self, error):
        diary.write("on_error", str(error))
        self.write("on_error")

    def on_failure(self, error):
        diary.write("on_failure", str(error))
        self.write("on_failure")


class HookedOnce(Hooked):
    max_attempts = 1


class Swallowing(Plain):
    def around_perform(self):
        try:
            yield
        except ArithmeticError:
            diary.write("swallowed")

    def perform(self):
        raise ArithmeticError

    def after_perform(self):
        diary.write("after_perform")


class Translating(Swallowing):
    def around_perform(self):
        try:
            yield
        except ArithmeticError as error:
            raise LookupError("translated") from error


class Skipping(Plain):
    def around_perform(self):
        if False:
            yield

    def after_perform(self):
        diary.write("after_perform")


class YieldingTwice(Plain):
    def around_perform(self):
        yield
        yield


class SwallowingAndYielding(Swallowing):
    def around_perform(self):
        try:
            yield
        except ArithmeticError:
            yield


class RaisingFirst(Plain):
    def around_perform(self):
        raise LookupError("before the yield")
        yield


class Discarded(Job):
    discard_on = (LookupError,)

    def perform(self, kind):
        if kind != "none":
            raise {"lookup": KeyError, "other": ValueError}[kind]("gone")

    def on_error(self, error):
        diary.write("on_error", type(error))

    def on_failure(self, error):
        diary.write("on_failure", type(error))

    def after_discard(self, error):
        diary.write("after_discard", type(error))


class DiscardedBadly(Discarded):
    def after_discard(self, error):
        raise SystemExit("after_discard")


class DiscardedWithItsRecord(Job):
    discard_on = (RecordNotFound,)

    def perform(self, record):
        raise AssertionError("it has no record")


class DiscardedWithWhateverIsGone(DiscardedWithItsRecord):
    discard_on = (DeserializationError, OperationalError, PermissionError)


class HookedByClass(Job):
    """Has hooks that need no instance."""

    max_attempts = 1
    discard_on = (RecordNotFound,)

    def perform(self, record):
        raise ValueError(record)

    @classmethod
    def on_error(cls, error):
        diary.write("on_error", cls, error)

    @staticmethod
    def on_failure(error):
        diary.write("on_failure", error)

    @classmethod
    def after_discard(cls, error):
        diary.write("after_discard", cls, error)


class Curious(Job):
    """Notes its own row."""

    seen: list = []

    def perform(self):
        self.seen.append(("perform", self.delayed_job))

    def after_enqueue(self):
        self.seen.append(("after_enqueue", self.delayed_job))


class Surroundings(Job):
    def perform(self):
        diary.write(translation.get_language(), str(timezone.get_current_timezone()))

    def on_error(self, error):
        diary.write("on_error", translation.get_language())


class FailingAbroad(Surroundings):
    def perform(self):
        raise ValueError


class Impatient(Plain):
    max_attempts = 2

    def wait_before_retry(self, attempts, error):
        return {0: timedelta(minutes=3), 1: 90, 2: -1, 3: "soon", 4: timedelta.max}[self.args[0]]

    def perform(self, wait):
        raise ValueError(wait)


class Leaving(Plain):
    """Its policy and its hook try to end the process."""

    def wait_before_retry(self, attempts, error):
        raise SystemExit(3)

    def on_error(self, error):
        raise KeyboardInterrupt

    def perform(self):
        raise ValueError


def call(function, *args):
    """Call the function that a test has put into `CALLS`, in the same process."""
    return CALLS[function](*args)


CALLS = {}


class Atomic(Job):
    """Calls the function of this name in `CALLS` with itself, in the transaction of the job."""

    atomic = True

    def perform(self, name):
        return CALLS[name](self)

    def before_perform(self):
        self.call("before")

    def after_perform(self):
        self.call("after")

    def on_error(self, error):
        self.call("on_error")

    def call(self, name):
        if name in CALLS:
            CALLS[name](self)


class Ruled(Job):
    """Raises the error that `CALLS["ruled"]` returns; has rules for some errors."""

    max_attempts = 3
    retry_on = (
        Retry(ConnectionError, TimeoutError, attempts=2, wait=60),
        Retry(LookupError, wait=lambda failures, error: timedelta(minutes=failures)),
        Retry(RecordNotFound, attempts=2),
    )

    def perform(self, *record):
        raise CALLS["ruled"]()

    def on_failure(self, error):
        diary.write("on_failure", type(error).__name__)


class Hurried(Job):
    """Is given up when a minute has passed."""

    retry_for = 60

    def perform(self):
        raise ValueError

    def wait_before_retry(self, attempts, error):
        return CALLS["hurried"]()


class Patient(Job):
    """Calls `CALLS["patient"]` with itself."""

    max_attempts = 3
    discard_on = (LookupError,)

    def perform(self, *args):
        diary.write("attempt", self.executions)
        CALLS["patient"](self)
        diary.write("not reached")

    def around_perform(self):
        try:
            yield
        except Exception:
            diary.write("an Exception")
            raise
        finally:
            diary.write("around ends")

    def after_perform(self):
        diary.write("after_perform")

    def on_error(self, error):
        diary.write("on_error", type(error).__name__)

    def on_failure(self, error):
        diary.write("on_failure", type(error).__name__)

    def after_discard(self, error):
        diary.write("after_discard")


class Sleepy(Job):
    def perform(self):
        self.snooze(3600)


class Audited(Job):
    """Has several hooks of each kind; its arguments make some of them veto or raise."""

    def before_perform(self):
        diary.write("before_perform")

    @hooks.before_perform
    def open(self):
        diary.write("open")
        if self.args == ("nothing to do",):
            raise DontPerform

    @hooks.around_perform
    def measure(self):
        diary.write("measure begins")
        yield
        diary.write("measure ends")

    @hooks.after_perform
    def close(self):
        diary.write("close")

    @hooks.before_enqueue
    def ask(self):
        diary.write("ask")
        return "veto" not in self.args

    @hooks.around_enqueue
    def watch(self):
        diary.write("watch begins")
        try:
            yield
        except Exception as error:
            diary.write("watch", type(error).__name__)
            raise
        diary.write("watch ends", self.delayed_job is not None)

    @hooks.after_enqueue
    def count(self):
        diary.write("count")

    def perform(self, *what):
        diary.write("perform")
        if what == ("fail",):
            raise ArithmeticError
        return what


class Counting:
    """A mixin that adds its hooks to a Job."""

    @hooks.before_perform
    @hooks.after_perform
    def tick(self):
        diary.write("tick")


class AuditedTwice(Counting, Audited):
    def close(self):
        diary.write("close better")

    @hooks.before_perform
    def later(self):
        diary.write("later")

    @hooks.around_perform
    def rescue(self):
        diary.write("rescue begins")
        try:
            yield
        except ArithmeticError:
            diary.write("rescued")

    def around_perform(self):
        if self.args == ("not now",):
            return
        diary.write("around begins")
        yield
        diary.write("around ends")

    def around_enqueue(self):
        if self.args == ("not now",):
            return
        diary.write("around_enqueue")
        yield

    def after_enqueue(self):
        diary.write("after_enqueue")


class Perishable(Job):
    """Expires after ten minutes."""

    expires = timedelta(minutes=10)

    def before_perform(self):
        diary.write("before_perform")

    def perform(self, what="write"):
        if what == "fail":
            raise ValueError
        if what == "snooze" and CALLS["snooze"]():
            self.snooze(0)
        diary.write("perform")

    def after_discard(self, error):
        diary.write("after_discard", str(error))


class Reminder(Job):
    """Can be dequeued; writes into the diary what its hooks see."""

    aliases = ("tests.blog.jobs:FormerReminder",)

    def perform(self, *what, **more):
        diary.write("remind")

    def before_dequeue(self):
        diary.write("before_dequeue", self.args)
        return "sacred" not in self.args

    def after_dequeue(self):
        diary.write("after_dequeue", self.args)


class Greeting(Job):
    def perform(self, post, *, tags=frozenset(), mood=None):
        diary.write("greet")


class Returning(Job):
    """Keeps what the function of this name in `CALLS` returns."""

    result = True
    discard_on = (LookupError,)

    def perform(self, name):
        return CALLS[name](self)


class AtomicReturning(Returning):
    atomic = True


class Silent(Returning):
    result = False
    keep_for = timedelta(hours=1)


class Remembered(Job):
    """Its row is kept for an hour."""

    keep_for = timedelta(hours=1)

    def perform(self):
        return 1
