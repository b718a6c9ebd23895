"""Writing what was read: the latest load with rates from two readings, and the samples of one poll.

A crash loses at most the poll that is being written: nothing waits in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db.models import Model
from django.utils import timezone

from core import bulk
from core.db import pipeline, write_transaction
from drivers.types import GuestLoadFact, HostLoadFact
from metrics.blocks import Poll, put_polls
from metrics.models import DatastoreLoad, GuestLoad, HostLoad, LoadTrail
from metrics.packing import encode
from metrics.series import COMPUTE

BATCH = 1000
POLLS_AT_ONCE = 500
# Rates over less than this say more about the clock than about the load; over more they are no load of now.
SHORTEST_S = 1.0
LONGEST_S = 300.0
BIGGEST = 2**63 - 1
# Beyond it a reading "from the future" was made before the clock was set back.
TOLERATED = timedelta(minutes=1)
# A datastore is measured whenever one of its hosts is read in full, every five minutes; many hosts may see it.
DATASTORES_EVERY = timedelta(minutes=4)

_COUNTERS = (
    "disk_read_bytes",
    "disk_written_bytes",
    "disk_reads",
    "disk_writes",
    "net_received_bytes",
    "net_sent_bytes",
)
_BEFORE = ("guest_id", "read_at", "host_id", "cpu_time_ns", *_COUNTERS)
_GUEST = (*_BEFORE, *COMPUTE)
_HOST = ("host_id", "read_at", "cpu_percent", "memory_used_bytes", "cpu_busy_ns", "cpu_total_ns")
_TRAIL = ("object_id", "group_id", "until")
_TRAFFIC = list(COMPUTE).index("disk_read_rate")  # from here on a host has the sums of its guests

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class GuestReading:
    """Ids in any form the database takes; `vcpus` scales the CPU figure."""

    guest_id: Any
    host_id: Any
    vcpus: int
    load: GuestLoadFact


@dataclass(frozen=True, slots=True)
class HostReading:
    host_id: Any
    load: HostLoadFact


@dataclass(frozen=True, slots=True)
class DatastoreReading:
    datastore_id: Any
    capacity_bytes: int
    free_bytes: int


def record_loads(guests: Sequence[GuestReading], hosts: Sequence[HostReading], *, read_at: datetime) -> None:
    """Keep these as each one's latest load, and as samples. An older reading changes nothing.

    Units: cpu_percent is of all the guest's virtual CPUs.
    Transaction: one for each 1,000 guests, and for each 500 hosts beyond.
    """
    written = _Written(read_at)
    for start in range(0, len(guests), BATCH):
        if written.guests:
            written.flush()
        written.add_guests(guests[start : start + BATCH])
    written.add_hosts(hosts)
    polls = written.polls()
    written.flush(polls[:POLLS_AT_ONCE])
    for start in range(POLLS_AT_ONCE, len(polls), POLLS_AT_ONCE):
        written.flush(polls[start : start + POLLS_AT_ONCE])


def record_datastores(readings: Sequence[DatastoreReading], *, read_at: datetime) -> None:
    """Keep these as samples, unless another host's reading of a moment ago was kept.

    Transaction: its own.
    """
    before = _before(DatastoreLoad, ("datastore_id", "read_at"), [one.datastore_id for one in readings])
    due = [one for one in readings if _is_due(before.get(_plain(one.datastore_id)), read_at)]
    polls = [
        (_plain(one.datastore_id), int(read_at.timestamp()), True, _packed_id(one.datastore_id), _datastore_values(one))
        for one in due
    ]
    for start in range(0, len(due), POLLS_AT_ONCE):
        rows = [(one.datastore_id, read_at) for one in due[start : start + POLLS_AT_ONCE]]
        with write_transaction():
            bulk.upsert(DatastoreLoad, ("datastore_id", "read_at"), rows, key=("datastore_id",), newer="read_at")
            put_polls(polls[start : start + POLLS_AT_ONCE])


def _is_due(before: Row | None, read_at: datetime) -> bool:
    return before is None or read_at - before[0] >= DATASTORES_EVERY


def _datastore_values(one: DatastoreReading) -> bytes:
    capacity, free = _count(one.capacity_bytes), _count(one.free_bytes)
    return encode(np.array([[capacity, max(0, capacity - free), free]], np.float64), exact=True)


def forget_unread(before: datetime) -> int:
    """Latest loads that nobody told anew since then: of what is no more, or cannot be read. Their past stays.

    Returns how many of these there were, of at most 1,000 of each kind.
    Transaction: short ones.
    """
    guests = list(GuestLoad.objects.filter(read_at__lt=before).values_list("pk", flat=True)[:BATCH])
    forget_guest_loads(guests, read_at=before)
    found = len(guests)
    others: tuple[type[Model], ...] = (HostLoad, DatastoreLoad)
    for model in others:
        ids = list(model._default_manager.filter(read_at__lt=before).values_list("pk", flat=True)[:BATCH])
        if ids:
            with write_transaction():
                model._default_manager.filter(pk__in=ids, read_at__lt=before)._raw_delete("default")
        found += len(ids)
    return found


def forget_datastore_loads(datastore_ids: Iterable[Any]) -> None:
    """Transaction: the one that deletes the datastores."""
    DatastoreLoad.objects.filter(pk__in=list(datastore_ids))._raw_delete("default")


def forget_guest_loads(guest_ids: Iterable[Any], *, read_at: datetime) -> None:
    """These ran no longer when they were read: a load from before is not theirs any more. Their past stays.

    Transaction: one for each 1,000 guests of which there are any.
    """
    ids = list(guest_ids)
    for start in range(0, len(ids), BATCH):
        ended = GuestLoad.objects.filter(pk__in=ids[start : start + BATCH], read_at__lte=read_at)
        rows = list(ended.values_list("guest_id", "host_id", "read_at"))
        if not rows:
            continue
        trails = [(guest, host, int(at.timestamp()) + 1) for guest, host, at in rows if host is not None]
        with write_transaction():
            bulk.upsert(LoadTrail, _TRAIL, trails, key=("object_id", "group_id"))
            ended._raw_delete("default")


@dataclass(slots=True)
class _Written:
    """What one reading of a source is going to write. Samples are by host."""

    read_at: datetime
    guests: list[Row] = field(default_factory=list)
    hosts: list[Row] = field(default_factory=list)
    trails: list[Row] = field(default_factory=list)
    samples: dict[str, list[tuple[bytes, Row]]] = field(default_factory=dict)

    def add_guests(self, readings: Sequence[GuestReading]) -> None:
        before = _before(GuestLoad, _BEFORE, [reading.guest_id for reading in readings])
        for reading in readings:
            guest, host = _plain(reading.guest_id), _plain(reading.host_id)
            known = before.get(guest)
            row = _guest_row(reading, known, self.read_at)
            if row is None:
                continue
            self.guests.append(row)
            self.samples.setdefault(host, []).append((bytes.fromhex(guest), row[len(_BEFORE) :]))
            if known and known[1] and _plain(known[1]) != host:
                self.trails.append((reading.guest_id, known[1], int(known[0].timestamp()) + 1))

    def add_hosts(self, readings: Sequence[HostReading]) -> None:
        """After the guests: their traffic is the host's."""
        columns = ("host_id", "read_at", "cpu_busy_ns", "cpu_total_ns")
        before = _before(HostLoad, columns, [reading.host_id for reading in readings])
        for reading in readings:
            host = _plain(reading.host_id)
            row = _host_row(reading, before.get(host), self.read_at)
            if row is None:
                continue
            self.hosts.append(row)
            group = self.samples.setdefault(host, [])
            values = (row[2], row[3], _count(reading.load.memory_bytes), *_traffic(group))
            group.append((bytes.fromhex(host), values))

    def polls(self) -> list[Poll]:
        at = int(self.read_at.timestamp())
        return [(host, at, False, *_packed(group)) for host, group in self.samples.items()]

    def flush(self, polls: Sequence[Poll] = ()) -> None:
        """Write what is there by now."""
        with write_transaction(), pipeline():
            bulk.upsert(GuestLoad, _GUEST, self.guests, key=("guest_id",), newer="read_at")
            bulk.upsert(LoadTrail, _TRAIL, self.trails, key=("object_id", "group_id"))
            bulk.upsert(HostLoad, _HOST, self.hosts, key=("host_id",), newer="read_at")
            if polls:
                put_polls(polls)
        self.guests, self.trails, self.hosts = [], [], []


