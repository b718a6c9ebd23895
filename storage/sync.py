"""Datastores and their mounts: facts in, rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db.models import Count
from django.utils.translation import gettext as _
from msgspec.structs import fields

from core import bulk
from core.db import write_transaction
from core.events import Change, publish
from core.ids import new_ids
from core.units import format_bytes
from drivers.types import DatastoreFact, Snapshot
from hosts.diff import DatabaseId, Diff, compare, database_id, load_known_parts
from hosts.facts import Findings, cut_finding, digest, key_text, number, sparse, text
from hosts.lease import Lease, renew
from hosts.models import Source
from hosts.sync import HostRows, unlink
from storage.identity import BY_ITS_SOURCE, datastore_identity
from storage.models import Datastore, DatastoreMount
from storage.recording import record_datastores, record_mounts
from storage.search import index_datastores
from storage.volumes import apply_volumes, ask_again, lock_in_order

# Free space moves with every write of every guest: a row is written when the change shows in a list.
NOISE_BYTES = 1 << 30
NOISE_SHARE = 0.01

MOUNT = ("datastore", "name", "path", "active", "details", "fact_hash", "evidence_at", "missing_since")
# What a new mount has besides: nothing was compared yet. See storage.volumes.
UNCOMPARED = {"volumes_hash": "", "volumes_bytes": 0, "volumes_cut": False}
STORE = (
    "name",
    "technology",
    "storage_class",
    "path",
    "source",
    "capacity_bytes",
    "available_bytes",
    "kind",
    "details",
    "evidence_at",
)
OF_STORE = ("format", "servers", "devices")  # Datastore.details
OF_MOUNT = ("autostart", "adapter", "initiator", "uuid")  # DatastoreMount.details
LONGEST_DETAIL = 1000
MOST_DETAILS = 64

Key = tuple[DatabaseId, str]

# Everything but the free space, and the volumes, which are compared by themselves.
_identity_of: Callable[[DatastoreFact], tuple[Any, ...]] = attrgetter(
    *(one.name for one in fields(DatastoreFact) if one.name not in {"available_bytes", "volumes", "volumes_cut"})
)


@dataclass(frozen=True, slots=True)
class Store:
    """A datastore row as far as a sync needs it."""

    id: DatabaseId
    available_bytes: int
    evidence_at: datetime
    capacity_bytes: int


def apply_datastores(source: Source, snapshot: Snapshot, hosts: HostRows, lease: Lease, findings: Findings) -> None:
    """Write what changed about a source's datastores and their volumes.

    Raises: LeaseLost.
    Transaction: its own, and only when something changed.
    """
    read_at = snapshot.read_started_at
    facts = _by_key(snapshot.datastores, hosts)
    known = load_known_parts(source, DatastoreMount, read_at)
    diff = compare(known, facts, complete=snapshot.complete)
    identities = {key: datastore_identity(fact, key[0]) for key, (fact, _hash) in facts.items()}
    stores = _load_stores(source, set(identities.values()))
    levels = [
        (identity, fact)
        for identity, fact in _latest(identities, facts).items()
        if identity in stores and _shows(stores[identity], fact, read_at)
    ]
    _note_disagreements(diff, facts, identities, stores, findings)
    if diff or levels:
        _Write(source, read_at, findings, identities, stores).run(diff, levels, lease)
    apply_volumes(source, read_at, {key: fact for key, (fact, _hash) in facts.items()}, lease, findings)


def _by_key(stores: Iterable[DatastoreFact], hosts: HostRows) -> dict[Key, tuple[DatastoreFact, str]]:
    """Facts by host and reference. The digest leaves the free space out."""
    facts: dict[Key, tuple[DatastoreFact, str]] = {}
    for fact in stores:
        host_id = hosts.ids.get(fact.host_ref)
        if host_id is not None:
            facts[host_id, key_text(fact.ref, 255)] = (fact, digest(_identity_of(fact)))
    return facts


def _load_stores(source: Source, identities: set[str]) -> dict[str, Store]:
    rows = Datastore.objects.filter(datacenter=source.datacenter_id, identity__in=identities)
    found = rows.values_list("identity", "pk", "available_bytes", "evidence_at", "capacity_bytes")
    return {
        identity: Store(database_id(pk), available, at, capacity) for identity, pk, available, at, capacity in found
    }


def _note_disagreements(
    diff: Diff[Key, DatastoreFact],
    facts: dict[Key, tuple[DatastoreFact, str]],
    identities: dict[Key, str],
    stores: dict[str, Store],
    findings: Findings,
) -> None:
    """Another host told another capacity of what should be the same storage, and this one says what it said before."""
    changed = {key for key, _fact in _written(diff)}
    for key, (fact, _hash) in facts.items():
        store = stores.get(identities[key])
        differs = store is not None and fact.active and _disagree(identities[key], store, fact)
        if key in changed or not (differs or findings.kept):
            continue
        about = f"capacity:{digest((fact.host_ref, fact.ref))}"
        findings.look_at(about)
        if store is not None and differs:
            words = {
                "name": text(fact.name, 255),
                "here": format_bytes(number(fact.capacity_bytes)),
                "there": format_bytes(store.capacity_bytes),
            }
            findings.add(
                about,
                _(
                    "The datastore %(name)s has %(here)s here, and %(there)s on another host. "
                    "They may be two storages of one name, or one host has to mount it anew."
                )
                % words,
            )


def _disagree(identity: str, store: Store, fact: DatastoreFact) -> bool:
    here, there = number(fact.capacity_bytes), store.capacity_bytes
    if not (identity.startswith(BY_ITS_SOURCE) and here and there):
        return False
    return abs(here - there) > max(NOISE_BYTES, NOISE_SHARE * there)


def _latest(identities: dict[Key, str], facts: dict[Key, tuple[DatastoreFact, str]]) -> dict[str, DatastoreFact]:
    """For each datastore the mount that speaks for it: an active one if there is one."""
    speaks: dict[str, DatastoreFact] = {}
    for key, (fact, _hash) in facts.items():
        before = speaks.get(identities[key])
        if before is None or (fact.active and not before.active):
            speaks[identities[key]] = fact
    return speaks


def _shows(store: Store, fact: DatastoreFact, read_at: datetime) -> bool:
    change = abs(number(fact.available_bytes) - store.available_bytes)
    if not change or not fact.active or store.evidence_at > read_at:
        return False
    return change >= NOISE_BYTES or change > NOISE_SHARE * number(fact.capacity_bytes)


class _Write:
    """One write of a source's datastores."""

    def __init__(
        self,
        source: Source,
        read_at: datetime,
        findings: Findings,
        identities: dict[Key, str],
        stores: dict[str, Store],
    ) -> None:
        self.source = source
        self.read_at = read_at
        self.findings = findings
        self.identities = identities
        self.ids = {identity: store.id for identity, store in stores.items()}

    def run(self, diff: Diff[Key, DatastoreFact], levels: list[tuple[str, DatastoreFact]], lease: Lease) -> None:
        touched = {self.identities[key]: fact for key, fact in _written(diff)}
        renamed = self._renamed(diff)
        self.ids |= renamed
        unknown = [identity for identity in touched if identity not in self.ids]
        new = dict(zip(unknown, new_ids(len(unknown)), strict=True))
        self.ids |= new
        store_rows = [self._store_row(identity, fact) for identity, fact in sorted(touched.items(), key=by_identity)]
        mount_ids = new_ids(len(diff.new))
        new_mounts = [
            (row_id, *key, *self._mount_row(key, fact, h), *UNCOMPARED.values())
            for row_id, (key, fact, h) in zip(mount_ids, diff.new, strict=True)
        ]
        changed = [(row_id, *self._mount_row(key, fact, h)) for row_id, key, fact, h in diff.changed]
        with write_transaction():
            renew(lease)
            stood = self._stood_on(diff)
            left = set(stood.values())
            lock_in_order(left | set(self.ids.values()))
            bulk.update(Datastore, ("id", "identity"), [(store, identity) for identity, store in renamed.items()])
            self._write_stores(store_rows)
            self._take_ids(new)
            levelled = [(self.ids[i], number(f.available_bytes), self.read_at) for i, f in levels if i not in touched]
            bulk.update(Datastore, ("id", "available_bytes", "evidence_at"), levelled)
            bulk.insert(DatastoreMount, ("id", "host", "ref", *MOUNT, *UNCOMPARED), self._linked(new_mounts, 3))
            bulk.update(DatastoreMount, ("id", *MOUNT), self._linked(changed, 1))
            gone = [(mount, False, self.read_at, self.read_at) for mount, _key in diff.gone]
            bulk.update(DatastoreMount, ("id", "active", "missing_since", "evidence_at"), gone)
            unlink(diff)
            ask_again(self._lost(diff, stood))
            summarize({UUID(one) for one in left | {self.ids[i] for i in touched}}, self.read_at)
            self._record(diff, [row[0] for row in new_mounts])
            index_datastores({self.ids[identity] for identity in touched})
            self._publish(new, touched, levelled, left)

    def _record(self, diff: Diff[Key, DatastoreFact], new: list[DatabaseId]) -> None:
        """For history: the mounts; the datastores are recorded with their summary."""
        rows = [(mount, key, fact) for mount, (key, fact, _hash) in zip(new, diff.new, strict=True)]
        rows += [(mount, key, fact) for mount, key, fact, _hash in diff.changed]
        told = {mount: (self.ids[self.identities[key]], key[0], fact) for mount, key, fact in rows}
        record_mounts(told, at=self.read_at, gone=[mount for mount, _key in diff.gone])

    def _renamed(self, diff: Diff[Key, DatastoreFact]) -> dict[str, DatabaseId]:
        """Datastores to keep under a new identity: seen by one host only, at the same place, with another capacity.

        A directory on ZFS gets another capacity whenever its neighbors grow.
        """
        changed = {UUID(row_id): (self.identities[key], fact) for row_id, key, fact, _hash in diff.changed}
        stores = Datastore.objects.annotate(count=Count("mounts")).filter(mounts__in=changed, count=1)
        renamed = {}
        for store, mount, technology, path in stores.values_list("pk", "mounts__pk", "technology", "path"):
            identity, fact = changed[mount]
            if identity not in self.ids and (technology, path) == (fact.technology.value, text(fact.path, 1000)):
                renamed[identity] = database_id(store)
        return renamed

    def _stood_on(self, diff: Diff[Key, DatastoreFact]) -> dict[DatabaseId, DatabaseId]:
        """The datastores that lose a mount, or whose mount may turn out to be another datastore; by mount."""
        mounts = [row_id for row_id, _key in diff.gone] + [row_id for row_id, _key, _fact, _hash in diff.changed]
        found = DatastoreMount.objects.filter(pk__in=mounts).values_list("pk", "datastore_id")
        return {database_id(mount): database_id(store) for mount, store in found}

    def _lost(self, diff: Diff[Key, DatastoreFact], stood: dict[DatabaseId, DatabaseId]) -> set[DatabaseId]:
        """The datastores that did lose a mount."""
        gone = {stood[mount] for mount, _key in diff.gone if mount in stood}
        now = {mount: self.ids[self.identities[key]] for mount, key, _fact, _hash in diff.changed}
        return gone | {stood[mount] for mount, store in now.items() if stood.get(mount, store) != store}

    def _write_stores(self, rows: list[tuple[Any, ...]]) -> None:
        columns = ("id", "datacenter", "identity", *STORE, "shared", "active")
        keep = ("id", "shared", "active")
        bulk.upsert(Datastore, columns, rows, key=("datacenter", "identity"), keep=keep, newer="evidence_at")

    def _take_ids(self, new: dict[str, DatabaseId]) -> None:
        """Another source may have written one of the new datastores a moment ago: then its id counts."""
        if new:
            self.ids |= {identity: store.id for identity, store in _load_stores(self.source, set(new)).items()}

    def _linked(self, rows: list[tuple[Any, ...]], at: int) -> list[tuple[Any, ...]]:
        return [(*row[:at], self.ids[row[at]], *row[at + 1 :]) for row in rows]

    def _store_row(self, identity: str, fact: DatastoreFact) -> tuple[Any, ...]:
        name, path, source = text(fact.name, 255), text(fact.path, 1000), text(fact.source, 500)
        capacity, available = number(fact.capacity_bytes), number(fact.available_bytes)
        about = f"datastore:{digest((fact.host_ref, fact.ref))}"
        self.findings.look_at(about)
        said = (fact.name, fact.path, fact.source, fact.capacity_bytes, fact.available_bytes)
        kind, details = text(fact.kind, 32), _details(fact, OF_STORE)
        if (name, path, source, capacity, available) != said:
            self.findings.add(about, cut_finding(name))
        kinds = (fact.technology.value, fact.storage_class.value)
        head = (self.ids[identity], self.source.datacenter_id, identity)
        shown = (name, *kinds, path, source, capacity, available, kind, details)
        return (*head, *shown, self.read_at, False, fact.active)

    def _mount_row(self, key: Key, fact: DatastoreFact, fact_hash: str) -> tuple[Any, ...]:
        shown = (text(fact.name, 255), text(fact.path, 1000), fact.active, _details(fact, OF_MOUNT))
        return (self.identities[key], *shown, fact_hash, self.read_at, None)

    def _publish(
        self, new: dict[str, DatabaseId], touched: Iterable[str], levelled: list[tuple[Any, ...]], left: set[DatabaseId]
    ) -> None:
        changed = left | {self.ids[identity] for identity in touched} | {row[0] for row in levelled}
        added = {self.ids[identity] for identity in new}
        publish(*(Change("datastore", str(UUID(i)), "added" if i in added else "changed") for i in changed))


