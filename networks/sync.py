"""Virtual switches and their port groups: facts in, rows out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from core import bulk
from core.db import write_transaction
from core.events import Change, publish
from core.ids import new_id, new_ids
from drivers.types import PortGroupFact, Snapshot, SwitchFact
from hosts.diff import DatabaseId, Diff, compare, database_id, load_known_parts
from hosts.facts import Findings, cut_finding, digest, identity, key_text, sparse, text
from hosts.lease import Lease, renew
from hosts.models import Source
from hosts.sync import HostRows, unlink
from networks.models import PortGroup, VirtualSwitch
from networks.recording import record_switches
from networks.search import index_switches

COLUMNS = (
    "uuid",
    "name",
    "kind",
    "mode",
    "managed",
    "virtual_port",
    "bridge",
    "active",
    "autostart",
    "uplinks",
    "details",
    "fact_hash",
    "evidence_at",
    "missing_since",
)
LONGEST_UPLINK = 64
MOST_UPLINKS = 64
DETAILS = ("vlans", "native_vlan", "trunk", "addresses", "dhcp", "dhcp_hosts", "domain", "mtu")
LONGEST_DETAIL = 255
MOST_DETAILS = 256
LARGEST_VLAN = 4095  # and so many VLANs a trunk may carry
PORT_GROUP = ("default", "vlans", "native_vlan", "trunk", "virtual_port")
MOST_PORT_GROUPS = 1024

Key = tuple[DatabaseId, str]


def apply_switches(source: Source, snapshot: Snapshot, hosts: HostRows, lease: Lease, findings: Findings) -> None:
    """Write what changed about a source's virtual switches.

    Raises: LeaseLost.
    Transaction: its own, and only when something changed.
    """
    facts: dict[Key, tuple[SwitchFact, str]] = {}
    for fact in snapshot.switches:
        host_id = hosts.ids.get(fact.host_ref)
        if host_id is not None:
            facts[host_id, key_text(fact.ref, 255)] = (fact, digest(fact))
    known = load_known_parts(source, VirtualSwitch, snapshot.read_started_at)
    diff = compare(known, facts, complete=snapshot.complete)
    if diff:
        _write(diff, snapshot.read_started_at, lease, findings)


def _write(diff: Diff[Key, SwitchFact], read_at: datetime, lease: Lease, findings: Findings) -> None:
    ids = new_ids(len(diff.new))
    added = [
        (row_id, *key, *_row(fact, h, read_at, findings)) for row_id, (key, fact, h) in zip(ids, diff.new, strict=True)
    ]
    changed = [(row_id, *_row(fact, h, read_at, findings)) for row_id, _key, fact, h in diff.changed]
    gone = [(row_id, read_at, read_at) for row_id, _key in diff.gone]
    told = dict(zip(ids, (fact for _key, fact, _hash in diff.new), strict=True))
    told |= {row_id: fact for row_id, _key, fact, _hash in diff.changed}
    groups = _compare_groups(told)
    places = dict(zip(ids, (key[0] for key, _fact, _hash in diff.new), strict=True))
    places |= {row_id: key[0] for row_id, key, _fact, _hash in diff.changed}
    with write_transaction():
        renew(lease)
        bulk.insert(VirtualSwitch, ("id", "host", "ref", *COLUMNS), added)
        bulk.update(VirtualSwitch, ("id", *COLUMNS), changed)
        bulk.update(VirtualSwitch, ("id", "missing_since", "evidence_at"), gone)
        bulk.delete_rows(PortGroup, groups.gone)
        bulk.insert(PortGroup, ("id", "switch", "name", *PORT_GROUP), groups.new)
        bulk.update(PortGroup, ("id", *PORT_GROUP), groups.changed)
        unlink(diff)
        missed = [UUID(row_id) for row_id, _key in diff.gone]
        record_switches({row: (places[row], fact) for row, fact in told.items()}, at=read_at, gone=missed)
        index_switches([row[0] for row in (*added, *changed)])
        publish(*(Change("switch", str(UUID(row[0])), "added") for row in added))
        publish(*(Change("switch", str(UUID(row[0]))) for row in (*changed, *gone)))


def _row(fact: SwitchFact, fact_hash: str, read_at: datetime, findings: Findings) -> tuple[Any, ...]:
    uplinks = [text(uplink, LONGEST_UPLINK) for uplink in fact.uplinks[:MOST_UPLINKS]]
    name, bridge = text(fact.name, 255), text(fact.bridge, 64)
    about = f"switch:{digest((fact.host_ref, fact.ref))}"
    findings.look_at(about)
    if (name, bridge, tuple(uplinks)) != (fact.name, fact.bridge, fact.uplinks):
        findings.add(about, cut_finding(name))
    kind = (fact.kind.value, text(fact.mode, 16), fact.managed, text(fact.virtual_port, 32))
    state = (bridge, fact.active, fact.autostart, uplinks, _details(fact))
    return (identity(fact.uuid, fact.host_ref, fact.ref), name, *kind, *state, fact_hash, read_at, None)


def _details(fact: SwitchFact) -> dict[str, Any]:
    """VirtualSwitch.details."""
    said = {name: getattr(fact, name) for name in DETAILS}
    most = {"vlans": LARGEST_VLAN}
    bounded = {
        name: value[: most.get(name, MOST_DETAILS)] if isinstance(value, tuple) else value
        for name, value in said.items()
    }
    return {name: value for name, value in sparse(bounded, LONGEST_DETAIL).items() if value not in (0, False)}


# -- port groups


@dataclass(slots=True)
class _Groups:
    """What differs from the rows we have."""

    new: list[tuple[Any, ...]] = field(default_factory=list)
    changed: list[tuple[Any, ...]] = field(default_factory=list)
    gone: list[UUID] = field(default_factory=list)


def _compare_groups(told: Mapping[DatabaseId, SwitchFact]) -> _Groups:
    """Those of the switches that are new or changed, in one query."""
    known = _load_groups(told)
    groups = _Groups()
    for switch, fact in told.items():
        listed = {key_text(group.name, 255): _group_row(group) for group in fact.port_groups[:MOST_PORT_GROUPS]}
        for name, row in listed.items():
            before = known.pop((switch, name), None)
            if before is None:
                groups.new.append((database_id(new_id()), switch, name, *row))
            elif before[1] != row:
                groups.changed.append((database_id(before[0]), *row))
    groups.gone = [pk for pk, _row in known.values()]
    return groups


def _load_groups(told: Mapping[DatabaseId, SwitchFact]) -> dict[tuple[DatabaseId, str], tuple[UUID, tuple[Any, ...]]]:
    rows = PortGroup.objects.filter(switch__in=[UUID(one) for one in told]).order_by()
    found = rows.values_list("pk", "switch_id", "name", *PORT_GROUP)
    return {(database_id(switch), name): (pk, tuple(row)) for pk, switch, name, *row in found}


def _group_row(group: PortGroupFact) -> tuple[Any, ...]:
    """The values of PORT_GROUP."""
    vlans = [vlan for vlan in group.vlans[:LARGEST_VLAN] if 0 <= vlan <= LARGEST_VLAN]
    native = group.native_vlan if group.native_vlan is not None and 0 <= group.native_vlan <= LARGEST_VLAN else None
    return (group.default, vlans, native, group.trunk, text(group.virtual_port, 32))
