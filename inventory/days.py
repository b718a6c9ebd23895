"""One reading a day of what moves by itself, so that a report about the past has it.

Taken by the first beat of a day that finds somebody to write it; later ones add only objects that have none yet. A day
on which nothing ran has none: figures of another day are not made up for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Exists, Model, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from core import bulk
from core.db import write_transaction
from history.models import DatastoreDay, GuestDay, HostDay, Reading
from hosts.models import Host
from inventory.models import Disk, Guest, GuestState
from metrics.models import GuestLoad, HostLoad
from storage.models import Datastore, Volume

# A load older than this is another day's, or of a guest that stopped meanwhile.
FRESH = timedelta(hours=1)
BATCH = 1000
PRUNED_AT_ONCE = 5000

GUEST = (
    "object_id",
    "day",
    "read_at",
    "cpu_percent",
    "memory_used_bytes",
    "disk_capacity_bytes",
    "disk_allocated_bytes",
)
HOST = ("object_id", "day", "read_at", "cpu_percent", "memory_used_bytes", "guests", "running_guests")
DATASTORE = ("object_id", "day", "read_at", "capacity_bytes", "available_bytes", "volumes", "allocated_bytes")

T = TypeVar("T")
Row = tuple[Any, ...]


def record_day() -> None:
    """Read today's figures of every object that has none yet, and forget days that are too old.

    Transaction: a short one for each thousand.
    """
    now = timezone.now()
    for ids in _batches(_without(GuestDay, Guest.objects.filter(missing_since=None), now.date())):
        _write(GuestDay, GUEST, _guest_rows(ids, now))
    for ids in _batches(_without(HostDay, Host.objects.filter(missing_since=None), now.date())):
        _write(HostDay, HOST, _host_rows(ids, now))
    for ids in _batches(_without(DatastoreDay, Datastore.objects.filter(missing_since=None), now.date())):
        _write(DatastoreDay, DATASTORE, _datastore_rows(ids, now))
    prune(now.date() - timedelta(days=settings.HISTORY_DAYS))


def _without(model: type[Reading], objects: QuerySet[Any], day: date) -> Iterator[UUID]:
    """Objects that have no reading of this day."""
    readings = model._default_manager.filter(object_id=OuterRef("pk"), day=day)
    return iter(list(objects.filter(~Exists(readings)).order_by("pk").values_list("pk", flat=True)))


def _batches(items: Iterator[T]) -> Iterator[list[T]]:
    while batch := list(islice(items, BATCH)):
        yield batch


def _write(model: type[Reading], columns: tuple[str, ...], rows: list[Row]) -> None:
    with write_transaction():
        bulk.upsert(model, columns, rows, key=("object_id", "day"))


def _guest_rows(ids: list[UUID], now: datetime) -> list[Row]:
    running = set(Guest.objects.filter(pk__in=ids, state=GuestState.RUNNING).values_list("pk", flat=True))
    fresh = GuestLoad.objects.filter(pk__in=running, read_at__gte=now - FRESH)
    loads = {row[0]: row[1:] for row in fresh.values_list("guest_id", "cpu_percent", "memory_used_bytes")}
    disks = Disk.objects.filter(guest__in=ids, device__in=("disk", "lun")).order_by()
    capacity = dict(disks.values_list("guest").annotate(bytes=Sum("capacity_bytes")).values_list("guest", "bytes"))
    allocated = _allocated(disks)
    return [(one, now.date(), now, *loads.get(one, (None, None)), capacity.get(one), allocated.get(one)) for one in ids]


def _allocated(disks: QuerySet[Disk]) -> Mapping[UUID, int]:
    """What the volumes take that are disks of these guests, as far as their datastores list them."""
    used: dict[tuple[UUID, str], list[UUID]] = {}
    for guest, store, path in disks.exclude(datastore=None).values_list("guest_id", "datastore_id", "source"):
        assert store is not None  # noqa: S101 (excluded)
        used.setdefault((store, path), []).append(guest)
    taken: dict[UUID, int] = {}
    paths = sorted({path for _store, path in used})
    for batch in _batches(iter(paths)):
        volumes = Volume.objects.filter(datastore__in={store for store, _path in used}, path__in=batch).order_by()
        for store, path, size in volumes.values_list("datastore_id", "path", "allocated_bytes"):
            for guest in used.get((store, path), ()):
                taken[guest] = taken.get(guest, 0) + size
    return taken


def _host_rows(ids: list[UUID], now: datetime) -> list[Row]:
    fresh = HostLoad.objects.filter(pk__in=ids, read_at__gte=now - FRESH)
    loads = {row[0]: row[1:] for row in fresh.values_list("host_id", "cpu_percent", "memory_used_bytes")}
    runs = Count("pk", filter=Q(state=GuestState.RUNNING))
    guests = Guest.objects.filter(host__in=ids, missing_since=None).order_by().values_list("host")
    counts = {row[0]: row[1:] for row in guests.annotate(all=Count("pk"), running=runs)}
    return [(one, now.date(), now, *loads.get(one, (None, None)), *counts.get(one, (0, 0))) for one in ids]


def _datastore_rows(ids: list[UUID], now: datetime) -> list[Row]:
    stores = Datastore.objects.filter(pk__in=ids).order_by().values_list("pk", "capacity_bytes", "available_bytes")
    volumes = Volume.objects.filter(datastore__in=ids).order_by().values_list("datastore")
    sums = {row[0]: row[1:] for row in volumes.annotate(all=Count("pk"), bytes=Sum("allocated_bytes"))}
    return [(pk, now.date(), now, capacity, free, *sums.get(pk, (0, 0))) for pk, capacity, free in stores]


def prune(before: date) -> None:
    """Forget readings of days before this one.

    Transaction: a short one for each few thousand.
    """
    models: tuple[type[Model], ...] = (GuestDay, HostDay, DatastoreDay)
    for model in models:
        while ids := list(model._default_manager.filter(day__lt=before).values_list("pk", flat=True)[:PRUNED_AT_ONCE]):
            with write_transaction():
                bulk.delete_rows(model, ids)