def _packed(group: Sequence[tuple[bytes, Row]]) -> tuple[bytes, bytes]:
    """Objects and their values."""
    objects = b"".join(key for key, _values in group)
    return objects, encode(np.array([values for _key, values in group], np.float64), exact=False)


def _traffic(group: Sequence[tuple[bytes, Row]]) -> list[float | None]:
    """The sums over a host's guests, of those that are known; none when nothing is."""
    if not group:
        return [0.0] * (len(COMPUTE) - _TRAFFIC)
    columns = zip(*(values[_TRAFFIC:] for _key, values in group), strict=True)
    known = [[value for value in column if value is not None] for column in columns]
    return [sum(values) if values else None for values in known]


def _plain(value: Any) -> str:
    return str(value).replace("-", "")


def _packed_id(value: Any) -> bytes:
    return bytes.fromhex(_plain(value))


def _before(model: type[Model], columns: Sequence[str], ids: Sequence[Any]) -> dict[str, Row]:
    """By id, the other columns as read last. Readings from before the clock was set back are forgotten."""
    limit = timezone.now() + TOLERATED
    found: dict[str, Row] = {}
    late: list[Any] = []
    for start in range(0, len(ids), BATCH):
        rows = model._default_manager.filter(pk__in=ids[start : start + BATCH]).values_list(*columns)
        for row in rows:
            if row[1] > limit:
                late.append(row[0])
            else:
                found[_plain(row[0])] = row[1:]
    for start in range(0, len(late), BATCH):
        model._default_manager.filter(pk__in=late[start : start + BATCH])._raw_delete("default")
    return found


