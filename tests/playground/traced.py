"""The settings of a project that exports its spans to its standard output."""

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from tests.playground.settings import *  # noqa: F403
from tests.playground.settings import DJANGO_DELAYED

DJANGO_DELAYED = DJANGO_DELAYED | {"CONTEXT": {"trace": "django_delayed.features.tracing.Trace"}}

trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
