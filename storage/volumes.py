"""Volumes: facts in, rows out.

A read that says nothing new costs one query for all of a source's mounts, however many volumes they have: each mount
keeps a digest of those it last told of. What volumes take moves all the time and is no part of it; rows are looked at
for that when their sum has moved.

Several hosts read a shared datastore. Whoever has news writes it, on the same rows; hosts that say what they said
before say nothing, so two that see it differently do not contradict each other for ever. A row goes when the mount that
told of it lists it no more; then the others are asked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from core import bulk
from core.db import write_transaction
from core.events import Change, publish
from core.ids import new_ids
from drivers.types import DatastoreFact, VolumeFact
from hosts.diff import DatabaseId, database_id
from hosts.facts import Findings, cut_finding, digest, key_text, number, text, word
from hosts.lease import Lease, renew
from hosts.models import Source
from storage.models import Datastore, DatastoreMount, Volume

# A row is written when the change shows in a list, as with a datastore's free space.
NOISE_BYTES = 1 << 30
NOISE_SHARE = 0.01
# Growth of one volume that another's shrinking hides is seen after a while.
FIGURES_AGE = timedelta(hours=1)
ROWS_AT_ONCE = 2000  # in a transaction

COLUMNS = ("name", "path", "kind", "format", "capacity_bytes", "allocated_bytes", "backing", "told_by")
MOUNT = ("volumes_at", "volumes_hash", "volumes_bytes", "volumes_cut")

Key = tuple[DatabaseId, str]


class Values(NamedTuple):
    """The values of COLUMNS."""

    name: str
    path: str
    kind: str
    format: str
    capacity_bytes: int
    allocated_bytes: int
    backing: str
    told_by: DatabaseId


class Word(Enum):
    """What a mount's listing has to say."""

    NEWS = "all of it differs from what the mount said before"
    FIGURES = "only sizes moved"
    CUT = "there may be more"


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount's row as far as volumes need it."""

    id: DatabaseId
    store: DatabaseId
    volumes_at: datetime | None
    volumes_hash: str
    volumes_bytes: int
    volumes_cut: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """The volumes of one mount, read anew and worth comparing."""

    mount: Mount
    word: Word
    fact: DatastoreFact
    hash: str
    bytes: int

    def by_key(self) -> dict[str, VolumeFact]:
        return {volume_key(self.fact.path, volume): volume for volume in self.fact.volumes}


def volume_key(mount_path: str, volume: VolumeFact) -> str:
    """What tells a volume within its datastore wherever a host mounts it."""
    folder = mount_path.rstrip("/") + "/"
    key = volume.key[len(folder) :] if len(folder) > 1 and volume.key.startswith(folder) else ""
    return key_text(key or volume.key, 255)


def apply_volumes(
    source: Source, read_at: datetime, facts: Mapping[Key, DatastoreFact], lease: Lease, findings: Findings
) -> None:
    """Write what changed about the volumes of a source's datastores, whose mounts are written already.

    Raises: LeaseLost.
    Transaction: its own, and only when something changed.
    """
    mounts = _load_mounts(source, read_at)
    listings = [
        listing
        for key, fact in facts.items()
        if key in mounts and (listing := _listing(mounts[key], fact, read_at)) is not None
    ]
    if listings:
        _Comparison.load(listings, read_at).write(lease, findings)


def _load_mounts(source: Source, read_at: datetime) -> dict[Key, Mount]:
    """By host and reference; without those of which we know something newer."""
    rows = DatastoreMount.objects.filter(host__source=source, missing_since=None, evidence_at__lte=read_at)
    found = rows.values_list("host_id", "ref", "pk", "datastore_id", *MOUNT)
    return {
        (database_id(host), ref): Mount(database_id(pk), database_id(store), *values)
        for host, ref, pk, store, *values in found
    }


# -- what a listing says


def _listing(mount: Mount, fact: DatastoreFact, read_at: datetime) -> Listing | None:
    """None when it says what the mount said before. Runs for every datastore of every host at every full read."""
    if fact.volumes_cut:
        return Listing(mount, Word.CUT, fact, mount.volumes_hash, mount.volumes_bytes) if fact.volumes else None
    said = digest((mount.store, fact.path, tuple(map(_lasting, fact.volumes))))
    taken = number(sum(map(_moving, fact.volumes)))
    if said != mount.volumes_hash or mount.volumes_cut:
        return Listing(mount, Word.NEWS, fact, said, taken)
    return Listing(mount, Word.FIGURES, fact, said, taken) if _moved(mount, taken, read_at) else None


