"""What the pages of one object share: its tabs, and the objects a user may open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse

from core.lists import Text
from core.units import format_percent


@dataclass(frozen=True, slots=True)
class Tab:
    name: str
    label: Text
    url: str
    active: bool
    count: int | None = None


def tabs(page: str, key: object, active: str, labels: Sequence[tuple[str, Text, int | None]]) -> list[Tab]:
    """The tabs of an object page: the first is the page itself, each other one has an address below it."""
    first = labels[0][0]
    return [
        Tab(
            name,
            label,
            reverse(f"{page}_page", args=[key]) if name == first else reverse(f"{page}_tab", args=[key, name]),
            name == active,
            count,
        )
        for name, label, count in labels
    ]


def gauge(
    label: Text, used: float | None, total: float | None, words: str, *, promised: bool = False
) -> dict[str, Any]:
    """A capacity bar with its words; no bar when a figure is missing.

    `promised`: what may rightly go beyond the whole, such as vCPUs: its bar does not turn red.
    """
    percent = 100.0 * used / total if used is not None and total else None
    return {
        "label": label,
        "percent": percent,
        "percent_text": format_percent(percent),
        "words": words,
        "css": "bar-plain" if promised else "",
    }
