"""A guest's fact as our columns hold it."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec
from django.utils.translation import gettext as _

from core.ids import new_ids
from drivers.types import DiskFact, GuestFact, NicFact
from hosts.facts import (
    BIGGEST_INTEGER,
    LONGEST_NOTES,
    Findings,
    canonical,
    cut_finding,
    digest,
    is_identity,
    number,
    text,
)
from inventory.links import HostLinks

CONTENT = (
    "name",
    "title",
    "notes",
    "vcpus",
    "memory_bytes",
    "autostart",
    "persistent",
    "architecture",
    "machine",
    "firmware",
    "cpu_mode",
    "snapshot_count",
    "passthrough",
    "addresses",
)
DISK = (
    "id",
    "guest",
    "position",
    "target",
    "device",
    "bus",
    "source",
    "source_type",
    "format",
    "cache",
    "read_only",
    "shareable",
    "capacity_bytes",
    "datastore",
)
NIC = ("id", "guest", "position", "mac", "model", "kind", "network", "bridge", "link_up", "addresses", "switch")
MOST_DEVICES = 256
MOST_ADDRESSES = 64
MOST_PASSTHROUGH = 64

# Everything but the state, which the quick poll keeps.
_identity_of: Callable[[GuestFact], tuple[Any, ...]] = attrgetter(
    "uuid",
    "name",
    "title",
    "notes",
    "vcpus",
    "memory_bytes",
    "autostart",
    "persistent",
    "architecture",
    "machine",
    "firmware",
    "cpu_mode",
    "snapshot_count",
    "passthrough",
    "disks",
    "nics",
)
_encode = msgspec.msgpack.Encoder().encode


def guest_digest(fact: GuestFact) -> str:
    """Of all a guest's fact says but its state. Runs for every guest at every poll."""
    try:
        body = _encode(_identity_of(fact))
    except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError):
        body = canonical(_identity_of(fact))
    return blake2b(body, digest_size=16).hexdigest()


def devices_digest(fact: GuestFact, links: HostLinks) -> str:
    """Of disks and NICs and of what they are linked to on this host."""
    return digest((links.digest, fact.disks, fact.nics))


def content_row(fact: GuestFact, findings: Findings) -> tuple[Any, ...]:
    """The values of CONTENT."""
    addresses = ", ".join(address for nic in fact.nics for address in nic.addresses)
    row = (
        text(fact.name, 255),
        text(fact.title, 255),
        text(fact.notes, LONGEST_NOTES),
        number(fact.vcpus, BIGGEST_INTEGER),
        number(fact.memory_bytes),
        fact.autostart,
        fact.persistent,
        text(fact.architecture, 32),
        text(fact.machine, 64),
        text(fact.firmware, 32),
        text(fact.cpu_mode, 64),
        number(fact.snapshot_count, BIGGEST_INTEGER),
        [text(device, 255) for device in fact.passthrough[:MOST_PASSTHROUGH]],
        text(addresses, 500),
    )
    _note_changes(fact, row, findings)
    return row


def _note_changes(fact: GuestFact, row: tuple[Any, ...], findings: Findings) -> None:
    said = (fact.name, fact.title, fact.notes, fact.vcpus, fact.memory_bytes)
    cut = row[:5] != said or max(len(fact.disks), len(fact.nics)) > MOST_DEVICES
    nameless = not is_identity(fact.uuid)
    if not (cut or nameless or findings.kept):
        return
    about = f"guest:{digest((fact.host_ref, fact.ref))}"
    findings.look_at(about)
    if nameless:
        findings.add(about, _("The guest %(name)s has no usable UUID; it is told by its place.") % {"name": row[0]})
    elif cut:
        findings.add(about, cut_finding(row[0]))


def disk_rows(guest_id: UUID | str, fact: GuestFact, links: HostLinks) -> list[tuple[Any, ...]]:
    disks = fact.disks[:MOST_DEVICES]
    return [
        (row_id, guest_id, position, *_disk(disk), links.datastore_of(disk))
        for position, (row_id, disk) in enumerate(zip(new_ids(len(disks)), disks, strict=True))
    ]


def _disk(disk: DiskFact) -> tuple[Any, ...]:
    return (
        text(disk.target, 64),
        text(disk.device, 16),
        text(disk.bus, 32),
        text(disk.source, 1000),
        text(disk.source_type, 16),
        text(disk.format, 32),
        text(disk.cache, 32),
        disk.read_only,
        disk.shareable,
        None if disk.capacity_bytes is None else number(disk.capacity_bytes),
    )


def nic_rows(guest_id: UUID | str, fact: GuestFact, links: HostLinks) -> list[tuple[Any, ...]]:
    nics = fact.nics[:MOST_DEVICES]
    return [
        (row_id, guest_id, position, *_nic(nic), links.switch_of(nic))
        for position, (row_id, nic) in enumerate(zip(new_ids(len(nics)), nics, strict=True))
    ]


def _nic(nic: NicFact) -> tuple[Any, ...]:
    return (
        text(nic.mac, 32),
        text(nic.model, 32),
        text(nic.kind, 32),
        text(nic.network, 255),
        text(nic.bridge, 64),
        nic.link_up,
        [text(address, 64) for address in nic.addresses[:MOST_ADDRESSES]],
    )
