"""Rows for a simulated world, without the sync: what tests of jobs need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from drivers.fake.model import FakeDatastore
from drivers.fake.ops_model import FakeVolume
from drivers.fake.world import FakeWorld
from drivers.registry import load_opener
from drivers.types import Endpoint, GuestState
from hosts.models import Connection, Datacenter, Host, Source, SourceState
from inventory.models import Disk, Guest, Nic, Placement
from networks.models import VirtualSwitch
from storage.models import Datastore, DatastoreMount


def open_here(connection: Connection, *, deadline_s: float = 0.0) -> AbstractContextManager[Any]:
    """A session in this process, for runners under test."""
    del deadline_s
    endpoint = connection.endpoint()
    return closing(load_opener(endpoint)(endpoint))


@dataclass
class Fleet:
    """A simulated world and its rows."""

    world: FakeWorld
    datacenter: Datacenter
    hosts: dict[str, Host]

    def guest(self, host: str, number: int = 0) -> Guest:
        """A running guest of this host."""
        running = Guest.objects.filter(host=self.hosts[host], state=GuestState.RUNNING.value)
        return running.order_by("name")[number]

    def set_state(self, host: str, state: GuestState, number: int = 0) -> Guest:
        """Somebody else does it, on the hypervisor."""
        guest = Guest.objects.filter(host=self.hosts[host]).order_by("name")[number]
        with self.world.open() as world:
            world.hosts[host].guests[guest.uuid].state = state
        return guest

    def moves(self) -> int:
        """How many were begun on all hosts."""
        with self.world.open() as world:
            return sum(len(host.moves) for host in world.hosts.values())


@contextmanager
def local_store(world: FakeWorld, host: str = "alpha") -> Iterator[FakeDatastore]:
    """The datastore `local` as it is on this host; what the block changes in it is kept."""
    with world.open() as state:
        yield next(store for store in state.hosts[host].datastores if store.name == "local")


def put_theirs(world: FakeWorld, name: str, capacity_bytes: int, *, instead: bool = False, **values: Any) -> bool:
    """Somebody else makes a volume of this name, if it is free; or in place of the one that has it."""
    with local_store(world) as store:
        if name in store.volumes and not instead:
            return False
        store.volumes[name] = FakeVolume(name=name, capacity_bytes=capacity_bytes, digest="theirs", **values)
        return True


def make_fleet(path: Path, *names: str, guests: int = 3, seconds: float = 0.0) -> Fleet:
    """Hosts that all migrate to each other, every guest running.

    Units: seconds a move takes
    """
    world = FakeWorld.create(path, hosts=names, guests=guests)
    with world.open() as state:
        state.migration_seconds = seconds
        for host in state.hosts.values():
            for guest in host.guests.values():
                guest.state, guest.state_reason, guest.snapshot_count = GuestState.RUNNING, "booted", 0
                guest.memory_bytes = 1 << 30
    datacenter = Datacenter.objects.create(name="dc")
    hosts = {name: make_rows(world.endpoint(name), datacenter, name) for name in names}
    return Fleet(world, datacenter, hosts)


def make_rows(endpoint: Endpoint, datacenter: Datacenter, name: str) -> Host:
    """A source, its host and everything on it."""
    now = timezone.now()
    with closing(load_opener(endpoint)(endpoint)) as session:
        snapshot = session.snapshot()
    source = Source.objects.create(
        name=name,
        datacenter=datacenter,
        kind=endpoint.kind,
        transport=endpoint.transport,
        uri=endpoint.uri,
        state=SourceState.OK,
        # Rows are made here; a poll between two of a test's steps would make others. One planned so far ahead that was
        # not read lately would be taken for one whose clock was set back.
        next_inventory_at=now + timedelta(days=1),
        next_states_at=now + timedelta(days=1),
        states_read_at=now,
    )
    fact = snapshot.hosts[0]
    host = Host.objects.create(
        source=source,
        datacenter=datacenter,
        ref=fact.ref,
        uuid=fact.uuid,
        name=name,
        architecture=fact.architecture,
        memory_bytes=fact.memory_bytes,
        evidence_at=now,
    )
    stores = {store.name: _make_mount(datacenter, host, store, now) for store in snapshot.datastores}
    for switch in snapshot.switches:
        VirtualSwitch.objects.create(
            host=host,
            ref=switch.ref,
            uuid=switch.uuid,
            name=switch.name,
            kind=switch.kind,
            bridge=switch.bridge,
            active=switch.active,
            autostart=switch.autostart,
            evidence_at=now,
        )
    for guest in snapshot.guests:
        _make_guest(datacenter, host, guest, stores, now)
    return host


def _make_mount(datacenter: Datacenter, host: Host, fact: Any, now: Any) -> Datastore:
    shared = fact.name == "shared"
    store, _made = Datastore.objects.get_or_create(
        datacenter=datacenter,
        identity=fact.name if shared else f"{host.name}/{fact.name}",
        defaults={
            "name": fact.name,
            "technology": fact.technology,
            "storage_class": fact.storage_class,
            "path": fact.path,
            "shared": shared,
            "evidence_at": now,
        },
    )
    DatastoreMount.objects.create(
        datastore=store,
        host=host,
        ref=fact.ref,
        name=fact.name,
        path=fact.path,
        active=True,
        details={"uuid": fact.uuid},
        evidence_at=now,
    )
    return store


def _make_guest(datacenter: Datacenter, host: Host, fact: Any, stores: dict[str, Datastore], now: Any) -> None:
    guest = Guest.objects.create(
        datacenter=datacenter,
        uuid=fact.uuid,
        host=host,
        ref=fact.ref,
        name=fact.name,
        state=fact.state.value,
        memory_bytes=fact.memory_bytes,
        architecture=fact.architecture,
        evidence_at=now,
    )
    Placement.objects.create(guest=guest, host=host, ref=fact.ref, state=fact.state.value, evidence_at=now)
    for position, disk in enumerate(fact.disks):
        Disk.objects.create(
            guest=guest,
            position=position,
            datastore=stores["shared"],
            target=disk.target,
            device=disk.device,
            source=disk.source,
            source_type=disk.source_type,
        )
    for position, nic in enumerate(fact.nics):
        Nic.objects.create(
            guest=guest, position=position, mac=nic.mac, kind=nic.kind, network=nic.network, bridge=nic.bridge
        )
