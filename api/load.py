"""What the load of a guest, host or datastore was."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC
from typing import Any
from uuid import UUID

import numpy as np
from django.shortcuts import get_object_or_404
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response

from api.resources import GUESTS, Resource
from api.views import Endpoint
from core.errors import Invalid
from metrics.packing import Floats
from metrics.ranges import RANGES, USUAL
from metrics.selectors import LoadSeries, load_series

LATEST = 2**40  # seconds since 1970: a time beyond it is a mistake
FIGURES = 4  # what 16 bits keep, and what a chart can show


class LoadEndpoint(Endpoint):
    resource: Resource[Any] = GUESTS  # each URL names its own, and its kind
    kind = "guest"

    def get(self, request: Request, id: UUID) -> Response:  # noqa: A002 - the name in the URL
        found = get_object_or_404(self.resource.rows(request.user), pk=id)
        start, end, step = read_span(request.query_params)
        series = load_series(user=request.user, kind=self.kind, object_id=found.pk, start=start, end=end, step=step)
        return Response({"id": str(found.pk), **series_json(series)})


def read_span(given: Mapping[str, str]) -> tuple[int, int, int]:
    """Start, end and step: of `range`, which ends now, or as given.

    Raises: Invalid.
    """
    for name in given:
        if name not in {"range", "start", "end", "step"}:
            raise Invalid(_("There is no parameter %(name)s.") % {"name": name[:64]}, field=name[:64])
    now = int(time.time())
    usual = RANGES.get(given.get("range", USUAL))
    if usual is None:
        raise Invalid(_("A range is one of %(names)s.") % {"names": ", ".join(RANGES)}, field="range")
    end = _moment(given, "end", now)
    start = _moment(given, "start", end - usual.length)
    if start >= end:
        raise Invalid(_("The end comes before the start."), field="end")
    return start, end, _step(given, usual.step)


def _moment(given: Mapping[str, str], name: str, usual: int) -> int:
    text = given.get(name, "")
    if not text:
        return usual
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is not None:
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    if text.isascii() and text.isdigit() and int(text[:20]) < LATEST:
        return int(text)
    raise Invalid(_("This is no time: give ISO 8601, or seconds since 1970."), field=name)


def _step(given: Mapping[str, str], usual: int) -> int:
    text = given.get("step", "")
    if not text:
        return usual
    if not (text.isascii() and text.isdigit() and int(text[:20]) < LATEST):
        raise Invalid(_("A step is a number of seconds; 0 for points as they were measured."), field="step")
    return int(text)


def series_json(series: LoadSeries) -> dict[str, Any]:
    """One list of times, and for each series as many figures; null where nothing is known."""
    points = series.points
    rows = zip(series.units.items(), points.average, points.low, points.high, strict=True)
    return {
        "kind": series.kind,
        "start": series.start,
        "end": series.end,
        "step": series.step,
        "gap": series.gap,
        "since": series.since,
        "times": points.times.tolist(),
        "series": {
            name: {"unit": unit, "average": _figures(average), **_spread(series, low, high)}
            for (name, unit), average, low, high in rows
        },
    }


def _spread(series: LoadSeries, low: Floats, high: Floats) -> dict[str, Any]:
    """None for points that were measured once."""
    return {"low": _figures(low), "high": _figures(high)} if series.step else {}


def _figures(values: Floats) -> list[float | int | None]:
    return [None if np.isnan(value) else _short(value) for value in values.tolist()]


def _short(value: float) -> float | int:
    """As few digits as say the same."""
    short = float(f"{value:.{FIGURES}g}") if value < 1e6 else round(value)  # noqa: PLR2004 - from here on whole numbers
    return int(short) if short == int(short) else short
