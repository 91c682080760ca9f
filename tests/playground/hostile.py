"""Jobs that change what they find, and the probe that writes down what it finds."""

import json
import os
import signal
import sys
import tempfile
import threading
import time
from contextvars import ContextVar

from django.db import connection, transaction
from django.utils import timezone, translation
from django_delayed import Job
from tests.playground.ledger import note

LEFT_BEHIND = "left behind"
HANDLED = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1),
    *(signal.SIGCHLD, signal.SIGALRM, signal.SIGPIPE, signal.SIGQUIT),
)
word = ContextVar("word", default="clean")


def interrupt():
    raise KeyboardInterrupt


def close_the_streams():
    for number in range(3):
        os.close(number)


def change_to_a_folder_that_goes():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)


def change_the_environment():
    os.environ["HOSTILE"] = "yes"
    os.environ["LANG"] = "hostile"
    del os.environ["PATH"]
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()


def replace_the_environment():
    os.environ["HOSTILE"] = "yes"
    os.environ = {}  # noqa: B003


def handle_signals():
    for number in HANDLED:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(-1)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)


def leave_a_transaction_open():
    transaction.atomic().__enter__()
    connection.cursor().execute("SELECT 1")


def leave_autocommit_off():
    transaction.set_autocommit(False)
    connection.cursor().execute("SELECT 1")


def leave_a_thread():
    threading.Thread(target=time.sleep, args=(3600,), name=LEFT_BEHIND, daemon=True).start()


def leave_the_language():
    translation.activate("de")
    timezone.activate("Asia/Tokyo")
    word.set("hostile")


HOSTILE = {
    "KeyboardInterrupt": interrupt,
    "sys.exit": lambda: sys.exit(0),
    "os._exit": lambda: os._exit(0),
    "streams": close_the_streams,
    "directory": change_to_a_folder_that_goes,
    "umask": lambda: os.umask(0),
    "environment": change_the_environment,
    "environment replaced": replace_the_environment,
    "signals": handle_signals,
    "transaction": leave_a_transaction_open,
    "autocommit": leave_autocommit_off,
    "thread": leave_a_thread,
    "language": leave_the_language,
}


class Hostile(Job):
    """Does what this name says."""

    max_attempts = 1

    def perform(self, ledger, name):
        note(ledger, "hostile", name)
        HOSTILE[name]()


class Probe(Job):
    """Writes down what it finds."""

    def perform(self, ledger):
        found = {
            "streams": [is_open(number) for number in range(3)],
            "directory": os.getcwd(),
            "umask": os.umask(0o022),
            "environment": sorted(os.environ.items()),
            "time": time.tzname,
            "signals": [str(signal.getsignal(number)).split(" at ")[0] for number in HANDLED],
            "timer": signal.getitimer(signal.ITIMER_REAL)[1],
            "transaction": [connection.in_atomic_block, connection.get_autocommit()],
            "language": [translation.get_language(), timezone.get_current_timezone_name(), word.get()],
        }
        os.umask(found["umask"])
        note(ledger, "found", json.dumps(found))


def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
