"""Jobs that say what they do in a ledger: a file, which no fault of the database rolls back."""

import ctypes
import itertools
import os
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

from django.db import connection, transaction
from django.utils.timezone import get_current_timezone_name
from django.utils.translation import get_language
from django_delayed import Job
from tests.playground.ledger import EFFECT, START, enter, note
from tests.playground.models import Effect

POLL = 0.01

schema = "none"


class Note(Job):
    def perform(self, ledger, word):
        note(ledger, word)


class NoteSchema(Job):
    """Writes down its schema, which tests/playground/management/commands/with_schema.py has set."""

    def perform(self, ledger):
        note(ledger, schema)


class Gated(Job):
    """Begins, and ends once the file of the gate exists."""

    def perform(self, ledger, gate):
        note(ledger, "begin", self.delayed_job.id)
        while not Path(gate).exists():
            time.sleep(POLL)
        note(ledger, "end", self.delayed_job.id)


class ShortGated(Gated):
    max_run_time = 0.5


class LongGated(Gated):
    max_run_time = 3600


class Looking(Job):
    """Goes on until it is told to stop, whatever the gate, and then comes again."""

    def perform(self, ledger, gate=None):
        note(ledger, "begin", self.delayed_job.id)
        while not self.should_stop():
            time.sleep(POLL)
        note(ledger, "told", self.delayed_job.id)
        self.snooze(0)


class Stubborn(Job):
    """Goes on, whatever it is told and whatever is raised in it."""

    def perform(self, ledger, gate=None):
        note(ledger, "begin", self.delayed_job.id)
        while True:
            try:
                while True:
                    self.should_stop()
                    time.sleep(POLL)
            except BaseException:
                continue


class ShortStubborn(Stubborn):
    max_run_time = 0.5


class Sleepy(Job):
    def perform(self, ledger, word, seconds):
        note(ledger, word)
        time.sleep(seconds)


class ShortSleepy(Sleepy):
    max_run_time = 0.5


hoard = []


class Hoard(Job):
    """Keeps so many megabytes for as long as the process lives."""

    def perform(self, ledger, megabytes):
        hoard.append(b"x" * (megabytes * 1024 * 1024))
        note(ledger, "hoarded")


class Work(Job):
    """Writes down that it starts, takes so many seconds, and writes down its effect."""

    def perform(self, ledger, seconds=0.0):
        enter(ledger, START, self.delayed_job.id)
        # This is not time.sleep(), which libfaketime breaks.
        select.select([], [], [], seconds)
        enter(ledger, EFFECT, self.delayed_job.id)


class AtomicWork(Job):
    """Has a row in the database as its effect; the ledger has the effect once that row is committed."""

    atomic = True

    def perform(self, ledger, seconds=0.0):
        job = self.delayed_job.id
        enter(ledger, START, job)
        select.select([], [], [], seconds)
        Effect.objects.create(job=job)
        transaction.on_commit(lambda: self.committed(ledger))

    def committed(self, ledger):
        enter(ledger, EFFECT, self.delayed_job.id)

    def wait_before_retry(self, attempts, error):
        return 0


class SlowerAtomicWork(AtomicWork):
    """Takes so many seconds, and twenty times as many when it is tried again."""

    def perform(self, ledger, seconds=0.0):
        super().perform(ledger, seconds if self.delayed_job.attempts == 1 else 20 * seconds)
        # It is before the move of its row: between that and the commit, nobody else could take the job.
        enter(ledger, EFFECT, self.delayed_job.id)

    def committed(self, ledger):
        pass


class EndlessWork(Job):
    """Writes down that it starts, and goes on for a minute."""

    def perform(self, ledger):
        enter(ledger, START, self.delayed_job.id)
        select.select([], [], [], 60)


class EndlessWorkThatAsks(Job):
    """Writes down that it starts, and goes on until it is told to stop; then it fails."""

    def perform(self, ledger):
        enter(ledger, START, self.delayed_job.id)
        while not self.should_stop():
            select.select([], [], [], POLL)
        raise ConnectionError("it was told to stop")


class StubbornWork(Job):
    """Writes down that it starts, and goes on, whatever it is told and whatever is raised in it."""

    def perform(self, ledger):
        enter(ledger, START, self.delayed_job.id)
        while True:
            try:
                while True:
                    self.should_stop()
                    time.sleep(POLL)
            except BaseException:
                continue


class WorkAgain(Work):
    """Fails once after its effect."""

    def perform(self, ledger, seconds=0.0):
        super().perform(ledger, seconds)
        if self.delayed_job.attempts == 1:
            raise ConnectionError("the network is down")

    def wait_before_retry(self, attempts, error):
        return 0


class SlowerAgain(Work):
    """Takes so many seconds, and twenty times as many when it is tried again."""

    def perform(self, ledger, seconds=0.0):
        super().perform(ledger, seconds if self.delayed_job.attempts == 1 else 20 * seconds)


class Forking(Job):
    """Forks a child, which inherits a connection and returns from the job."""

    def perform(self, ledger, how):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            with warnings.catch_warnings():
                # A process with threads should not fork.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if not child:
                if how == "raises":
                    raise LookupError("in the child")
                return
            _, status = os.waitpid(child, 0)
            cursor.execute("SELECT 1")
        note(ledger, "child", os.waitstatus_to_exitcode(status))


class LeaveThread(Job):
    """Leaves a thread behind that runs for a minute; Python waits for it at its end."""

    def perform(self, ledger):
        threading.Thread(target=time.sleep, args=(60,), name="left behind").start()
        note(ledger, "left")