def by_identity(pair: tuple[str, DatastoreFact]) -> str:
    return pair[0]


def _details(fact: DatastoreFact, names: tuple[str, ...]) -> dict[str, Any]:
    """What the fact says under these names, as JSON holds it; without what is empty."""
    said = {name: getattr(fact, name) for name in names}
    bounded = {name: value[:MOST_DETAILS] if isinstance(value, tuple) else value for name, value in said.items()}
    return {name: value for name, value in sparse(bounded, LONGEST_DETAIL).items() if value}


def _written(diff: Diff[Key, DatastoreFact]) -> Iterator[tuple[Key, DatastoreFact]]:
    for key, fact, _hash in diff.new:
        yield key, fact
    for _id, key, fact, _hash in diff.changed:
        yield key, fact


def summarize(ids: set[UUID], read_at: datetime) -> None:
    """Say again of these datastores whether they are shared, active or missing, from their mounts.

    Transaction: the one that wrote the mounts.
    """
    state: dict[UUID, tuple[set[UUID], bool]] = {one: (set(), False) for one in ids}
    mounts = DatastoreMount.objects.filter(datastore__in=ids, missing_since=None)
    for store, host, active in mounts.values_list("datastore_id", "host_id", "active"):
        hosts, any_active = state[store]
        state[store] = (hosts | {host}, any_active or active)
    rows = Datastore.objects.filter(pk__in=ids).values_list("pk", "shared", "active", "missing_since")
    changed = []
    for store, *before in rows:
        hosts, active = state[store]
        missing = None if hosts else (before[2] or read_at)
        if (after := [len(hosts) > 1, active, missing]) != before:
            changed.append((store, *after))
    bulk.update(Datastore, ("id", "shared", "active", "missing_since"), changed)
    record_datastores(ids, at=read_at)
