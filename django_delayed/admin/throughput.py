"""The part of the overview that shows what was performed over time, and how long jobs waited for it."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.http import HttpRequest
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from .. import stats
from .charts import Bar, chart
from .display import in_current_zone, span_text


class Choice(NamedTuple):
    """A span that the page can show."""

    name: str
    label: str
    is_shown: bool


class Figure(NamedTuple):
    """A chart with its title, what its highest bar stands for, and what its filled and outlined parts are."""

    title: str
    most: str
    legend: str
    svg: str


class Line(NamedTuple):
    """A bar of the charts as a line of the table."""

    at: str
    processed: int
    failed: int
    average: str
    longest: str


def performed(request: HttpRequest) -> dict[str, Any]:
    """What the template of this part needs; the address may name one of `stats.SPANS`."""
    name = request.GET.get("span", "")
    name = name if name in stats.SPANS else "hour"
    row = stats.throughput(stats.SPANS[name])
    return {
        "spans": _choices(name),
        "totals": _totals(stats.total(row)) if row else [],
        "figures": _figures(stats.SPANS[name], row) if row else [],
        "ends": [_moment(each) for each in (row[:1] + row[-1:])],
        "lines": [_line(each) for each in row if each.processed],
    }


def _choices(shown: str) -> list[Choice]:
    labels = {"hour": _("1 hour"), "day": _("24 hours"), "three-days": _("3 days")}
    return [Choice(name, labels[name], name == shown) for name in stats.SPANS]


def _totals(total: stats.Performed) -> list[tuple[str, str]]:
    return [
        (_("Processed"), str(total.processed)),
        (_("Failed attempts"), str(total.failed)),
        (_("Average wait"), span_text(total.average)),
        (_("Longest wait"), span_text(total.longest)),
    ]


def _figures(span: stats.Span, row: list[stats.Performed]) -> list[Figure]:
    total = stats.total(row)
    by_minute = span.unit_name == "minute"
    most = max(each.processed for each in row)
    attempts = _("%(processed)s attempts, of which %(failed)s failed")
    waits = _("%(average)s on average, %(longest)s at most")
    numbers = attempts % {"processed": total.processed, "failed": total.failed}
    spans = waits % {"average": span_text(total.average), "longest": span_text(total.longest)}
    throughput, waiting = _("Throughput"), _("Waiting time")
    return [
        Figure(
            throughput,
            (_("At most %(number)s a minute") if by_minute else _("At most %(number)s an hour"))
            % {"number": most},
            _("Filled: the attempts that succeeded. Outlined: those that failed."),
            chart("throughput", throughput, numbers, [_attempts(each, attempts) for each in row]),
        ),
        Figure(
            waiting,
            _("At most %(time)s") % {"time": span_text(total.longest)},
            _("Filled: the average wait. Outlined: the longest."),
            chart("waiting", waiting, spans, [_waits(each, waits) for each in row]),
        ),
    ]


def _attempts(each: stats.Performed, words: str) -> Bar:
    said = words % {"processed": each.processed, "failed": each.failed}
    return Bar(each.processed, each.processed - each.failed, f"{_moment(each)}: {said}")


def _waits(each: stats.Performed, words: str) -> Bar:
    said = words % {"average": span_text(each.average), "longest": span_text(each.longest)}
    return Bar(each.longest, each.average, f"{_moment(each)}: {said}")


def _line(each: stats.Performed) -> Line:
    waits = span_text(each.average), span_text(each.longest)
    return Line(_moment(each), each.processed, each.failed, *waits)


def _moment(each: stats.Performed) -> str:
    return date_format(in_current_zone(each.at), "SHORT_DATETIME_FORMAT")