def _lasting(volume: VolumeFact) -> tuple[Any, ...]:
    """What is news when it changes."""
    capacity = 0 if _grows(volume) else volume.capacity_bytes
    return volume.key, volume.name, volume.path, volume.kind, volume.format, capacity, volume.backing


def _moving(volume: VolumeFact) -> int:
    capacity = number(volume.capacity_bytes) if _grows(volume) else 0
    return number(volume.allocated_bytes) + capacity


def _grows(volume: VolumeFact) -> bool:
    """A raw file's capacity is its length, which moves while somebody writes it."""
    return volume.kind == "file" and volume.format == "raw"


def _moved(mount: Mount, taken: int, read_at: datetime) -> bool:
    old = mount.volumes_at is None or read_at - mount.volumes_at >= FIGURES_AGE
    return taken != mount.volumes_bytes and (old or _shows(mount.volumes_bytes, taken, taken))


def _shows(before: int, after: int, whole: int) -> bool:
    change = abs(after - before)
    return change >= NOISE_BYTES or change > NOISE_SHARE * whole


def _is_readable(volume: VolumeFact) -> bool:
    """One that could not be read says nothing but its name."""
    return bool(volume.kind)


# -- what to write


@dataclass(slots=True)
class _Row:
    id: DatabaseId
    values: Values


@dataclass(slots=True)
class _Comparison:
    """Listings against the rows of their datastores. `mounts`: those that see each datastore now."""

    read_at: datetime
    listings: list[Listing]
    mounts: dict[DatabaseId, set[DatabaseId]]
    rows: dict[DatabaseId, dict[str, _Row]]
    written: dict[tuple[DatabaseId, str], Values] = field(default_factory=dict)
    gone: dict[tuple[DatabaseId, str], DatabaseId] = field(default_factory=dict)
    asked_again: set[DatabaseId] = field(default_factory=set)  # mounts

    @classmethod
    def load(cls, listings: list[Listing], read_at: datetime) -> _Comparison:
        """In two queries; without listings older than what was compared before."""
        stores = [UUID(one) for one in {listing.mount.store for listing in listings}]
        mounts: dict[DatabaseId, set[DatabaseId]] = {}
        newer: set[DatabaseId] = set()
        seeing = DatastoreMount.objects.filter(datastore__in=stores, missing_since=None)
        for pk, store, compared_at in seeing.values_list("pk", "datastore_id", "volumes_at"):
            mounts.setdefault(database_id(store), set()).add(database_id(pk))
            if compared_at is not None and compared_at > read_at:
                newer.add(database_id(store))
        current = [listing for listing in listings if listing.mount.store not in newer]
        rows: dict[DatabaseId, dict[str, _Row]] = {database_id(store): {} for store in stores}
        known = Volume.objects.filter(datastore__in=stores).order_by()
        for store, pk, key, *values, told_by in known.values_list("datastore_id", "pk", "key", *COLUMNS):
            rows[database_id(store)][key] = _Row(database_id(pk), Values._make([*values, database_id(told_by)]))
        return cls(read_at, current, mounts, rows)

    def write(self, lease: Lease, findings: Findings) -> None:
        """Raises: LeaseLost."""
        done = []
        for listing in self.listings:
            changed = self._compare(listing, findings)
            if changed or listing.word is not Word.CUT or not listing.mount.volumes_cut:
                values = (self.read_at, listing.hash, listing.bytes, listing.word is Word.CUT)
                done.append((listing.mount.id, *values))
        rows = self._rows_to_write()
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[start : start + ROWS_AT_ONCE]
            with write_transaction():
                renew(lease)
                lock_in_order({row[1] for row in part})
                bulk.upsert(Volume, ("id", "datastore", "key", *COLUMNS), part, key=("datastore", "key"), keep=("id",))
        if done:
            self._finish(lease, done)

    def _finish(self, lease: Lease, done: list[tuple[Any, ...]]) -> None:
        touched = {store for store, _key in self.written} | {store for store, _key in self.gone}
        with write_transaction():
            renew(lease)
            bulk.delete_rows(Volume, [UUID(one) for one in self.gone.values()])
            bulk.update(DatastoreMount, ("id", *MOUNT), done)
            bulk.update(DatastoreMount, ("id", "volumes_hash"), [(one, "") for one in sorted(self.asked_again)])
            publish(*(Change("datastore", str(UUID(store))) for store in sorted(touched)))

    def _rows_to_write(self) -> list[tuple[Any, ...]]:
        """New rows and changed ones, in one order for every worker."""
        places = sorted(place for place in self.written if place[1] in self.rows[place[0]])
        return [(self.rows[store][key].id, store, key, *self.written[store, key]) for store, key in places]

    def _compare(self, listing: Listing, findings: Findings) -> bool:
        """Note what this listing changes, and whether it does."""
        store, listed = listing.mount.store, listing.by_key()
        _note_cut(listing, findings)
        rows = self.rows[store]
        changed = [(key, said) for key, said in self._judged(listing, listed) if said is not None]
        for (key, said), new_id in zip(changed, new_ids(len(changed)), strict=True):
            again = self.gone.pop((store, key), new_id)  # another mount of this source may just have ended it
            rows[key] = _Row(rows[key].id if key in rows else again, said)
            self.written[store, key] = said
        gone = [key for key, row in rows.items() if key not in listed and self._may_end(listing, row.values)]
        for key in gone:
            self.gone[store, key] = rows.pop(key).id
            self.asked_again |= self.mounts.get(store, set()) - {listing.mount.id}
        return bool(changed or gone)

    def _judged(self, listing: Listing, listed: Mapping[str, VolumeFact]) -> Iterator[tuple[str, Values | None]]:
        """For each volume of a listing what its row is to be; None where that is what it is."""
        rows = self.rows[listing.mount.store]
        for key, volume in listed.items():
            if key in rows:
                after = self._after(listing, rows[key].values, volume)
                yield key, after if after != rows[key].values else None
            else:
                yield key, self._new(listing, volume)

    def _new(self, listing: Listing, volume: VolumeFact) -> Values | None:
        """Where others see the datastore, one that cannot be read is an old listing's, made before it was deleted."""
        shared = len(self.mounts.get(listing.mount.store, ())) > 1
        return _values(volume, listing.mount.id) if _is_readable(volume) or not shared else None

    def _after(self, listing: Listing, before: Values, volume: VolumeFact) -> Values:
        mine = self._is_mine(listing, before)
        told_by = listing.mount.id if mine else before.told_by
        if not _is_readable(volume) or (listing.word is Word.CUT and not mine):
            return before._replace(told_by=told_by)
        said = _values(volume, told_by)
        if not _shows(before.allocated_bytes, said.allocated_bytes, said.capacity_bytes):
            said = said._replace(allocated_bytes=before.allocated_bytes)
        if listing.word is Word.FIGURES:
            capacity = said.capacity_bytes if _grows(volume) else before.capacity_bytes
            return before._replace(told_by=told_by, allocated_bytes=said.allocated_bytes, capacity_bytes=capacity)
        if (
            listing.word is Word.CUT
            and _grows(volume)
            and not _shows(before.capacity_bytes, said.capacity_bytes, said.capacity_bytes)
        ):
            said = said._replace(capacity_bytes=before.capacity_bytes)
        return said if mine else said._replace(path=before.path, backing=before.backing)

    def _is_mine(self, listing: Listing, row: Values) -> bool:
        """Whether the row is this mount's word, or of one that does not see the datastore any more."""
        return row.told_by == listing.mount.id or row.told_by not in self.mounts.get(listing.mount.store, ())

    def _may_end(self, listing: Listing, row: Values) -> bool:
        return listing.word is Word.NEWS and self._is_mine(listing, row)


