"""Small lines beside the figures of now: what the load was in the last hour, what a datastore held in the last month.

One query for a page. The picture is SVG made here: no script, and nothing that a strict content policy refuses.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
from django.utils.translation import gettext as _

from core.units import format_age, format_percent
from metrics.levels import DAY_S, HOUR_S
from metrics.packing import Floats, Points
from metrics.points import in_steps
from metrics.selectors import LoadSeries, recent_series
from metrics.series import COMPUTE, DATASTORE

WIDTH, HEIGHT = 120, 24
MONTH_S = 30 * DAY_S
MONTH_STEP_S = DAY_S // 2
# What is hardly used is drawn low: the line's top is at least so much, and a little more than its highest point.
LEAST_TOP, ABOVE = 10.0, 1.1
_COMPUTE, _SPACE = list(COMPUTE), list(DATASTORE)


@dataclass(frozen=True, slots=True)
class Spark:
    """`path`: for SVG, in a box of WIDTH x HEIGHT, broken where nothing is known; empty when nothing is known at all.

    `span`: from the lowest to the highest, in words; `now`: the latest, and its age when it is not from now.
    """

    label: str
    span: str = ""
    now: str = ""
    path: str = ""

    @property
    def words(self) -> str:
        return _("%(label)s: %(span)s, %(now)s") % {"label": self.label, "span": self.span, "now": self.now}


def compute_sparks(kind: str, key: UUID, memory_bytes: int, *, user: Any) -> list[Spark]:
    """Of a guest or a host: processor and memory."""
    end = int(time.time()) + 1
    series = recent_series(user=user, kind=kind, object_id=key, start=end - HOUR_S, end=end)
    average = series.points.average
    found = [spark(_("CPU, last hour"), series, average[_COMPUTE.index("cpu_percent")])]
    if memory_bytes:
        used = 100 * average[_COMPUTE.index("memory_used_bytes")] / memory_bytes
        found.append(spark(_("Memory, last hour"), series, used))
    return found


def space_sparks(key: UUID, *, user: Any) -> list[Spark]:
    """Of a datastore: how full it was."""
    end = int(time.time()) + 1
    series = recent_series(user=user, kind="datastore", object_id=key, start=end - MONTH_S, end=end, step=HOUR_S)
    return [spark(_("Used, last month"), series, _used_percent(series.points), MONTH_STEP_S)]


def _used_percent(points: Points) -> Floats:
    whole, free = points.average[_SPACE.index("capacity_bytes")], points.average[_SPACE.index("free_bytes")]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, 100 * (whole - free) / whole, np.nan)


def spark(label: str, series: LoadSeries, percents: Floats, step: int = 0) -> Spark:
    """`percents`: one for each of the series' points. `step`: seconds that are drawn as one, 0 as they are."""
    known = ~np.isnan(percents)
    if not known.any():
        return Spark(label)
    times, values = series.points.times[known], percents[known]
    low, high = format_percent(float(values.min())), format_percent(float(values.max()))
    gap = max(series.gap, step * 3 // 2)
    top = max(float(values.max()) * ABOVE, LEAST_TOP)
    drawn = _in_steps(times, values, step) if step else zip(times.tolist(), values.tolist(), strict=True)
    return Spark(
        label,
        low if low == high else _("%(low)s to %(high)s") % {"low": low, "high": high},
        _latest(int(times[-1]), float(values[-1]), series),
        " ".join(_path(drawn, series.start, series.end, gap, top)),
    )


def _in_steps(times: Any, values: Floats, step: int) -> Iterator[tuple[int, float]]:
    """The middle of each step, but never beyond what was measured last."""
    one = values[np.newaxis]
    points = in_steps(Points(times, one, one, one, np.ones_like(one, dtype=np.int64)), step)
    middle = np.minimum(points.times + step // 2, times[-1])
    yield from zip(middle.tolist(), points.average[0].tolist(), strict=True)


def _latest(at: int, percent: float, series: LoadSeries) -> str:
    words = {"percent": format_percent(percent), "age": format_age(datetime.fromtimestamp(at, UTC))}
    if series.end - at <= max(series.gap, series.step * 2):
        return _("now %(percent)s") % words
    return _("last %(percent)s, %(age)s") % words


def _path(drawn: Iterator[tuple[int, float]], start: int, end: int, gap: int, top: float) -> Iterator[str]:
    """A point between two gaps is a dot."""
    before: int | None = None
    for at, percent in drawn:
        place = f"{(at - start) / (end - start) * WIDTH:.1f} {HEIGHT - 1 - percent / top * (HEIGHT - 2):.1f}"
        yield f"L{place}" if before is not None and at - before <= gap else f"M{place}h0"
        before = at
