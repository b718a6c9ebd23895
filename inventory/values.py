"""A guest's fact as our columns hold it."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
from django.utils.translation import gettext as _

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
    sparse,
    text,
    word,
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
    "details",
)
NIC = ("mac", "model", "kind", "network", "bridge", "link_up", "addresses", "switch", "port_group", "vlans", "details")
DISK_DETAILS = ("serial", "wwn", "io", "discard", "boot_order", "servers", "backing", "encrypted")
NIC_DETAILS = ("addresses_from", "virtual_port", "native_vlan", "device", "mtu", "boot_order")
MOST_DEVICES = 255
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
    "hardware",
)
# Whoever told of them last, a NIC's addresses are the same.
_nic_of: Callable[[NicFact], tuple[Any, ...]] = attrgetter(
    *(name for name in NicFact.__struct_fields__ if name not in {"addresses", "addresses_from"})
)
_disk_details_of: Callable[[DiskFact], tuple[Any, ...]] = attrgetter(*DISK_DETAILS)
_nic_details_of: Callable[[NicFact], tuple[Any, ...]] = attrgetter(*NIC_DETAILS)
_addresses_of: Callable[[NicFact], tuple[str, ...]] = attrgetter("addresses")
_NO_AGENT = "0" * 8
_encode = msgspec.msgpack.Encoder().encode


def guest_digest(fact: GuestFact, before: str = "") -> str:
    """Of all a guest's fact says but its state. Runs for every guest at every poll.

    Three parts: what it is made of; its addresses; what the agent inside said. An agent that was not asked or did not
    answer says nothing new: then that part is the one of `before`.
    """
    made_of, addresses = _identity_of(fact), list(map(_addresses_of, fact.nics))
    try:
        body, seen = _encode((made_of, list(map(_nic_of, fact.nics)))), _encode(addresses)
    except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError):
        body, seen = canonical((made_of, list(map(_nic_of, fact.nics)))), canonical(addresses)
    head = blake2b(body, digest_size=8).hexdigest() + blake2b(seen, digest_size=4).hexdigest()
    return head + (agent_digest(fact) or agent_part(before))


def addresses_part(fact_hash: str) -> str:
    return fact_hash[16:24]


def agent_digest(fact: GuestFact) -> str:
    """Empty when the agent told nothing."""
    return "" if fact.agent is None else blake2b(canonical(fact.agent), digest_size=4).hexdigest()


def agent_part(fact_hash: str) -> str:
    return fact_hash[24:] or _NO_AGENT


def devices_digest(fact: GuestFact, links: HostLinks) -> str:
    """Of disks and NICs and of what they are linked to on this host; ends with how many there are of each."""
    body = canonical((links.digest, fact.disks, fact.nics))
    counts = (min(len(fact.disks), MOST_DEVICES), min(len(fact.nics), MOST_DEVICES))
    return f"{blake2b(body, digest_size=14).hexdigest()}{counts[0]:02x}{counts[1]:02x}"


def device_counts(devices_hash: str) -> tuple[int, int]:
    """How many disks and NICs the rows of a guest with this digest have."""
    return (int(devices_hash[-4:-2], 16), int(devices_hash[-2:], 16)) if devices_hash else (0, 0)


def details_digest(fact: GuestFact) -> str:
    return blake2b(canonical(fact.hardware), digest_size=16).hexdigest()


def details_of(fact: GuestFact) -> Any:
    """GuestDetails.facts."""
    return sparse(fact.hardware)


def agent_of(fact: GuestFact) -> Any:
    """GuestDetails.agent."""
    return sparse(fact.agent)


def content_row(fact: GuestFact, findings: Findings) -> tuple[Any, ...]:
    """The values of CONTENT."""
    addresses = ", ".join(chain.from_iterable(map(_addresses_of, fact.nics)))
    row = (
        text(fact.name, 255),
        text(fact.title, 255),
        text(fact.notes, LONGEST_NOTES),
        number(fact.vcpus, BIGGEST_INTEGER),
        number(fact.memory_bytes),
        fact.autostart,
        fact.persistent,
        word(fact.architecture, 32),
        word(fact.machine, 64),
        word(fact.firmware, 32),
        word(fact.cpu_mode, 64),
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


def disk_row(disk: DiskFact, links: HostLinks) -> tuple[Any, ...]:
    """The values of DISK."""
    return (
        word(disk.target, 64),
        word(disk.device, 16),
        word(disk.bus, 32),
        text(disk.source, 1000),
        word(disk.source_type, 16),
        word(disk.format, 32),
        word(disk.cache, 32),
        disk.read_only,
        disk.shareable,
        None if disk.capacity_bytes is None else number(disk.capacity_bytes),
        links.datastore_of(disk),
        _rest(DISK_DETAILS, _disk_details_of(disk)),
    )


def nic_row(nic: NicFact, links: HostLinks) -> tuple[Any, ...]:
    """The values of NIC."""
    return (
        text(nic.mac, 32),
        word(nic.model, 32),
        word(nic.kind, 32),
        word(nic.network, 255),
        word(nic.bridge, 64),
        nic.link_up,
        [text(address, 64) for address in nic.addresses[:MOST_ADDRESSES]],
        links.switch_of(nic),
        text(nic.port_group, 255),
        list(nic.vlans),
        _rest(NIC_DETAILS, _nic_details_of(nic)),
    )


def _rest(names: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    """The values that say something, by name, as JSON holds them."""
    return {name: sparse(value) for name, value in zip(names, values, strict=True) if value}
