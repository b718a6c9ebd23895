"""Objects whose load was measured, for tests of what shows it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from drivers.types import HostLoadFact
from inventory.models import Guest
from metrics.models import GuestLoad, HostLoad
from metrics.services import DatastoreReading, GuestReading, HostReading, record_datastores, record_loads
from tests.facts import GIB, load_fact

POLLED_S = 30


def measure_guest(guest: Guest, percents: Sequence[int], *, ended_s: int = 5) -> None:
    """Poll a guest of one virtual CPU and its host, the last time just now: so busy was it between each two polls."""
    GuestLoad.objects.filter(pk=guest.pk).delete()  # of now: it would be newer than what follows
    HostLoad.objects.filter(pk=guest.host_id).delete()
    now, busy = timezone.now(), 0
    for number, percent in enumerate([0, *percents]):
        busy += percent * 10**7 * POLLED_S
        read_at = now - timedelta(seconds=ended_s + POLLED_S * (len(percents) - number))
        host = HostReading(guest.host_id, HostLoadFact("h", number * 10, number * 100, 2 * GIB, 8 * GIB))
        record_loads(
            [GuestReading(guest.pk, guest.host_id, 1, load_fact(busy, number * 1024))], [host], read_at=read_at
        )


def measure_datastore(datastore_id: UUID, free_gib: Sequence[int], *, in_one_hour: bool = False) -> None:
    """Measure a datastore of 100 GiB every five minutes, the last time just now.

    `in_one_hour`: or before the full hour, where some of these moments would be before it: they are one coarse point.
    """
    last = timezone.now() - timedelta(seconds=5)
    if in_one_hour and (last - timedelta(minutes=5 * (len(free_gib) - 1))).hour != last.hour:
        last = last.replace(minute=0, second=0, microsecond=0) - timedelta(seconds=1)
    for number, free in enumerate(free_gib):
        read_at = last - timedelta(minutes=5 * (len(free_gib) - 1 - number))
        record_datastores([DatastoreReading(datastore_id, 100 * GIB, free * GIB)], read_at=read_at)
