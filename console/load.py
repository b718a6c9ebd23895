"""What the load of an object was: the Monitor tab of guests, hosts and datastores, and the same as a file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import numpy as np
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from access.models import may, require
from access.roles import Action
from audit.services import record
from console.exports import csv_lines
from console.tables.datastores import datastore_rows
from console.tables.guests import guest_rows
from console.tables.hosts import host_rows
from core.lists import Text
from core.units import format_bytes, format_number, format_percent, format_rate
from metrics.packing import Points
from metrics.points import in_steps
from metrics.ranges import RANGES, USUAL
from metrics.selectors import LoadSeries, load_series
from metrics.series import Unit

RANGE_LABELS: dict[str, Text] = {
    "1h": _("1 hour"),
    "1d": _("1 day"),
    "1w": _("1 week"),
    "1m": _("1 month"),
    "1y": _("1 year"),
}
LABELS: dict[str, Text] = {
    "cpu_percent": _("CPU"),
    "memory_used_bytes": _("Memory used"),
    "memory_bytes": _("Memory given"),
    "disk_read_rate": _("Disk read"),
    "disk_write_rate": _("Disk written"),
    "disk_read_ops": _("Reads a second"),
    "disk_write_ops": _("Writes a second"),
    "net_receive_rate": _("Network received"),
    "net_send_rate": _("Network sent"),
    "capacity_bytes": _("Capacity"),
    "allocated_bytes": _("Used"),
    "free_bytes": _("Free"),
}
OF_HOSTS: dict[str, Text] = {"memory_bytes": _("Memory there is")}
ROWS = {"guest": guest_rows, "host": host_rows, "datastore": datastore_rows}


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture: series of one unit. The last is drawn as a line alone when it bounds the others."""

    name: str
    title: Text
    icon: str
    series: tuple[str, ...]


_COMPUTE = (
    Chart("cpu", _("CPU"), "cpu", ("cpu_percent",)),
    Chart("memory", _("Memory"), "server-2", ("memory_used_bytes", "memory_bytes")),
    Chart("disk", _("Disk throughput"), "device-sd-card", ("disk_read_rate", "disk_write_rate")),
    Chart("ops", _("Disk operations"), "transfer", ("disk_read_ops", "disk_write_ops")),
    Chart("net", _("Network"), "network", ("net_receive_rate", "net_send_rate")),
)
CHARTS = {
    "guest": _COMPUTE,
    "host": _COMPUTE,
    "datastore": (Chart("space", _("Space"), "database", ("allocated_bytes", "free_bytes", "capacity_bytes")),),
}


def monitor(request: HttpRequest, kind: str, key: UUID, live: str) -> dict[str, Any]:
    """What the Monitor tab shows. `live`: changes after which it is read again."""
    name = _range(request)
    series = _series(request.user, kind, key, name)
    return {
        "kind": kind,
        "live": live,
        "ranges": [(one, label, f"?{urlencode({'range': one})}", one == name) for one, label in RANGE_LABELS.items()],
        "range_label": RANGE_LABELS[name],
        "charts": [_chart(kind, chart) for chart in CHARTS[kind]],
        "data_url": reverse(f"api:{kind}-load", args=[key]) + f"?{urlencode({'range': name})}",
        "export_url": reverse(f"{kind}_load_export", args=[key]) + f"?{urlencode({'range': name})}",
        "may_export": may(request.user, Action.EXPORT),
        "since": None if series.since is None else _moment(series.since),
        "begins_later": series.since is not None and series.since > series.start,
        "is_empty": not len(series.points.times),
        **_table(series, RANGES[name].row),
    }


def _range(request: HttpRequest) -> str:
    name = request.GET.get("range", USUAL)
    return name if name in RANGES else USUAL


def _series(user: Any, kind: str, key: UUID, name: str) -> LoadSeries:
    end = int(time.time())
    span = RANGES[name]
    return load_series(user=user, kind=kind, object_id=key, start=end - span.length, end=end, step=span.step)


def _chart(kind: str, chart: Chart) -> dict[str, Any]:
    return {
        "name": chart.name,
        "title": chart.title,
        "icon": chart.icon,
        "series": [{"name": name, "label": label_of(kind, name)} for name in chart.series],
        "of_guests": kind == "host" and chart.name in {"disk", "ops", "net"},
    }


def label_of(kind: str, name: str) -> Text:
    return OF_HOSTS.get(name, LABELS[name]) if kind == "host" else LABELS[name]


def _moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def _table(series: LoadSeries, step: int) -> dict[str, Any]:
    """The same to read: the newest first, an average and the highest for each part of the time."""
    points = in_steps(series.points, max(step, series.step))
    heads = [label_of(series.kind, name) for name in series.units]
    rows = [
        {"at": _moment(at), "cells": _cells(series, points, position)}
        for position, at in enumerate(points.times.tolist())
    ]
    return {"heads": heads, "rows": rows[::-1]}


def _cells(series: LoadSeries, points: Points, position: int) -> list[dict[str, str]]:
    return [
        {
            "average": say(unit, points.average[number, position]),
            "high": say(unit, points.high[number, position]),
        }
        for number, unit in enumerate(series.units.values())
    ]


def say(unit: Unit, value: float) -> str:
    """A figure with its unit; an empty text when it is not known."""
    if np.isnan(value):
        return ""
    if unit is Unit.PERCENT:
        return format_percent(value)
    if unit is Unit.OPERATIONS_PER_SECOND:
        return f"{format_number(value)}/s"
    return format_rate(value) if unit is Unit.BYTES_PER_SECOND else format_bytes(value)


@require_safe
def load_export(request: HttpRequest, kind: str, pk: UUID) -> HttpResponseBase:
    """Every point of the range as CSV."""
    require(request.user, Action.EXPORT)
    rows: Any = ROWS[kind](user=request.user)
    found = get_object_or_404(rows, pk=pk)
    name = _range(request)
    series = _series(request.user, kind, found.pk, name)
    record(
        action="load.exported",
        by=request.user,
        target_kind=kind,
        target_id=str(found.pk),
        target_name=found.name,
        range=name,
    )
    response = HttpResponse("".join(csv_lines(_head(series), _lines(series))), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="guesthouse-{kind}-load-{now():%Y-%m-%d-%H%M%S}.csv"'
    response["Cache-Control"] = "no-store"
    return response


def _head(series: LoadSeries) -> list[str]:
    """The names the API uses: this file is for programs, too."""
    said = ("average", "low", "high") if series.step else ("",)
    return ["time", *(f"{name} {what}".strip() for name in series.units for what in said)]


def _lines(series: LoadSeries) -> Iterator[list[Any]]:
    points = series.points
    planes = (points.average, points.low, points.high) if series.step else (points.average,)
    for position, at in enumerate(points.times.tolist()):
        values = [plane[number, position] for number in range(points.series) for plane in planes]
        yield [_moment(at), *(None if np.isnan(value) else round(float(value), 3) for value in values)]
