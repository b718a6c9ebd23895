"""Writing down what changed, in the transaction that changes it.

Guests' polls know what differs and only hand it over; everything else is compared here with what was recorded last, so
whoever is not sure may record again. An object's rows never go back in time: what is recorded after a clock was set
back, or by a machine whose clock is behind, counts from the moment of the row before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from operator import itemgetter
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import DateTimeField, F, OuterRef, QuerySet, Subquery, UUIDField, Value
from django.db.models.functions import Greatest

from core import bulk
from history.models import (
    AgentRevision,
    DatastoreRevision,
    GuestBuild,
    GuestMove,
    GuestName,
    GuestRevision,
    GuestStay,
    HostRevision,
    Interval,
    Kind,
    MountRevision,
    RecordedObject,
    Revision,
    SwitchRevision,
)

STAY = ("object_id", "valid_from", "gone", "state", "host_id", "addresses")
GUEST = ("object_id", "valid_from", "name", "datacenter_id", "vcpus", "memory_bytes", "facts", "hardware")
NAME = ("object_id", "valid_from", "name")
MOVE = (
    "at",
    "guest_id",
    "guest_name",
    "from_host_id",
    "from_host_name",
    "to_host_id",
    "to_host_name",
    "state",
    "how",
    "migration_id",
    "downtime_ms",
    "bytes_moved",
)
KINDS: dict[type[Interval], Kind] = {
    GuestStay: Kind.GUEST,
    GuestRevision: Kind.GUEST,
    GuestName: Kind.GUEST,
    AgentRevision: Kind.GUEST,
    HostRevision: Kind.HOST,
    DatastoreRevision: Kind.DATASTORE,
    MountRevision: Kind.MOUNT,
    SwitchRevision: Kind.SWITCH,
}
"""Whose intervals a table has."""

_MOMENT = ("object_id", "valid_from")
_encode = msgspec.msgpack.Encoder(order="sorted").encode

Values = Sequence[Any]


# -- guests


def add_guest_revisions(rows: Sequence[Values], names: Sequence[Values] | None = None) -> None:
    """Columns as GUEST. The last word of one moment counts.

    `names`: columns as NAME, of guests that are called otherwise than before; looked up for who cannot tell.
    Transaction: the one that changes the guests.
    """
    bulk.upsert(GuestRevision, GUEST, rows, key=_MOMENT)
    bulk.upsert(GuestName, NAME, _new_names(rows) if names is None else names, key=_MOMENT)


def _new_names(rows: Sequence[Values]) -> list[Values]:
    known: dict[UUID, str] = {}
    ids = [UUID(str(row[0])) for row in rows]
    for start in range(0, len(ids), bulk.BATCH):
        names = GuestName.objects.filter(object_id__in=ids[start : start + bulk.BATCH]).order_by("valid_from")
        known.update(names.values_list("object_id", "name"))
    new: list[Values] = []
    for guest, (object_id, since, name, *_rest) in zip(ids, rows, strict=True):
        if known.get(guest) != name:
            known[guest] = name
            new.append((object_id, since, name))
    return new


def add_guest_builds(facts: Mapping[str, Any]) -> None:
    """Hardware of guests by digest; what is there stays. In one order: two workers may bring the same."""
    rows = sorted(facts.items(), key=itemgetter(0))
    bulk.upsert(GuestBuild, ("digest", "facts"), rows, key=("digest",), keep=("facts",))


def add_guest_stays(rows: Sequence[Values]) -> None:
    """Columns as STAY; otherwise as `add_guest_revisions`."""
    bulk.upsert(GuestStay, STAY, rows, key=_MOMENT)


def remember(kind: Kind, objects: Sequence[tuple[Any, Any]]) -> None:
    """(id, since when) of objects whose first row is written; those that are known stay as they are."""
    rows = [(kind.value, object_id, since) for object_id, since in objects]
    bulk.upsert(RecordedObject, ("kind", "object_id", "since"), rows, key=("kind", "object_id"), keep=("since",))


@dataclass(frozen=True, slots=True)
class Stay:
    """The values of a GuestStay."""

    gone: bool
    state: str
    host_id: UUID
    addresses: str


def record_stays(stays: Mapping[UUID, Stay], *, at: datetime) -> dict[UUID, datetime]:
    """Write those that differ from what was recorded last, and from when each of these counts.

    Transaction: the one that changes the guests.
    """
    known = last_rows(GuestStay, stays, "valid_from", "gone", "state", "host_id", "addresses")
    rows: dict[UUID, tuple[Any, ...]] = {}
    for guest, stay in stays.items():
        before = known.get(guest)
        if before is None or Stay(*before[1:]) != stay:
            since = at if before is None else max(at, before[0])
            rows[guest] = (guest, since, stay.gone, stay.state, stay.host_id, stay.addresses)
    add_guest_stays(list(rows.values()))
    remember(Kind.GUEST, [(guest, row[1]) for guest, row in rows.items() if guest not in known])
    return {guest: row[1] for guest, row in rows.items()}


def end_stays(guests: Iterable[UUID], *, at: datetime) -> None:
    """These guests are no more.

    Transaction: the one that removes them.
    """
    known = last_rows(GuestStay, guests, "gone", "state", "host_id", "addresses")
    record_stays({guest: Stay(True, *row[1:]) for guest, row in known.items()}, at=at)


def moments(model: type[Interval], ids: Iterable[UUID]) -> dict[UUID, datetime]:
    """Since when the last row of each of these holds."""
    return {one: row[0] for one, row in last_rows(model, ids, "valid_from").items()}


def relocate_guests(guests: QuerySet[Any], datacenter_id: UUID, *, at: datetime) -> None:
    """What these guests were made of last, they are made of in this datacenter from now on.

    `guests`: their ids. One statement, however many they are: nothing is brought here.
    Transaction: the one that moves them.
    """
    newest = GuestRevision.objects.filter(object_id=OuterRef("object_id")).order_by("-valid_from")
    known = RecordedObject.objects.filter(kind=Kind.GUEST, object_id__in=guests)
    last = GuestRevision.objects.filter(pk__in=known.values(row=Subquery(newest.values("pk")[:1])))
    values = {name: F(name) for name in GUEST} | {
        "valid_from": Greatest(F("valid_from"), Value(at, DateTimeField())),
        "datacenter_id": Value(datacenter_id, UUIDField()),
    }
    rows = last.order_by().annotate(**{f"new_{name}": value for name, value in values.items()})
    bulk.upsert_from(GuestRevision, GUEST, rows.values_list(*(f"new_{name}" for name in GUEST)), key=_MOMENT)


# -- the other kinds


def record(
    model: type[Revision],
    columns: Sequence[str],
    said: Mapping[UUID, Values],
    *,
    at: datetime,
    gone: Iterable[UUID] = (),
) -> None:
    """Write what differs from what was recorded last. `said`: values of `columns` by object; `facts` are encoded JSON.

    Transaction: the one that changes the objects.
    """
    missed = list(gone)
    known = last_rows(model, [*said, *missed], "valid_from", "gone", "digest", *columns)
    rows = []
    for one, values in said.items():
        before, digest = known.get(one), digest_of(values)
        if before is None or before[1] or (before[2] != digest and digest_of(before[3:]) != digest):
            rows.append((one, _since(before, at), False, digest, *_stored(columns, values)))
    for one in missed:
        before = known.get(one)
        if before is not None and not before[1]:
            rows.append((one, _since(before, at), True, *before[2:]))
    bulk.upsert(model, (*_MOMENT, "gone", "digest", *columns), rows, key=_MOMENT)
    remember(KINDS[model], [(row[0], row[1]) for row in rows if row[0] not in known])


def digest_of(values: Values) -> str:
    """The same for the same facts however they are spelled: PostgreSQL gives JSON's names back in another order."""
    plain = [msgspec.json.decode(value) if isinstance(value, bytes) else value for value in values]
    return blake2b(_encode(plain), digest_size=16).hexdigest()


