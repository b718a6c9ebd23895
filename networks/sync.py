"""Virtual switches: facts in, rows out."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from core import bulk
from core.db import write_transaction
from core.events import Change, publish
from core.ids import new_id
from drivers.types import Snapshot, SwitchFact
from hosts.diff import Diff, compare, load_known
from hosts.facts import Findings, cut_finding, digest, identity, key_text, text
from hosts.lease import Lease, renew
from hosts.models import Source
from hosts.sync import HostRows
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

Key = tuple[UUID, str]


def apply_switches(source: Source, snapshot: Snapshot, hosts: HostRows, lease: Lease, findings: Findings) -> None:
    """Write what changed about a source's virtual switches.

    Raises: LeaseLost.
    Transaction: its own, and only when something changed.
    """
    facts: dict[Key, tuple[SwitchFact, str]] = {}
    for fact in snapshot.switches:
        host_id = hosts.id_of(fact.host_ref)
        if host_id is not None:
            facts[host_id, key_text(fact.ref, 255)] = (fact, digest(fact))
    known = load_known(VirtualSwitch.objects.filter(host__source=source), "host_id", "ref")
    diff = compare(known, facts, read_at=snapshot.read_started_at, complete=snapshot.complete)
    if diff:
        _write(diff, snapshot.read_started_at, lease, findings)


def _write(diff: Diff[Key, SwitchFact], read_at: datetime, lease: Lease, findings: Findings) -> None:
    new = [(new_id(), *key, *_row(fact, h, read_at, findings)) for key, fact, h in diff.new]
    changed = [(row.id, *_row(fact, h, read_at, findings)) for row, _key, fact, h in diff.changed]
    with write_transaction():
        renew(lease)
        bulk.insert(VirtualSwitch, ("id", "host", "ref", *COLUMNS), new)
        bulk.update(VirtualSwitch, ("id", *COLUMNS), changed)
        bulk.update(VirtualSwitch, ("id", "missing_since", "evidence_at"), [(i, read_at, read_at) for i in diff.gone])
        publish(*(Change("switch", str(row[0]), "added") for row in new))
        publish(*(Change("switch", str(row[0])) for row in changed), *(Change("switch", str(i)) for i in diff.gone))


def _row(fact: SwitchFact, fact_hash: str, read_at: datetime, findings: Findings) -> tuple[Any, ...]:
    uplinks = [text(uplink, LONGEST_UPLINK) for uplink in fact.uplinks[:MOST_UPLINKS]]
    name, bridge = text(fact.name, 255), text(fact.bridge, 64)
    about = f"switch:{digest((fact.host_ref, fact.ref))}"
    findings.look_at(about)
    if (name, bridge, tuple(uplinks)) != (fact.name, fact.bridge, fact.uplinks):
        findings.add(about, cut_finding(name))
    shown = (identity(fact.uuid, fact.host_ref, fact.ref), name, fact.kind.value, bridge, fact.active, fact.autostart)
    return (*shown, uplinks, fact_hash, read_at, None)