def _guest_row(reading: GuestReading, before: Row | None, read_at: datetime) -> Row | None:
    """The new row; none when it comes too soon after the last to say anything."""
    load = reading.load
    cpu = _count(load.cpu_time_ns)
    counters = tuple(_count(getattr(load, name)) for name in _COUNTERS)
    seconds = (read_at - before[0]).total_seconds() if before else None
    if seconds is not None and seconds < SHORTEST_S:
        return None
    if before and (cpu < before[2] or _plain(before[1]) != _plain(reading.host_id)):
        before = None  # it was started anew, or came from another host: all its counters began at zero
    busy = _rate(cpu, before[2] if before else None, seconds)
    percent = None if busy is None else min(100.0, busy / 1e7 / max(1, reading.vcpus))
    rates = tuple(_rate(now, before[3 + n] if before else None, seconds) for n, now in enumerate(counters))
    memory = (_count(load.memory_used_bytes), _count(load.memory_bytes))
    return (reading.guest_id, read_at, reading.host_id, cpu, *counters, percent, *memory, *rates)


def _host_row(reading: HostReading, before: Row | None, read_at: datetime) -> Row | None:
    load = reading.load
    seconds = (read_at - before[0]).total_seconds() if before else None
    if seconds is not None and seconds < SHORTEST_S:
        return None
    busy, total = _count(load.cpu_busy_ns), _count(load.cpu_total_ns)
    percent = None
    if before and seconds and seconds <= LONGEST_S and total > before[2] and busy >= before[1]:
        percent = min(100.0, 100.0 * (busy - before[1]) / (total - before[2]))
    return (reading.host_id, read_at, percent, _count(load.memory_used_bytes), busy, total)


def _count(value: int) -> int:
    return min(max(value, 0), BIGGEST)


def _rate(now: int, before: int | None, seconds: float | None) -> float | None:
    """A second; none without a reading shortly before, or when the counter began anew."""
    if before is None or seconds is None or seconds > LONGEST_S or now < before:
        return None
    return (now - before) / seconds
