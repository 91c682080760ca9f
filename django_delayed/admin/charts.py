"""Charts that the server draws as SVG: without a script, and without a style that a policy could refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.utils.html import format_html, format_html_join

WIDTH, GAP, HEIGHT = 10, 2, 100


class Bar(NamedTuple):
    """A bar: up to `part` it is filled, and up to `whole` it is an outline; `words` say what it is."""

    whole: float
    part: float
    words: Any


def chart(name: str, title: Any, description: Any, bars: Sequence[Bar]) -> str:
    """The bars as SVG, scaled to the highest one; `name` is unique among the charts of a page."""
    most = max((bar.whole for bar in bars), default=0) or 1
    drawn = (
        (bar.words, _rect("delayed-part", place, 0, bar.part / most), _rest(place, bar, most))
        for place, bar in enumerate(bars)
        if bar.whole
    )
    return format_html(
        '<svg class="delayed-chart" role="img" aria-labelledby="{}-title {}-description"'
        ' viewBox="0 0 {} {}" preserveAspectRatio="none">'
        '<title id="{}-title">{}</title><desc id="{}-description">{}</desc>{}</svg>',
        *(name, name, len(bars) * (WIDTH + GAP) - GAP, HEIGHT),
        *(name, title, name, description),
        format_html_join("", "<g><title>{}</title>{}{}</g>", drawn),
    )


def _rest(place: int, bar: Bar, most: float) -> str:
    if bar.part >= bar.whole:
        return ""
    return _rect("delayed-rest", place, bar.part / most, bar.whole / most)


def _rect(kind: str, place: int, bottom: float, top: float) -> str:
    # A small number gets a visible bar: it must not look like 0.
    height = max((top - bottom) * HEIGHT, 1.0) if top else 0.0
    return format_html(
        '<rect class="{}" x="{}" y="{}" width="{}" height="{}"></rect>',
        *(kind, place * (WIDTH + GAP), f"{HEIGHT - bottom * HEIGHT - height:.1f}", WIDTH, f"{height:.1f}"),
    )
