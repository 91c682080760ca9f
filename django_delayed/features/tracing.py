"""Spans of OpenTelemetry for the enqueue and for each attempt of a job, as a provider of the setting CONTEXT.

Needs the package opentelemetry-api; the project chooses how spans are exported. Only a process that names
this module imports it.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode

from ..exceptions import JobCancelled, JobInterrupted, JobSnoozed
from ..serialization import arguments
from ..signals import job_enqueued, job_started

# Spans that are kept for jobs that are not written yet; some never are, as after a rollback.
MOST_UNWRITTEN = 10_000
# What a job raises to end without an error.
NO_ERRORS = (JobCancelled, JobInterrupted, JobSnoozed)

# By the ids of their traces and their own.
_unwritten: OrderedDict[tuple[int, int], Span] = OrderedDict()
# The row of an attempt that has begun and has no span yet; and the span of the attempt once it has one.
_started: ContextVar[Any] = ContextVar("started", default=None)
_performed: ContextVar[SpanContext | None] = ContextVar("performed", default=None)


class Trace:
    """Carries the trace of the enqueue along, and links the spans of the attempts to it.

    The span of an enqueue belongs to the trace that is active then; it ends when the row is written. Each
    attempt begins a trace of its own: it may come a week later, and there may be 25 of them. Baggage is
    carried along too.
    """

    @staticmethod
    def capture() -> dict[str, str] | None:
        """What the propagators of the project write about the span of this enqueue; None if it is nothing."""
        span = _tracer().start_span("enqueue", kind=SpanKind.PRODUCER)
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(span))
        if span.is_recording():
            _unwritten[_key(span.get_span_context())] = span
            if len(_unwritten) > MOST_UNWRITTEN:
                _unwritten.popitem(last=False)
        return carrier or None

    @staticmethod
    @contextmanager
    def restore(value: Mapping[str, str]) -> Iterator[None]:
        """The block of an attempt, with its span; or of its error hooks, whose spans belong to that span."""
        carried = propagate.extract(value)
        enqueue = trace.get_current_span(carried).get_span_context()
        # A job that is performed where it is enqueued has no row, so nothing has ended its span.
        if span := _unwritten.pop(_key(enqueue), None):
            span.end()
        row, before = _started.get(), _performed.get()
        _started.set(None)
        if row is None:
            with _attached(trace.set_span_in_context(NonRecordingSpan(before or enqueue), carried)):
                yield
        else:
            with _performing(row, enqueue, carried):
                yield


@contextmanager
def _performing(row: Any, enqueue: SpanContext, carried: Context) -> Iterator[None]:
    root = trace.set_span_in_context(trace.INVALID_SPAN, carried)
    span = _tracer().start_span(
        f"perform {row.queue}",
        root,
        SpanKind.CONSUMER,
        {**_attributes(row, "perform", "process"), "django_delayed.attempt": row.attempts},
        [Link(enqueue)] if enqueue.is_valid else (),
    )
    _performed.set(span.get_span_context())
    try:
        with _attached(trace.set_span_in_context(span, carried)):
            yield
    except NO_ERRORS:
        raise
    except BaseException as error:
        # An error may raise another one when it is asked for its text.
        with suppress(Exception):
            span.record_exception(error)
        span.set_attribute("error.type", type(error).__qualname__)
        span.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        span.end()


@contextmanager
def _attached(context: Context) -> Iterator[None]:
    token = contexts.attach(context)
    try:
        yield
    finally:
        contexts.detach(token)


def _tracer() -> trace.Tracer:
    # Asked for each time: the project may choose its provider later.
    return trace.get_tracer("django_delayed")


def _key(context: SpanContext) -> tuple[int, int]:
    return context.trace_id, context.span_id


def _attributes(row: Any, name: str, kind: str) -> dict[str, Any]:
    """By the conventions of OpenTelemetry for messaging, and the name of the job."""
    return {
        "messaging.system": "django_delayed",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": row.queue,
        **({} if row.pk is None else {"messaging.message.id": str(row.pk)}),
        "django_delayed.job": row.name,
    }


def _end_enqueue(delayed_job: Any, **_: Any) -> None:
    if not _unwritten:
        return
    for encoded in json.loads(delayed_job.payload).get("context", {}).values():
        value = arguments.decode(encoded)
        if isinstance(value, dict):
            context = trace.get_current_span(propagate.extract(value)).get_span_context()
            if span := _unwritten.pop(_key(context), None):
                span.update_name(f"enqueue {delayed_job.queue}")
                span.set_attributes(_attributes(delayed_job, "enqueue", "send"))
                span.end()


def _begin_attempt(delayed_job: Any, **_: Any) -> None:
    _started.set(delayed_job)
    _performed.set(None)


job_enqueued.connect(_end_enqueue, dispatch_uid="django_delayed.tracing")
job_started.connect(_begin_attempt, dispatch_uid="django_delayed.tracing")
