"""What was asked of a guest, for whoever reads a task: labels and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from core.units import format_bytes
from inventory.acts.rules import CAPABILITIES, SETTINGS
from inventory.acts.values import LABELS, value_words
from operations.models import Job

Lines = list[tuple[str, str]]


def act_parameters(job: Job) -> Lines:
    """Nothing for other kinds of task."""
    if job.kind not in CAPABILITIES:
        return []
    return _settings(job.parameters) if job.kind == SETTINGS else _others(job.parameters)


def _settings(asked: Mapping[str, Any]) -> Lines:
    changes, before = asked.get("changes") or {}, asked.get("before") or {}
    return [
        (str(label), _change(name, changes[name], before.get(name, "")))
        for name, label in LABELS.items()
        if name in changes
    ]


def _change(name: str, new: Any, old: Any) -> str:
    words = {"new": value_words(name, new) or _("empty"), "old": value_words(name, old) or _("empty")}
    return _("%(new)s (was %(old)s)") % words


def _others(asked: Mapping[str, Any]) -> Lines:
    labels = {
        "name": _("Snapshot"),
        "notes": _("Notes"),
        "memory": _("With memory"),
        "quiesce": _("File systems flushed"),
        "children": _("With its children"),
        "target": _("Device"),
        "volume_name": _("Volume"),
        "capacity_bytes": _("Size"),
        "mac": "MAC",
        "switch_name": _("Virtual switch"),
        "port_group": _("Port group"),
        "link_up": _("Link up"),
        "bus": _("Bus"),
        "cache": _("Cache"),
        "force": _("Forced"),
    }
    return [
        (str(label), _words(name, asked[name]))
        for name, label in labels.items()
        if name in asked and asked[name] not in ("", None)
    ]


def _words(name: str, value: Any) -> str:
    if name == "capacity_bytes":
        return format_bytes(value)
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return str(value)
