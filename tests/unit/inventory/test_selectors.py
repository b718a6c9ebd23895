"""What pages and API read: restricted, and in a constant number of queries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.test.utils import CaptureQueriesContext

from access.models import User
from access.roles import Role
from drivers.types import GuestState
from hosts.models import Host
from hosts.selectors import datacenter_list, source_list
from inventory.models import Guest
from inventory.selectors import disks_of, guest_list, host_list, nics_of
from inventory.sync import apply_snapshot
from networks.selectors import switch_list
from storage.selectors import datastore_list
from tests.factories import add_disk, add_nic, make_datastore, make_switch
from tests.facts import datastore_fact, guest_fact, host_fact, make_source, snapshot, switch_fact

pytestmark = pytest.mark.django_db


def fill(count: int, seconds: float) -> None:
    """So many hosts with a running and a stopped guest, a datastore and a switch each."""
    source = make_source(f"source-{count}")
    names = [f"host-{number}" for number in range(count)]
    guests = [guest_fact(f"{name}-on", host=name) for name in names]
    guests += [guest_fact(f"{name}-off", host=name, state=GuestState.OFF) for name in names]
    read = snapshot(
        seconds,
        *guests,
        hosts=tuple(host_fact(name) for name in names),
        datastores=tuple(datastore_fact(host=name, uuid="") for name in names),
        switches=tuple(switch_fact(host=name) for name in names),
    )
    apply_snapshot(source, read, 0)


def some_guest() -> Guest:
    return Guest.objects.get(name="host-0-on")


def annotated(rows: Iterable[Any]) -> Iterable[Any]:
    """Rows with columns that no model declares."""
    return rows


LISTS: dict[str, Callable[[Any], Iterable[Any]]] = {
    "datacenters": lambda user: datacenter_list(user=user),
    "sources": lambda user: [
        (source.host_count, source.datacenter.name) for source in annotated(source_list(user=user))
    ],
    "hosts": lambda user: [
        (host.guest_count, host.running_count, host.source.name) for host in annotated(host_list(user=user))
    ],
    "guests": lambda user: [(guest.host.name, guest.seen_at) for guest in guest_list(user=user)],
    "datastores": lambda user: [
        (store.host_count, [mount.host.source.name for mount in store.mounts.all()])
        for store in annotated(datastore_list(user=user))
    ],
    "switches": lambda user: [switch.host.source.name for switch in switch_list(user=user)],
}
DEVICES: dict[str, Callable[[Any], Iterable[Any]]] = {
    "disks": lambda user: [disk.datastore and disk.datastore.name for disk in disks_of(some_guest(), user=user)],
    "nics": lambda user: [nic.switch and nic.switch.name for nic in nics_of(some_guest(), user=user)],
}
READS = LISTS | DEVICES


@pytest.mark.parametrize("name", READS)
def test_every_role_sees_it_and_nobody_else(name: str) -> None:
    fill(2, 1)
    for role in Role:
        user = User.objects.create(username=role, role=role)
        assert list(READS[name](user))
    gone = User.objects.create(username="gone", is_active=False)
    assert [list(READS[name](user)) for user in (gone, AnonymousUser(), None)] == [[], [], []]


@pytest.mark.parametrize("name", LISTS)
def test_queries_do_not_grow_with_the_rows(name: str) -> None:
    user = User.objects.create(username="viewer")
    fill(1, 1)
    few = queries(lambda: list(LISTS[name](user)))
    fill(7, 2)
    assert queries(lambda: list(LISTS[name](user))) == few > 0


@pytest.mark.parametrize("name", DEVICES)
def test_devices_are_one_query_with_what_they_lead_to(name: str) -> None:
    fill(1, 1)
    guest, host = some_guest(), Host.objects.get()
    for number in range(3):
        add_disk(guest, make_datastore(f"more-{number}", (host,)))
        add_nic(guest, make_switch(f"more-{number}", host))
    user = User.objects.create(username="viewer")
    assert len(list(DEVICES[name](user))) == 4
    # One more finds the guest.
    assert queries(lambda: list(DEVICES[name](user))) == 2


def queries(act: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as seen:
        act()
    return len(seen)


def test_hosts_count_their_guests() -> None:
    fill(3, 1)
    user = User.objects.create(username="viewer")
    assert [(host.guest_count, host.running_count) for host in annotated(host_list(user=user))] == [(2, 1)] * 3
