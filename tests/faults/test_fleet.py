"""`manage make_fleet`, small: hung and flapping hosts among well ones, read by real workers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from hosts.models import Host, Source, SourceState
from hosts.polling import read_now
from inventory.models import Guest, Placement
from networks.models import VirtualSwitch
from search.models import SearchRow
from storage.models import Datastore, DatastoreMount
from tests.stack import Stack, wait_until

HOSTS, GUESTS, HUNG, FLAPPING = 60, 300, 6, 3
QUIET = (Host, Guest, Placement, Datastore, DatastoreMount, VirtualSwitch, SearchRow)


def rows_of(*models: Any) -> dict[str, list[dict[str, Any]]]:
    """Every column of every row."""
    return {model.__name__: list(model._default_manager.order_by("pk").values()) for model in models}


def all_read(sources: QuerySet[Source]) -> bool:
    """Asks at once for those that were not read yet and are not due soon."""
    unread = sources.filter(inventory_read_at=None)
    for source in unread.filter(next_inventory_at__gt=timezone.now() + timedelta(seconds=5)):
        read_now(source.pk, inventory=True)
    return not unread.exists()


def test_hung_and_flapping_hosts_delay_none_and_an_idle_fleet_is_not_written(stack: Stack) -> None:
    sizes = ("--hosts", HOSTS, "--guests", GUESTS, "--hung", HUNG, "--flapping", FLAPPING, "--flap-seconds", 15)
    made = stack.manage("make_fleet", *map(str, sizes))
    assert made.returncode == 0, made.stderr
    hung = Source.objects.filter(uri__contains="hang=1")
    flapping = Source.objects.filter(uri__contains="flap=")
    well = Source.objects.exclude(pk__in=hung.values("pk")).exclude(pk__in=flapping.values("pk"))
    assert (well.count(), hung.count(), flapping.count()) == (HOSTS - HUNG - FLAPPING, HUNG, FLAPPING)
    wait_until(lambda: not well.filter(inventory_read_at=None).exists(), "every well one is read", seconds=300)
    wait_until(lambda: hung.filter(suspect=True).count() == HUNG, "each hung one was tried", seconds=300)
    # They answer half of the time, and after some failures they are seldom asked: somebody clicks until all were read.
    wait_until(lambda: all_read(flapping), "flapping ones were read", seconds=300)
    wait_until(lambda: flapping.filter(failures__gt=0).exists(), "a flapping one did not answer", seconds=300)
    assert not well.exclude(state=SourceState.OK).exists()
    assert Guest.objects.filter(host__source__in=well).count() == (HOSTS - HUNG - FLAPPING) * GUESTS // HOSTS

    Source.objects.exclude(pk__in=well.values("pk")).update(state=SourceState.PAUSED)
    before, asked_at = rows_of(*QUIET), timezone.now()
    well.update(next_inventory_at=asked_at, next_states_at=asked_at)
    wait_until(lambda: not well.filter(inventory_read_at__lt=asked_at).exists(), "all are read again", seconds=300)
    assert rows_of(*QUIET) == before
