"""Numbers over time as a small chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils.html import format_html, format_html_join

BAR, GAP, HEIGHT = 8, 2, 20


def trend(numbers: Sequence[int], title: Any) -> str:
    """A bar for each number, as SVG without a style of its own. The title of it also lists the numbers."""
    most = max(numbers, default=0) or 1
    heights = [-(-number * HEIGHT // most) for number in numbers]
    bars = format_html_join(
        "",
        '<rect x="{}" y="{}" width="{}" height="{}"></rect>',
        ((place * (BAR + GAP), HEIGHT - height, BAR, height) for place, height in enumerate(heights)),
    )
    width = len(numbers) * (BAR + GAP) - GAP
    return format_html(
        '<svg class="delayed-trend" role="img" width="{}" height="{}" viewBox="0 0 {} {}">'
        "<title>{}: {}</title>{}</svg>",
        *(width, HEIGHT, width, HEIGHT, title, ", ".join(map(str, numbers)), bars),
    )
