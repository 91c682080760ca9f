"""A child that a job has forked."""

import os
import sys

import pytest
from django_delayed.execution.forks import in_this_process
from django_delayed.models import FailedAttempt
from tests.playground.jobs import Forking
from tests.playground.processes import command, ledger, no_job_is_left, nothing_is_held, until, work

__all__ = ["command", "ledger", "work"]


def raise_(error):
    raise error


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda: "a result", 0),
        (lambda: raise_(LookupError("in the child")), 1),
        (lambda: raise_(KeyboardInterrupt()), 1),
        (lambda: sys.exit(), 0),
        (lambda: sys.exit(3), 3),
        (lambda: sys.exit("why"), 1),
        (lambda: os._exit(4), 4),
    ],
    ids=[
        "returns",
        "raises",
        "is interrupted",
        "exits",
        "exits with a code",
        "exits with a text",
        "ends itself",
    ],
)
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_ends_where_its_parent_goes_on(end, code):
    def fork():
        child = os.fork()
        return child or end()

    child = in_this_process(fork)()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == code


def test_a_function_that_does_not_fork_returns_and_raises_as_usual():
    assert in_this_process(lambda: 7)() == 7
    with pytest.raises(LookupError):
        in_this_process(lambda: raise_(LookupError()))()


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize(("how", "code"), [("raises", 1), ("returns", 0)])
def test_a_job_that_forks_goes_on_as_one_worker(work, ledger, how, code, threads):
    run = work("--threads", threads)
    Forking.perform_later(str(ledger), how)
    ledger.has(f"child {code}")
    until(no_job_is_left)
    assert not FailedAttempt.objects.exists()
    assert ledger.lines == [f"child {code}"]
    # All that the process has written is read when it has ended.
    assert run.stop() == 0
    assert len(run.said("Forking #.* RUNNING")) == len(run.said("Forking #.* COMPLETED")) == 1
    assert bool(run.said("LookupError: in the child")) is (how == "raises")
    assert nothing_is_held()
