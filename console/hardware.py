"""What a guest is made of, as its page shows it. Facts come as inventory.models.GuestDetails holds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from core.units import format_bytes
from inventory.acts.rules import MEDIA, holder_of, reason_for
from inventory.models import Disk, Guest, GuestDetails, Nic
from inventory.selectors import disks_of, nics_of

# Names that no device has: what the page says of a disk's or NIC's kind.
DEVICES = {"disk": "device-sd-card", "cdrom": "circle", "floppy": "device-sd-card", "lun": "database"}
Facts = dict[str, Any]
DEEPEST = 12  # levels of a tree that are drawn


def guest_hardware(details: GuestDetails) -> Facts:
    """What the tab of a guest's hardware shows."""
    facts = details.facts
    return {
        "facts": facts,
        "topology": _topology(facts),
        "most_memory": format_bytes(facts.get("most_memory_bytes")),
        "displays": [{**one, "place": _place(one)} for one in facts.get("displays", [])],
        "consoles": facts.get("consoles", []),
        "devices": facts.get("devices", []),
        "agent": details.agent,
        "file_systems": _file_systems(details.agent or {}),
        "is_read": bool(facts),
    }


def guest_devices(guest: Guest, *, user: Any) -> Facts:
    """Disks, drives and NICs with what can be done to them: `act_reason` is why nothing can, or empty."""
    reason = reason_for(guest, MEDIA, user=user, holder=holder_of(guest))
    return {
        "act_reason": reason,
        "disks": [_device(disk) for disk in disks_of(guest, user=user)],
        "nics": [_nic(nic, reason) for nic in nics_of(guest, user=user)],
    }


def _device(disk: Disk) -> Facts:
    return {
        "row": disk,
        "icon": DEVICES.get(disk.device, "device-sd-card"),
        "store": disk.datastore,
        "is_drive": disk.device in {"cdrom", "floppy"},
        "volume": disk.source.rpartition("/")[2],
        "query": _query(target=disk.target),
    }


def _nic(nic: Nic, reason: str) -> Facts:
    fixed = "" if nic.kind in {"network", "bridge"} else _("Only adapters on a virtual switch can be changed here.")
    return {"row": nic, "reason": reason or fixed, "query": _query(mac=nic.mac)}


def _file_systems(agent: Facts) -> list[Facts]:
    return [{**one, "size": format_bytes(one.get("total_bytes"))} for one in agent.get("file_systems", [])]


def _topology(facts: Facts) -> str:
    if not facts.get("cpu_sockets"):
        return ""
    return f"{facts['cpu_sockets']} · {facts.get('cpu_cores', 0)} · {facts.get('cpu_threads', 0)}"


def _place(display: Facts) -> str:
    """Where a display is to be found; its port is given at the start."""
    if display.get("socket"):
        return str(display["socket"])
    port = display.get("port") or display.get("tls_port")
    address = display.get("address", "")
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{port}" if port and port > 0 else host


def snapshot_tree(details: GuestDetails) -> list[Facts]:
    """The snapshots as lines of a tree: each with its depth, parents before children, siblings by age.

    One whose parent is not there is a root, so that none is left out.
    """
    snapshots = details.facts.get("snapshots", [])
    names = {one["name"] for one in snapshots}
    children: dict[str, list[Facts]] = {}
    for one in snapshots:
        parent = one.get("parent", "")
        children.setdefault(parent if parent in names else "", []).append(one)
    lines = list(_lines(children, ""))
    while children:  # what is its own ancestor
        lines += _lines(children, next(iter(children)))
    return lines


def _lines(children: dict[str, list[Facts]], root: str) -> Iterator[Facts]:
    waiting = [(one, 0) for one in _by_age(children.pop(root, []))]
    while waiting:
        node, depth = waiting.pop()
        yield {
            **node,
            "depth": min(depth, DEEPEST),
            "taken_at": parse_datetime(node.get("created_at", "")),
            "query": _query(name=node["name"], created_at=node.get("created_at", "")),
        }
        waiting += [(one, depth + 1) for one in _by_age(children.pop(node["name"], []))]


def _query(**values: str) -> str:
    """What an act is about, behind its address."""
    return f"?{urlencode(values)}"


def _by_age(nodes: list[Facts]) -> list[Facts]:
    """The oldest last: the next one is taken from the end."""
    return sorted(nodes, key=lambda one: (one.get("created_at", ""), one["name"]), reverse=True)
