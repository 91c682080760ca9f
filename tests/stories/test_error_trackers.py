"""What the log and an error tracker get when they are set up as the page on deployment says."""

import json
import logging
import logging.config

import pytest
from django_delayed.models import DelayedJob
from tests.blog.jobs import Plain
from tests.blog.models import Post
from tests.blog.work import WORKER, perform_next
from tests.playground.jobs import Failing, FailingForGood, Note, Pill
from tests.playground.processes import command, ledger
from tests.stories.markdown import ROOT, blocks

__all__ = ["command", "ledger"]


@pytest.fixture
def tracked(command, tmp_path):
    """Run a command of the project with Sentry to its end. Returns the events."""
    file = tmp_path / "events"
    file.touch()

    def run(*arguments, **environment):
        environment |= {"DJANGO_SETTINGS_MODULE": "tests.playground.tracked", "EVENTS": str(file)}
        assert command(*arguments, environment=environment).ends() == 0
        return [json.loads(line) for line in file.read_text().splitlines()]

    return run


def test_each_failed_attempt_is_one_event_with_its_exception_and_the_fields_of_its_job(tracked, ledger):
    Note.perform_later(str(ledger), "done")
    job = Failing.set(queue="mail").perform_later("no route to 10.0.0.1")
    DelayedJob.objects.filter(pk=job.pk).update(max_attempts=2)
    first, second = tracked("jobs_workoff")
    for number, event in enumerate((first, second), start=1):
        [exception] = event["exception"]["values"]
        assert (exception["type"], exception["value"]) == ("ConnectionError", "no route to 10.0.0.1")
        assert exception["stacktrace"]["frames"][-1]["function"] == "perform"
        assert (event["level"], event["logger"]) == ("error", "django_delayed")
        extra = event["extra"]
        assert (extra["job_id"], extra["job_name"], extra["queue"]) == (job.pk, "Failing", "mail")
        assert (extra["attempt"], extra["given_up"]) == (number, number == 2)
        assert extra["error_class"] == "ConnectionError"
        assert extra["duration"] >= 0
        assert len(extra["worker"]) == 32
    assert first["extra"]["fingerprint"] == second["extra"]["fingerprint"]
    assert (
        first["logentry"]["message"]
        == second["logentry"]["message"]
        == ("Failing #%s %s with ConnectionError%s")
    )


def test_a_worker_that_dies_in_a_job_is_one_event_without_a_traceback(tracked, ledger):
    Pill.perform_later(str(ledger), "SIGKILL")
    DelayedJob.objects.update(max_attempts=1)
    [event] = tracked("jobs_work", "--sleep-delay", "0")
    [exception] = event["exception"]["values"]
    assert exception["type"] == "WorkerCrashed"
    assert "killed by SIGKILL" in exception["value"]
    assert not exception.get("stacktrace")
    assert (event["extra"]["job_name"], event["extra"]["given_up"]) == ("Pill", True)


def test_only_jobs_that_are_given_up_are_sent_if_the_settings_say_so(tracked):
    Failing.perform_later("no route to 10.0.0.1")
    FailingForGood.perform_later("no route to 10.0.0.2")
    FailingForGood.perform_later("no route to 10.0.0.3")
    DelayedJob.objects.filter(name="Failing").update(max_attempts=3)
    events = tracked("jobs_workoff", TRACKED="given up")
    assert sorted(event["extra"]["job_name"] for event in events) == [
        "Failing",
        "FailingForGood",
        "FailingForGood",
    ]
    groups = {(event["extra"]["job_name"], *event["fingerprint"]) for event in events}
    assert len(groups) == 2


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Set up logging as one of the page's blocks does, in a temporary folder."""
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("django_delayed")
    level, handlers, propagate = logger.level, logger.handlers[:], logger.propagate

    def configure(mark):
        [page] = [
            one for one in blocks(ROOT / "docs/deployment.md") if "LOGGING" in one.text and mark in one.text
        ]
        given = {}
        exec(page.text, given)
        logging.config.dictConfig(given["LOGGING"])

    yield configure
    for handler in logger.handlers[:]:
        handler.close()
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.mark.django_db
def test_json_records_have_the_fields_of_a_job(configured, tmp_path, capfd):
    configured("JsonFormatter")
    finished = Plain.perform_later().pk
    perform_next()
    failed = Post.objects.create(title="a").delay(queue="tweets").fail().pk
    _, outcome = perform_next()
    logging.getLogger("django_delayed").warning("of no job")
    running, completed, _, failure, other = map(json.loads, (tmp_path / "jobs.log").read_text().splitlines())
    job = {"job_name": "Plain", "queue": "default", "attempt": 1, "worker": WORKER, "job_id": finished}
    assert job.items() <= running.items()
    assert job.items() <= completed.items()
    assert completed["duration"] > 0
    assert (failure["job_id"], failure["job_name"], failure["queue"]) == (failed, "Post.fail", "tweets")
    assert (failure["error_class"], failure["given_up"]) == ("ConnectionError", False)
    assert (failure["fingerprint"], failure["duration"]) == (outcome.error.fingerprint, outcome.duration)
    assert "ConnectionError: no route" in failure["exc_info"]
    assert "job_id" not in other
    lines = capfd.readouterr().err.splitlines()
    assert f"INFO {WORKER} Plain #{finished} RUNNING" in lines[0]
    assert lines[-1].endswith("WARNING - of no job")
