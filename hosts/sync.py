"""Hosts: facts in, rows out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from core import bulk
from core.db import write_transaction
from core.events import Change, publish
from core.ids import new_id
from drivers.types import HostFact, Snapshot
from hosts.details import Details, compare_details, write_details
from hosts.diff import DatabaseId, Diff, compare, database_id, load_known_hosts
from hosts.facts import BIGGEST_INTEGER, Findings, cut_finding, digest, identity, key_text, number, text
from hosts.lease import Lease, renew
from hosts.models import Host, HostState, Source
from hosts.owners import Overtaken, own_hosts, require_unowned
from hosts.recording import record_hosts
from hosts.search import index_hosts

COLUMNS = (
    "uuid",
    "name",
    "hypervisor",
    "hypervisor_version",
    "manager_version",
    "vendor",
    "model",
    "serial",
    "white_box",
    "architecture",
    "cpu_model",
    "cpu_sockets",
    "cpu_cores",
    "cpu_threads",
    "cpu_mhz",
    "memory_bytes",
)
ATTEMPTS = 2  # when another source brings the same host at the same moment
STATUS = ("state", "fact_hash", "evidence_at", "missing_since")

_OF_HARDWARE = ("serial", "white_box")
_said: Callable[[HostFact], tuple[Any, ...]] = attrgetter(
    *(f"hardware.{name}" if name in _OF_HARDWARE else name for name in COLUMNS)
)


@dataclass(frozen=True, slots=True)
class HostRows:
    """The hosts of one source by their reference in its snapshot."""

    ids: dict[str, DatabaseId]


def apply_hosts(source: Source, snapshot: Snapshot, lease: Lease, findings: Findings) -> HostRows:
    """Write what changed about a source's hosts.

    Raises: LeaseLost.
    Transaction: its own, and only when something changed.
    """
    for _attempt in range(ATTEMPTS):
        with suppress(Overtaken):
            return _apply(source, snapshot, lease, findings)
    return _apply(source, snapshot, lease, findings)


def _apply(source: Source, snapshot: Snapshot, lease: Lease, findings: Findings) -> HostRows:
    own = own_hosts(source, snapshot, lease, findings)
    facts = {key_text(fact.ref, 255): (fact, digest(_said(fact))) for fact in own}
    known = load_known_hosts(source, Host, snapshot.read_started_at)
    diff = compare(known, facts, complete=snapshot.complete)
    added = {ref: database_id(new_id()) for ref, _fact, _hash in diff.new}
    ids = {ref: row.id for ref, row in known.items()} | added
    newer = {ref for ref, row in known.items() if row.newer}
    hardware = {ids[ref]: fact.hardware for ref, (fact, _hash) in facts.items() if ref not in newer}
    details = compare_details(source, hardware)
    if diff or details:
        told = {ids[ref]: fact for ref, (fact, _hash) in facts.items()}
        _write(source, diff, details, added, told, snapshot.read_started_at, lease, findings)
    return HostRows({fact.ref: ids[ref] for ref, (fact, _hash) in facts.items()})


def _write(
    source: Source,
    diff: Diff[str, HostFact],
    details: Details,
    added: dict[str, DatabaseId],
    told: dict[DatabaseId, HostFact],
    read_at: datetime,
    lease: Lease,
    findings: Findings,
) -> None:
    head = (source.pk, source.datacenter_id)
    new = [
        (added[ref], *head, ref, False, "", *_row(source, fact, findings), *_status(h, read_at))
        for ref, fact, h in diff.new
    ]
    changed = [(row_id, *_row(source, fact, findings), *_status(h, read_at)) for row_id, _ref, fact, h in diff.changed]
    gone = [(row_id, HostState.MISSING.value, read_at, read_at) for row_id, _ref in diff.gone]
    written = {*added.values(), *(row[0] for row in changed), *details.hosts()}
    with write_transaction():
        renew(lease)
        if diff.new:
            require_unowned(source, [fact for _ref, fact, _hash in diff.new])
        bulk.insert(Host, ("id", "source", "datacenter", "ref", "maintenance", "links_hash", *COLUMNS, *STATUS), new)
        bulk.update(Host, ("id", *COLUMNS, *STATUS), changed)
        bulk.update(Host, ("id", "state", "missing_since", "evidence_at"), gone)
        write_details(details)
        index_hosts(written)
        news, missed = {host: told[host] for host in written}, [UUID(row[0]) for row in gone]
        record_hosts(source.datacenter_id, news, at=read_at, gone=missed)
        publish(*(Change("host", str(UUID(row_id)), "added") for row_id in added.values()))
        touched = {row[0] for row in (*changed, *gone)} | (details.hosts() - set(added.values()))
        publish(*(Change("host", str(UUID(row_id))) for row_id in sorted(touched)))


def _status(fact_hash: str, read_at: datetime) -> tuple[Any, ...]:
    return HostState.CONNECTED.value, fact_hash, read_at, None


def _row(source: Source, fact: HostFact, findings: Findings) -> tuple[Any, ...]:
    row = (
        identity(fact.uuid, source.pk, fact.ref),
        text(fact.name, 255),
        text(fact.hypervisor, 64),
        text(fact.hypervisor_version, 64),
        text(fact.manager_version, 64),
        text(fact.vendor, 255),
        text(fact.model, 255),
        text(fact.hardware.serial, 255),
        fact.hardware.white_box,
        text(fact.architecture, 32),
        text(fact.cpu_model, 255),
        number(fact.cpu_sockets, BIGGEST_INTEGER),
        number(fact.cpu_cores, BIGGEST_INTEGER),
        number(fact.cpu_threads, BIGGEST_INTEGER),
        number(fact.cpu_mhz, BIGGEST_INTEGER),
        number(fact.memory_bytes),
    )
    about = f"host:{digest(fact.ref)}"
    findings.look_at(about)
    if row[1:] != _said(fact)[1:]:
        findings.add(about, cut_finding(row[1]))
    return row


def unlink(diff: Diff[tuple[DatabaseId, str], Any]) -> None:
    """Have these hosts' guests linked anew: what their disks and NICs may stand on changed.

    Transaction: the one that writes the change, so that a crash in between forgets nothing.
    """
    hosts = {key[0] for key, *_rest in diff.new} | {key[0] for _id, key, *_rest in diff.changed}
    hosts |= {key[0] for _id, key in diff.gone}
    bulk.update(Host, ("id", "links_hash"), [(host, "") for host in sorted(hosts)])
