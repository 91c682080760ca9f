"""The text format of Prometheus, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Sample:
    """A value, and the labels that tell it from the others of its metric."""

    value: float
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Gauge:
    """A metric that may rise and fall. `meaning` is a sentence for people."""

    name: str
    meaning: str
    samples: Iterable[Sample]


def text_of(gauges: Iterable[Gauge]) -> str:
    """The metrics as text; each line ends with a line feed."""
    return "".join(f"{line}\n" for gauge in gauges for line in _lines(gauge))


def _lines(gauge: Gauge) -> Iterator[str]:
    yield f"# HELP {gauge.name} {_escaped(gauge.meaning)}"
    yield f"# TYPE {gauge.name} gauge"
    for sample in gauge.samples:
        # Inside quotes, quotes are escaped too.
        labels = (
            f'{name}="{_escaped(value).replace(chr(34), chr(92) + chr(34))}"'
            for name, value in sample.labels.items()
        )
        braces = f"{{{','.join(labels)}}}" if sample.labels else ""
        yield f"{gauge.name}{braces} {float(sample.value)!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
