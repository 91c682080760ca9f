"""The spans of an enqueue and of its attempts, as OpenTelemetry's SDK exports them."""

import json
import os
import subprocess
import sys

import pytest
from django.db import transaction
from django_delayed import Job, enqueue_all
from django_delayed.exceptions import JobTimeout
from django_delayed.features import tracing
from django_delayed.models import DelayedJob
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, TraceFlags
from tests.blog.work import perform_next
from tests.playground.jobs import Note
from tests.playground.processes import command, ledger, no_job_is_left, until, work
from tests.stories.markdown import ROOT

__all__ = ["command", "ledger", "work"]

pytestmark = pytest.mark.django_db

TRACE = {"CONTEXT": {"trace": "django_delayed.features.tracing.Trace"}, "UNKNOWN_GRACE": 0}


class Spans:
    """A provider of a project, and the spans that it has exported so far."""

    def __init__(self, **options):
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **options)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("django_delayed")

    def named(self, beginning):
        return [span for span in self._exporter.get_finished_spans() if span.name.startswith(beginning)]

    def one(self, beginning):
        [span] = self.named(beginning)
        return span


@pytest.fixture
def spans(settings, monkeypatch):
    settings.DJANGO_DELAYED = TRACE | {"TRUSTED_MODULES": [__name__, "tests.playground"]}
    found = Spans()
    monkeypatch.setattr(tracing, "_tracer", lambda: found.tracer)
    yield found
    tracing._unwritten.clear()


class Traced(Job):
    """Notes the span that is active in it."""

    queue = "mail"
    max_attempts = 2
    seen = []
    ends_with = None

    def perform(self):
        span = trace.get_current_span().get_span_context()
        type(self).seen.append((span.trace_id, span.span_id, baggage.get_baggage("user")))
        if self.ends_with:
            raise self.ends_with

    def on_error(self, error):
        type(self).seen.append(trace.get_current_span().get_span_context().span_id)


class Snoozing(Traced):
    def perform(self):
        self.snooze(60)


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("no")


@pytest.fixture(autouse=True)
def nothing_is_seen(monkeypatch):
    monkeypatch.setattr(Traced, "seen", [])


def key(span):
    return span.get_span_context().trace_id, span.get_span_context().span_id


def test_the_span_of_an_attempt_is_linked_to_the_span_of_its_enqueue(spans):
    with spans.tracer.start_as_current_span("request") as request:
        row = Traced.perform_later()
    perform_next()
    enqueue, perform = spans.one("enqueue"), spans.one("perform")
    assert (enqueue.name, enqueue.kind) == ("enqueue mail", SpanKind.PRODUCER)
    assert (perform.name, perform.kind) == ("perform mail", SpanKind.CONSUMER)
    # The enqueue belongs to the request; the attempt may come a week later, in a trace of its own.
    assert enqueue.parent.span_id == request.get_span_context().span_id
    assert perform.parent is None
    assert perform.context.trace_id != enqueue.context.trace_id
    [link] = perform.links
    assert (link.context.trace_id, link.context.span_id) == key(enqueue)
    assert enqueue.end_time <= perform.start_time
    common = {
        "messaging.system": "django_delayed",
        "messaging.destination.name": "mail",
        "messaging.message.id": str(row.pk),
        "django_delayed.job": "Traced",
    }
    assert dict(enqueue.attributes) == common | {
        "messaging.operation.name": "enqueue",
        "messaging.operation.type": "send",
    }
    assert dict(perform.attributes) == common | {
        "messaging.operation.name": "perform",
        "messaging.operation.type": "process",
        "django_delayed.attempt": 1,
    }
    assert perform.status.status_code == StatusCode.UNSET


def test_a_job_runs_in_the_span_of_its_attempt_with_the_baggage_of_its_enqueue(spans):
    token = context.attach(baggage.set_baggage("user", "ada"))
    try:
        Traced.perform_later()
    finally:
        context.detach(token)
    perform_next()
    assert Traced.seen == [(*key(spans.one("perform")), "ada")]
    # Neither is active any more after the job.
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert baggage.get_baggage("user") is None


@pytest.mark.parametrize("error", [ValueError("no"), JobTimeout("too long"), SystemExit(1), Unspeakable()])
def test_each_attempt_has_a_span_and_a_failed_one_its_error(spans, monkeypatch, error):
    monkeypatch.setattr(Traced, "ends_with", error)
    Traced.perform_later()
    perform_next()
    DelayedJob.objects.retrying().run_now()
    perform_next()
    assert DelayedJob.objects.failed().count() == 1
    first, second = spans.named("perform")
    assert [span.attributes["django_delayed.attempt"] for span in (first, second)] == [1, 2]
    for span in (first, second):
        assert span.status.status_code == StatusCode.ERROR
        assert span.attributes["error.type"] == type(error).__qualname__
        assert [link.context.span_id for link in span.links] == [key(spans.one("enqueue"))[1]]
    if not isinstance(error, Unspeakable):
        [event] = first.events
        assert event.attributes["exception.message"] == str(error)
    # The hook after the error belongs to the span of the attempt, and has no span of its own.
    assert Traced.seen[1] == key(first)[1]
    assert Traced.seen[3] == key(second)[1]


