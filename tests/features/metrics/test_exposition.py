"""The text format, compared with what prometheus_client writes and reads."""

import math

import pytest
from django_delayed.features.metrics.exposition import CONTENT_TYPE, Gauge, Sample, text_of
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Gauge as TheirGauge
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.parser import text_string_to_metric_families

VALUES = [0, 1, 10_001, 0.1, 1e-9, 1e300, True, False, -3, math.inf, -math.inf, math.nan]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
odd_texts = texts | st.text('\\\n"{}=, #\r\t\u2028é', max_size=10)


def theirs(name, meaning, values):
    registry = CollectorRegistry()
    gauge = TheirGauge(name, meaning, ["queue"], registry=registry)
    for queue, value in values.items():
        gauge.labels(queue).set(value)
    return generate_latest(registry).decode()


def ours(name, meaning, values):
    return text_of([Gauge(name, meaning, [Sample(value, {"queue": key}) for key, value in values.items()])])


# Beyond these numbers, prometheus_client writes the same value in another way.
@given(odd_texts, st.dictionaries(odd_texts, st.floats(-999_999, 999_999), max_size=3))
def test_the_text_is_what_prometheus_client_writes(meaning, values):
    assert ours("jobs", meaning, values) == theirs("jobs", meaning, values)


@given(odd_texts, st.dictionaries(odd_texts, st.floats(allow_nan=False), max_size=3))
def test_prometheus_client_reads_what_was_written(meaning, values):
    [family] = text_string_to_metric_families(ours("jobs", meaning, values))
    assert (family.name, family.type) == ("jobs", "gauge")
    assert {sample.labels["queue"]: sample.value for sample in family.samples} == values


@pytest.mark.parametrize("value", VALUES)
def test_every_number_is_read_back_unchanged(value):
    [family] = text_string_to_metric_families(text_of([Gauge("jobs", "Jobs.", [Sample(value, {})])]))
    [sample] = family.samples
    assert sample.value == value or math.isnan(value)
    assert (sample.name, sample.labels) == ("jobs", {})


def test_the_metrics_are_written_one_after_the_other():
    text = text_of(
        [
            Gauge("a", "One.", [Sample(1, {"x": "1", "y": "2"}), Sample(2, {"x": "3", "y": "4"})]),
            Gauge("b", "Two.", []),
        ]
    )
    assert text == (
        '# HELP a One.\n# TYPE a gauge\na{x="1",y="2"} 1.0\na{x="3",y="4"} 2.0\n'
        "# HELP b Two.\n# TYPE b gauge\n"
    )


def test_the_content_type_says_which_format_it_is():
    kind, *parameters = CONTENT_TYPE.split("; ")
    assert kind == CONTENT_TYPE_LATEST.split("; ")[0]
    assert parameters == ["version=0.0.4", "charset=utf-8"]