def _since(before: Values | None, at: datetime) -> datetime:
    return at if before is None else max(at, before[0])


def _stored(columns: Sequence[str], values: Values) -> list[Any]:
    """Encoded JSON is written as it is."""
    return [msgspec.Raw(value) if name == "facts" else value for name, value in zip(columns, values, strict=True)]


def last_rows(model: type[Interval], ids: Iterable[UUID], *columns: str) -> dict[UUID, tuple[Any, ...]]:
    """The last row of each of these that has one: one look into the index for each."""
    wanted, found = list(ids), {}
    newest = model._default_manager.filter(object_id=OuterRef("object_id")).order_by("-valid_from")
    for start in range(0, len(wanted), bulk.BATCH):
        known = RecordedObject.objects.filter(kind=KINDS[model], object_id__in=wanted[start : start + bulk.BATCH])
        rows = model._default_manager.filter(pk__in=known.values(row=Subquery(newest.values("pk")[:1])))
        found.update({row[0]: row[1:] for row in rows.values_list("object_id", *columns)})
    return found


# -- moves


def add_moves(rows: Sequence[Values]) -> None:
    """Columns as MOVE.

    Transaction: the one that changes the guests' hosts.
    """
    bulk.insert(GuestMove, MOVE, rows)


# -- a clock that was set back


def pull_back(objects: Mapping[Kind, Iterable[UUID]], now: datetime) -> None:
    """What was recorded of these objects in the future counts from now on; of several rows of one, the last.

    Transaction: the caller's.
    """
    for model, kind in KINDS.items():
        ids = list(objects.get(kind, ()))
        for start in range(0, len(ids), bulk.BATCH):
            _pull_back(model, ids[start : start + bulk.BATCH], now)
    guests = list(objects.get(Kind.GUEST, ()))
    for start in range(0, len(guests), bulk.BATCH):
        GuestMove.objects.filter(guest_id__in=guests[start : start + bulk.BATCH], at__gt=now).update(at=now)


def _pull_back(model: type[Interval], ids: list[UUID], now: datetime) -> None:
    ahead = model._default_manager.filter(object_id__in=ids, valid_from__gte=now).order_by("valid_from")
    rows = list(ahead.values_list("object_id", "pk"))
    kept = dict(rows)
    bulk.delete_rows(model, [pk for one, pk in rows if kept[one] != pk])
    bulk.update(model, ("id", "valid_from"), [(pk, now) for pk in kept.values()])
    of_kind = RecordedObject.objects.filter(kind=KINDS[model], object_id__in=ids)
    of_kind.filter(since__gt=now).update(since=now)
