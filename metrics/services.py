"""Writing the latest load, with rates from two readings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core import bulk
from core.db import write_transaction
from drivers.types import GuestLoadFact, HostLoadFact
from metrics.models import GuestLoad, HostLoad

BATCH = 1000
# Rates over less than this say more about the clock than about the load.
SHORTEST_S = 1.0
BIGGEST = 2**63 - 1

_COUNTERS = ("disk_read_bytes", "disk_written_bytes", "net_received_bytes", "net_sent_bytes")
_RATES = ("disk_read_rate", "disk_write_rate", "net_receive_rate", "net_send_rate")
_GUEST = ("guest_id", "read_at", "cpu_percent", "memory_used_bytes", "cpu_time_ns", *_COUNTERS, *_RATES)
_HOST = ("host_id", "read_at", "cpu_percent", "memory_used_bytes", "cpu_busy_ns", "cpu_total_ns")


@dataclass(frozen=True, slots=True)
class GuestReading:
    """`guest_id` in any form the database takes; `vcpus` scales the CPU figure."""

    guest_id: Any
    vcpus: int
    load: GuestLoadFact


def record_guest_loads(readings: Sequence[GuestReading], *, read_at: datetime) -> None:
    """Keep these as each guest's latest load. An older reading changes nothing.

    Units: cpu_percent is of all the guest's virtual CPUs.
    Transaction: one for each 1,000 guests.
    """
    for start in range(0, len(readings), BATCH):
        batch = readings[start : start + BATCH]
        before = _guest_counters([reading.guest_id for reading in batch])
        rows = [_guest_row(reading, before.get(_plain(reading.guest_id)), read_at) for reading in batch]
        with write_transaction():
            bulk.upsert(GuestLoad, _GUEST, [row for row in rows if row], key=("guest_id",), newer="read_at")


def record_host_loads(loads: Iterable[tuple[Any, HostLoadFact]], *, read_at: datetime) -> None:
    """Keep these (host id, load) as each host's latest.

    Transaction: its own.
    """
    loads = list(loads)
    before = {
        _plain(row[0]): row[1:]
        for row in HostLoad.objects.filter(pk__in=[host for host, _load in loads]).values_list(
            "host_id", "read_at", "cpu_busy_ns", "cpu_total_ns"
        )
    }
    rows = [_host_row(host, load, before.get(_plain(host)), read_at) for host, load in loads]
    if rows:
        with write_transaction():
            bulk.upsert(HostLoad, _HOST, rows, key=("host_id",), newer="read_at")


def forget_guest_loads(guest_ids: Iterable[Any], *, read_at: datetime) -> None:
    """These ran no longer when they were read: a load from before is not theirs any more."""
    ids = list(guest_ids)
    for start in range(0, len(ids), BATCH):
        GuestLoad.objects.filter(pk__in=ids[start : start + BATCH], read_at__lte=read_at)._raw_delete("default")


def _plain(value: Any) -> str:
    return str(value).replace("-", "")


def _guest_counters(ids: list[Any]) -> dict[str, tuple[Any, ...]]:
    rows = GuestLoad.objects.filter(pk__in=ids).values_list("guest_id", "read_at", "cpu_time_ns", *_COUNTERS)
    return {_plain(row[0]): row[1:] for row in rows}


def _guest_row(reading: GuestReading, before: tuple[Any, ...] | None, read_at: datetime) -> tuple[Any, ...] | None:
    """The new row; none when it comes too soon after the last to say anything."""
    load = reading.load
    cpu = _count(load.cpu_time_ns)
    counters = tuple(_count(getattr(load, name)) for name in _COUNTERS)
    seconds = (read_at - before[0]).total_seconds() if before else None
    if seconds is not None and seconds < SHORTEST_S:
        return None
    busy = _rate(cpu, before[1] if before else None, seconds)
    percent = None if busy is None else min(100.0, busy / 1e7 / max(1, reading.vcpus))
    rates = tuple(_rate(now, before[2 + n] if before else None, seconds) for n, now in enumerate(counters))
    return (reading.guest_id, read_at, percent, _count(load.memory_used_bytes), cpu, *counters, *rates)


def _host_row(host: Any, load: HostLoadFact, before: tuple[Any, ...] | None, read_at: datetime) -> tuple[Any, ...]:
    busy, total = _count(load.cpu_busy_ns), _count(load.cpu_total_ns)
    percent = None
    if before and total > before[2] and busy >= before[1]:
        percent = min(100.0, 100.0 * (busy - before[1]) / (total - before[2]))
    return (host, read_at, percent, _count(load.memory_used_bytes), busy, total)


def _count(value: int) -> int:
    return min(max(value, 0), BIGGEST)


def _rate(now: int, before: int | None, seconds: float | None) -> float | None:
    """A second; none without a reading before, or when the counter began anew."""
    if before is None or seconds is None or now < before:
        return None
    return (now - before) / seconds
