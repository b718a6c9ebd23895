"""A simulated world that is read as sources are, and workers for its jobs: acts on guests from asking to the page."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from django.utils import timezone

from drivers.fake.model import FakeDisk, FakeGuest
from drivers.fake.world import FakeWorld
from drivers.registry import load_opener
from drivers.types import GuestState
from hosts.models import Datacenter, Source, SourceState
from inventory.models import Guest
from inventory.sync import apply_snapshot


@dataclass
class Site:
    """One host, `alpha`, with a source of the same name."""

    world: FakeWorld
    source: Source

    def read(self) -> None:
        """Read the source in full."""
        self.source.refresh_from_db()
        endpoint = self.source.endpoint()
        with closing(load_opener(endpoint)(endpoint)) as session:
            apply_snapshot(self.source, session.snapshot(), self.source.lease_token)

    def guest(self, number: int = 0) -> Guest:
        """By name, with host and source."""
        return Guest.objects.select_related("host__source").order_by("name")[number]

    def really(self, guest: Guest) -> FakeGuest:
        """As it is on its host."""
        return self.world.guests("alpha")[guest.uuid]

    def set_state(self, guest: Guest, state: GuestState) -> None:
        with self.world.open() as world:
            world.hosts["alpha"].guests[guest.uuid].state = state
        self.read()


def make_site(path: Path, guests: int = 2) -> Site:
    """Every guest runs and has a CD drive."""
    world = FakeWorld.create(path, hosts=("alpha",), guests=guests)
    with world.open() as state:
        for guest in state.hosts["alpha"].guests.values():
            guest.state, guest.state_reason = GuestState.RUNNING, "booted"
            guest.memory_bytes, guest.vcpus, guest.title, guest.notes = 1 << 30, 2, "", ""
            guest.disks = guest.disks[:1]
            guest.disks.append(FakeDisk(target="sda", device="cdrom", bus="sata", format="raw", read_only=True))
    endpoint = world.endpoint("alpha")
    source = Source.objects.create(
        name="alpha",
        datacenter=Datacenter.objects.create(name="dc"),
        kind=endpoint.kind,
        transport=endpoint.transport,
        uri=endpoint.uri,
        state=SourceState.OK,
        next_inventory_at=timezone.now(),
        next_states_at=timezone.now(),
    )
    site = Site(world, source)
    site.read()
    return site
