"""Jobs that write down in which process they are performed, and what they find there."""

import json
import logging
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

from django.apps import AppConfig
from django.db import connection
from django_delayed import Job
from django_delayed.signals import job_failed, job_finished, job_started
from tests.playground.ledger import note

hoard = []


class Where(Job):
    """Writes down the id, the group and the parent of its process."""

    def perform(self, ledger):
        note(ledger, "where", os.getpid(), os.getpgrp(), os.getppid())


class Leave(Job):
    """Leaves behind what it can: memory, threads, files, variables, another directory and a connection."""

    def perform(self, ledger):
        hoard.append(bytearray(50_000_000))
        threading.Thread(target=time.sleep, args=(3600,)).start()
        hoard.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(20))
        os.environ["LEFT"] = "behind"
        os.chdir("/")
        connection.ensure_connection()
        note(ledger, "left")


class Find(Job):
    """Writes down what it finds."""

    def perform(self, ledger):
        found = {
            "hoard": len(hoard),
            "threads": threading.active_count(),
            "files": sorted(descriptors().values()),
            "environment": "LEFT" in os.environ,
            "handled": [number.name for number in signal.Signals if callable(signal.getsignal(number))],
        }
        note(ledger, "found", json.dumps(found))


class Parent(Job):
    """Starts a program, writes down both processes, and waits for it for an hour."""

    max_run_time = 3600

    def perform(self, ledger):
        program = subprocess.Popen(["sleep", "3600"])
        note(ledger, "processes", os.getpid(), program.pid)
        program.wait()


def descriptors():
    """The open files of this process by their numbers, where /proc lists them."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        # One of them was the descriptor of the directory itself, and is closed by now.
        with suppress(OSError):
            found[int(link.name)] = os.readlink(link)
    return found


class Talkative(Job):
    """Sends its worker bytes that are no outcome, without end."""

    max_attempts = 1

    def perform(self, ledger):
        note(ledger, "talks")
        [link] = [number for number, to in descriptors().items() if to.startswith("socket:")]
        while True:
            os.write(link, b"x" * 65536)


class CloseAll(Job):
    """Closes all descriptors, including the socket to its worker."""

    max_attempts = 1

    def perform(self, ledger):
        note(ledger, "closes")
        os.closerange(3, 1000)


class WithThread(logging.StreamHandler):
    """A log handler that works in a thread of its own."""

    def __init__(self):
        super().__init__()
        threading.Thread(target=threading.Event().wait, name="log shipper", daemon=True).start()


class Receivers(AppConfig):
    """An app whose receivers write down what they hear, and in which process."""

    name = __name__

    def ready(self):
        for sent in (job_started, job_finished, job_failed):
            sent.connect(hear, weak=False)


def hear(signal, sender, delayed_job, job=None, exception=None, **_):
    name = {job_started: "started", job_finished: "finished", job_failed: "failed"}[signal]
    words = [name, os.getpid(), sender.__name__, type(job).__name__, type(exception).__name__]
    note(os.environ["RECEIVED"], *words)
    # Client libraries start such threads, and they must not stay in the worker.
    threading.Thread(target=threading.Event().wait, daemon=True).start()
