"""What a task that makes or deletes things was asked for, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.utils.translation import gettext as _

from core.units import format_bytes
from inventory.acts import define, rules, volumes
from networks import acts as networks
from operations.models import Job
from storage import acts as storage

Asked = Mapping[str, Any]
Lines = Iterator[tuple[str, str]]


def made_parameters(job: Job) -> list[tuple[str, str]]:
    """Empty for a task of another kind."""
    tell = TELLERS.get(job.kind)
    return [(name, value) for name, value in tell(job.parameters) if value] if tell else []


def _yes(value: object) -> str:
    return _("yes") if value else _("no")


def _guest(asked: Asked) -> Lines:
    yield _("Name"), asked["name"]
    yield _("Virtual CPUs"), str(asked["vcpus"])
    yield _("Memory"), format_bytes(asked["memory_bytes"])
    yield _("Firmware"), "UEFI" if asked["uefi"] else "BIOS"
    yield _("Machine"), asked["machine"]
    yield _("Operating system"), asked["os"]
    disk, cd, nic = asked["disk"] or {}, asked["cd"] or {}, asked["nic"] or {}
    if disk:
        size = format_bytes(disk.get("capacity_bytes"))
        yield _("Disk"), ", ".join(one for one in (disk.get("volume_name") or disk.get("name"), size) if one)
    yield _("CD"), cd.get("volume_name") or cd.get("name", "")
    yield _("Network"), " / ".join(one for one in (nic.get("switch_name"), nic.get("port_group")) if one)
    yield _("UUID"), asked["uuid"]
    yield _("Start"), _yes(asked["start"])
    for warning in asked["warnings"]:
        yield _("Warning"), warning


def _clone(asked: Asked) -> Lines:
    yield _("Name"), asked["name"]
    yield _("Host"), asked["host_name"]
    yield _("Copies"), ", ".join(one["name"] for one in asked["disks"])
    yield _("UUID"), asked["uuid"]


def _delete(asked: Asked) -> Lines:
    yield _("Host"), asked["host_name"]
    yield _("Disks deleted with it"), ", ".join(one["name"] for one in asked["disks"]) or _("none")


def _volume(asked: Asked) -> Lines:
    yield _("Volume"), asked["name"]
    yield _("File"), asked.get("upload_name", "")
    yield _("Size"), format_bytes(asked.get("capacity_bytes") or asked.get("bytes"))
    yield _("Before"), format_bytes(asked.get("before"))
    yield _("Format"), asked.get("format", "")
    yield _("By host"), asked["host_name"]


def _network(asked: Asked) -> Lines:
    yield _("Name"), asked["name"]
    yield _("Mode"), asked["mode"]
    yield _("Bridge"), asked["bridge"]
    yield _("Address"), asked["address"]
    yield "DHCP", "-".join(asked["dhcp"] or ())
    yield _("Port groups"), ", ".join(one["name"] for one in asked["port_groups"])
    yield _("Autostart"), _yes(asked["autostart"])


def _on_host(asked: Asked) -> Lines:
    yield _("Host"), asked["host_name"]


TELLERS: dict[str, Callable[[Asked], Lines]] = {
    rules.GUEST_CREATE: _guest,
    define.GUEST_CLONE: _clone,
    define.GUEST_DELETE: _delete,
    volumes.VOLUME_GROW: _volume,
    volumes.VOLUME_DELETE: _volume,
    storage.VOLUME_CREATE: _volume,
    storage.VOLUME_UPLOAD: _volume,
    storage.DATASTORE_SWITCH: _on_host,
    networks.NETWORK_CREATE: _network,
    networks.NETWORK_SWITCH: _on_host,
}
