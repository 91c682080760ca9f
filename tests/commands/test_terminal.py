"""What a command prints in a terminal with each kind of LOGGING."""

import json

import pytest
from tests.playground.jobs import Note
from tests.stories.markdown import ROOT, blocks

CONSOLE = {"class": "logging.StreamHandler"}


def logging_of(root=None, ours=None, handler=None):
    """A LOGGING with a handler `console`, and these options of the root logger and of ours."""
    loggers = {} if ours is None else {"django_delayed": ours}
    handlers = {"console": {**CONSOLE, **(handler or {})}}
    return {"version": 1, "handlers": handlers, "loggers": loggers, "root": root or {}}


LOUD = {"handlers": ["console"], "level": "INFO"}
FILE = {"class": "logging.FileHandler", "filename": "/dev/null"}
HIDING = {
    "the root logger from WARNING on": logging_of({"handlers": ["console"], "level": "WARNING"}),
    "a handler from ERROR on": logging_of(LOUD, handler={"level": "ERROR"}),
    "a file": logging_of(LOUD, handler=FILE),
    "nothing": logging_of(ours=LOUD, handler={"class": "logging.NullHandler"}),
    "our logger from ERROR on": logging_of(LOUD, {"level": "ERROR"}),
}


@pytest.mark.parametrize("name", ["jobs_work", "jobs_workoff"])
@pytest.mark.parametrize("where", HIDING)
def test_a_command_without_a_visible_log_says_once_that_it_has_started(command, ledger, name, where):
    Note.perform_later(str(ledger), "done")
    run = command(name, "--sleep-delay", "0", environment={"LOGGING": json.dumps(HIDING[where])})
    assert run.ends() == 0
    assert ledger.lines == ["done"]
    assert len(run.said(rf"^Started: host:.* pid:{run.pid}, all queues, database default ")) == 1
    assert not run.said("RUNNING|Worker|Supervisor")
    run = command(name, "--sleep-delay", "0", "--quiet", environment={"LOGGING": json.dumps(HIDING[where])})
    assert (run.ends(), run.output) == (0, "")


def snippet():
    """The first LOGGING of the page on deployment."""
    page = next(block for block in blocks(ROOT / "docs/deployment.md") if "LOGGING" in block.text)
    given = {}
    exec(page.text, given)
    return given["LOGGING"]


SHOWING = {
    "no LOGGING": {},
    "the root logger from INFO on": logging_of(LOUD),
    "our logger": logging_of(ours=LOUD),
    "a level of ours": logging_of({"handlers": ["console"], "level": "WARNING"}, {"level": "INFO"}),
    "the page": snippet(),
    "the page and the root logger": {**snippet(), "root": LOUD},
}


@pytest.mark.parametrize("name", ["jobs_work", "jobs_workoff"])
@pytest.mark.parametrize("where", SHOWING)
def test_a_command_with_a_visible_log_prints_each_line_once(command, ledger, name, where):
    Note.perform_later(str(ledger), "done")
    run = command(name, "--sleep-delay", "0", environment={"LOGGING": json.dumps(SHOWING[where])})
    assert run.ends() == 0
    assert len(run.said("Note #\\d+ RUNNING")) == len(run.said("Worker .* started")) == 1
    assert not run.said("^Started: ")