def test_the_span_of_a_job_that_snoozes_has_no_error(spans):
    Snoozing.perform_later()
    perform_next()
    span = spans.one("perform")
    assert (span.status.status_code, span.events) == (StatusCode.UNSET, ())


def test_each_of_many_jobs_has_a_span_and_its_own_link(spans):
    rows = enqueue_all([Traced() for _ in range(3)])
    for _ in rows:
        perform_next()
    enqueues = {span.attributes["messaging.message.id"]: key(span) for span in spans.named("enqueue")}
    performs = spans.named("perform")
    assert set(enqueues) == {str(row.pk) for row in rows}
    for span in performs:
        [link] = span.links
        assert (link.context.trace_id, link.context.span_id) == enqueues[
            span.attributes["messaging.message.id"]
        ]
    assert len({span.context.trace_id for span in performs}) == 3


@pytest.mark.django_db(transaction=True)
def test_a_job_that_waits_for_a_commit_gets_its_span_only_on_commit(spans, settings):
    settings.DJANGO_DELAYED = settings.DJANGO_DELAYED | {"ENQUEUE": "on_commit"}
    with transaction.atomic():
        Traced.perform_later()
        assert spans.named("enqueue") == []
    assert spans.one("enqueue")
    with transaction.atomic():
        Traced.perform_later()
        transaction.set_rollback(True)
    assert len(spans.named("enqueue")) == 1


def test_the_spans_of_jobs_that_are_never_written_do_not_pile_up(spans, monkeypatch):
    monkeypatch.setattr(tracing, "MOST_UNWRITTEN", 3)
    for _ in range(10):
        Traced().dump()
    assert len(tracing._unwritten) == 3
    Traced.perform_later()
    assert spans.one("enqueue")


def test_a_job_that_is_performed_inline_has_both_spans(spans, settings):
    settings.DJANGO_DELAYED = settings.DJANGO_DELAYED | {"DELAY_JOBS": False}
    Traced.perform_later()
    enqueue, perform = spans.one("enqueue"), spans.one("perform")
    assert [link.context.span_id for link in perform.links] == [key(enqueue)[1]]
    assert "messaging.message.id" not in perform.attributes
    assert tracing._unwritten == {}


def test_a_trace_that_is_not_sampled_is_propagated_and_not_recorded(spans, monkeypatch):
    off = Spans(sampler=ALWAYS_OFF)
    monkeypatch.setattr(tracing, "_tracer", lambda: off.tracer)
    row = Traced.perform_later()
    assert tracing._unwritten == {}
    flags = json.loads(row.payload)["context"]["trace"]["traceparent"].rpartition("-")[2]
    assert not int(flags, 16) & TraceFlags.SAMPLED
    perform_next()
    assert off.named("") == []


def test_without_a_provider_of_the_project_nothing_is_propagated(spans, monkeypatch):
    monkeypatch.setattr(tracing, "_tracer", lambda: trace.NoOpTracer())
    row = Traced.perform_later()
    assert "context" not in json.loads(row.payload)
    perform_next()
    assert Traced.seen == [(0, 0, None)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", [(), ("--threads", "2"), ("--isolate",)], ids=["main", "threads", "isolate"])
def test_a_worker_exports_the_spans_of_its_attempts(spans, work, ledger, way, settings):
    # The fixture `work` has replaced the settings.
    settings.DJANGO_DELAYED = settings.DJANGO_DELAYED | TRACE
    rows = enqueue_all([Note(str(ledger), "done") for _ in range(3)])
    run = work(*way, environment={"DJANGO_SETTINGS_MODULE": "tests.playground.traced"})
    run.has_said(r'"name": "perform default"', times=3)
    until(no_job_is_left)
    assert run.stop() == 0
    for row, span in zip(rows, spans.named("enqueue"), strict=True):
        assert span.attributes["messaging.message.id"] == str(row.pk)
        assert run.said(f'"messaging.message.id": "{row.pk}"')
        # The attempt's link has the id of the enqueue's span.
        assert len(run.said(f'"span_id": "0x{key(span)[1]:016x}"')) == 1


def test_a_project_without_tracing_does_not_import_opentelemetry():
    code = (
        "import django; django.setup(); import sys;"
        "from django_delayed.management.commands import jobs_work;"
        "sys.exit(any(name.split('.')[0] == 'opentelemetry' for name in sys.modules))"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, timeout=120, cwd=ROOT / "testproject", env=environment)
