"""The orphans that the first process of a container reaps."""

import subprocess
import sys

# This runs in a separate process that has no other children.
REAP = """
import os, subprocess, sys, time
from django_delayed.supervisor.reaper import REAP_AFTER, Reaper

now = 100.0
time.monotonic = lambda: now
{first}

def child():
    if not (pid := os.fork()):
        os._exit(7)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid

def is_there(pid):
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG).si_pid == pid
    except ChildProcessError:
        return False

reaper = Reaper()
reaper.tick(())
there = [child() for _ in range(3)]
reaper.tick(())
now += REAP_AFTER - 0.1
reaper.tick(())
print([is_there(pid) for pid in there])
now += 0.2
reaper.tick(())
print([is_there(pid) for pid in there])
worker = child()
for _ in range(2):
    reaper.tick({{worker}})
    now += REAP_AFTER
print(is_there(worker))
"""
IS_FIRST = "os.getpid = lambda: 1"


def printed(code):
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_the_first_process_reaps_children_that_nobody_else_has_reaped_but_no_worker():
    assert printed(REAP.format(first=IS_FIRST)) == ["[True, True, True]", "[False, False, False]", "True"]


def test_another_process_reaps_nothing():
    assert printed(REAP.format(first="")) == ["[True, True, True]", "[True, True, True]", "True"]