def _values(volume: VolumeFact, told_by: DatabaseId) -> Values:
    return Values(
        text(volume.name, 255),
        text(volume.path, 1000),
        word(volume.kind, 16),
        word(volume.format, 32),
        number(volume.capacity_bytes),
        number(volume.allocated_bytes),
        text(volume.backing, 1000),
        told_by,
    )


def _note_cut(listing: Listing, findings: Findings) -> None:
    about = f"volumes:{digest((listing.fact.host_ref, listing.fact.ref))}"
    findings.look_at(about)
    for volume in listing.fact.volumes:
        said = (volume.name, volume.path, volume.kind, volume.format, volume.capacity_bytes, volume.allocated_bytes)
        if _values(volume, "")[:-1] != (*said, volume.backing):
            findings.add(about, cut_finding(text(volume.name, 255)))
            return


def ask_again(stores: Iterable[DatabaseId]) -> None:
    """Have the mounts of these datastores compared anew: one that told of volumes is gone.

    Transaction: the one that took it away.
    """
    mounts = DatastoreMount.objects.filter(datastore__in=[UUID(one) for one in stores])
    mounts.exclude(volumes_hash="").update(volumes_hash="")


def lock_in_order(ids: set[DatabaseId]) -> None:
    """Two hosts that share datastores list them in orders of their own; written so, they would wait for each other."""
    rows = Datastore.objects.filter(pk__in=[UUID(one) for one in ids]).order_by("pk")
    list(rows.select_for_update().values_list("pk"))