class LeaveOrphan(Job):
    """Leaves a program behind that ends after the job; the parent of that program has ended before."""

    def perform(self, ledger):
        word = f"orphan {self.delayed_job.id}"
        subprocess.run(["sh", "-c", '(sleep 0.2; echo "$1" >> "$0") &', ledger, word], check=True)


class Told(Gated):
    """Writes down when it is told to stop, and goes on until the file of the gate exists."""

    def perform(self, ledger, gate):
        note(ledger, "begin", self.delayed_job.id)
        while not self.should_stop():
            time.sleep(POLL)
        note(ledger, "told", self.delayed_job.id)
        while not Path(gate).exists():
            time.sleep(POLL)
        note(ledger, "end", self.delayed_job.id)


class FailingWhenTold(Job):
    """Fails when it is told to stop, whatever the gate."""

    def perform(self, ledger, gate=None):
        note(ledger, "begin", self.delayed_job.id)
        while not self.should_stop():
            time.sleep(POLL)
        raise ConnectionError("it was told to stop")


class HoldGil(Job):
    """Keeps all Python code of this process from running for so many seconds."""

    def perform(self, ledger, seconds):
        enter(ledger, START, self.delayed_job.id)
        ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
        enter(ledger, EFFECT, self.delayed_job.id)


class HoldGilForever(Job):
    """Keeps all Python code of this process from running for ever, signal handlers included."""

    max_run_time = 0.5

    def perform(self, ledger):
        note(ledger, "begin", self.delayed_job.id)
        sum(itertools.repeat(0))


class AlarmOff(Job):
    """Switches SIGALRM off."""

    max_run_time = 0.3

    def perform(self, ledger):
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        note(ledger, "begin", self.delayed_job.id)
        while True:
            time.sleep(POLL)


class Swallowing(Job):
    """Swallows its JobTimeout, and then ends."""

    max_run_time = 0.3

    def perform(self, ledger):
        try:
            while True:
                time.sleep(POLL)
        except BaseException as error:
            note(ledger, "swallowed", type(error).__name__)


class Failing(Job):
    def perform(self, message="the network is down"):
        raise ConnectionError(message)

    def wait_before_retry(self, attempts, error):
        return 0


class FailingForGood(Failing):
    max_attempts = 1


def overflow_the_stack(*_):
    """Overflow, through C, the stack of a thread; it is too small for Python to reach its own limit."""
    threading.stack_size(64 * 1024)
    thread = threading.Thread(target=descend)
    thread.start()
    thread.join()


def descend(*_):
    return max([0], key=descend)


KILLERS = {
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit code 9": lambda: os._exit(9),
    "exit code 0": lambda: os._exit(0),
    "SIGABRT": os.abort,
    "SIGSEGV": lambda: ctypes.string_at(0),
    "SIGSEGV of the stack": overflow_the_stack,
}


class Pill(Job):
    """Kills its process."""

    def perform(self, ledger, kind):
        note(ledger, kind)
        KILLERS[kind]()


class Killer(Job):
    """Writes down that it starts, and kills its process."""

    def perform(self, ledger, kind):
        enter(ledger, START, self.delayed_job.id)
        KILLERS[kind]()


class KillerOnce(Killer):
    max_attempts = 1


class Whereabouts(Job):
    """Writes down twice in which language, time zone and session of the database it is performed."""

    def perform(self, ledger, gate):
        self.write(ledger)
        while not Path(gate).exists():
            time.sleep(POLL)
        self.write(ledger)

    def write(self, ledger):
        own = {"postgresql": "pg_backend_pid()", "mysql": "connection_id()"}
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {own.get(connection.vendor, '1')}")
            [session] = cursor.fetchone()
        note(ledger, get_language(), get_current_timezone_name(), session)


class TooLong(Job):
    """Goes on for ten minutes; if it holds the GIL, no other thread of its process runs meanwhile."""

    max_run_time = 0.5

    def perform(self, ledger, holds_gil):
        enter(ledger, START, self.delayed_job.id)
        if holds_gil:
            ctypes.PyDLL(None).sleep(600)
        else:
            select.select([], [], [], 600)
        enter(ledger, EFFECT, self.delayed_job.id)


class Environment(Job):
    """Writes down the environment of a program that it starts."""

    def perform(self, ledger):
        code = "import os, sys; sys.stdout.write(' '.join(os.environ))"
        note(ledger, subprocess.check_output([sys.executable, "-c", code], text=True, close_fds=False))


class Statement(Job):
    """Runs a statement that takes a while."""

    def perform(self, ledger, sql):
        note(ledger, "begin", self.delayed_job.id)
        with connection.cursor() as cursor:
            cursor.execute(sql)
        note(ledger, "end", self.delayed_job.id)


class Ask(Job):
    """Runs a query, then sleeps."""

    def perform(self, ledger, seconds):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        note(ledger, "asked")
        time.sleep(seconds)


class Reporting(Job):
    """Says how far it is, waits until the file of the gate exists, and says how far it is at its end."""

    keep_for = 3600

    def perform(self, ledger, gate):
        Effect.objects.create(job=self.delayed_job.id)
        self.progress(1, 3, "first")
        note(ledger, "begin", self.delayed_job.id)
        while not Path(gate).exists():
            time.sleep(POLL)
        self.progress(3, 3, "last")


class AtomicReporting(Reporting):
    atomic = True


class DyingReporting(Job):
    """Says how far it is, and kills its process in its first attempt."""

    keep_for = 3600

    def perform(self, ledger):
        if self.executions == 1:
            self.progress(1, 2)
            os.kill(os.getpid(), signal.SIGKILL)
        note(ledger, "again", self.delayed_job.id)
