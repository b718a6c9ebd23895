"""Virtual switches: facts in, rows out."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from core import bulk
from core.db import write_transaction
from core.events import Change, publish
from core.ids import new_ids
from drivers.types import Snapshot, SwitchFact
from hosts.diff import DatabaseId, Diff, compare, load_known_parts
from hosts.facts import Findings, cut_finding, digest, identity, key_text, text
from hosts.lease import Lease, renew
from hosts.models import Source
from hosts.sync import HostRows, unlink
from networks.models import VirtualSwitch

COLUMNS = (
    "uuid",
    "name",
    "kind",
    "bridge",
    "active",
    "autostart",
    "uplinks",
    "fact_hash",
    "evidence_at",
    "missing_since",
)
LONGEST_UPLINK = 64
MOST_UPLINKS = 64

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
    with write_transaction():
        renew(lease)
        bulk.insert(VirtualSwitch, ("id", "host", "ref", *COLUMNS), added)
        bulk.update(VirtualSwitch, ("id", *COLUMNS), changed)
        bulk.update(VirtualSwitch, ("id", "missing_since", "evidence_at"), gone)
        unlink(diff)
        publish(*(Change("switch", str(UUID(row[0])), "added") for row in added))
        publish(*(Change("switch", str(UUID(row[0]))) for row in (*changed, *gone)))


def _row(fact: SwitchFact, fact_hash: str, read_at: datetime, findings: Findings) -> tuple[Any, ...]:
    uplinks = [text(uplink, LONGEST_UPLINK) for uplink in fact.uplinks[:MOST_UPLINKS]]
    name, bridge = text(fact.name, 255), text(fact.bridge, 64)
    about = f"switch:{digest((fact.host_ref, fact.ref))}"
    findings.look_at(about)
    if (name, bridge, tuple(uplinks)) != (fact.name, fact.bridge, fact.uplinks):
        findings.add(about, cut_finding(name))
    shown = (identity(fact.uuid, fact.host_ref, fact.ref), name, fact.kind.value, bridge, fact.active, fact.autostart)
    return (*shown, uplinks, fact_hash, read_at, None)
