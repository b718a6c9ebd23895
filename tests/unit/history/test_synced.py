"""Whatever hosts, people and clocks do: as of a moment history says what the inventory showed then."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from access.roles import Role
from drivers.types import AgentFact, GuestFact, GuestHardware, GuestState, PortGroupFact, Snapshot
from history.models import (
    AgentRevision,
    DatastoreRevision,
    GuestName,
    GuestRevision,
    GuestStay,
    HostRevision,
    MountRevision,
    SwitchRevision,
)
from history.selectors import (
    datastores_as_of,
    guest_names_as_of,
    guests_as_of,
    hardware_of,
    hosts_as_of,
    mounts_as_of,
    stays_of,
    switches_as_of,
)
from hosts.lease import Lease
from hosts.models import Host, Source
from inventory.clock import TOLERATED
from inventory.models import Guest, GuestDetails
from inventory.services import place_guest
from inventory.sync import apply_look, apply_snapshot, apply_states
from networks.models import VirtualSwitch
from storage.models import Datastore, DatastoreMount
from tests.examples import examples
from tests.factories import make_user
from tests.facts import (
    GIB,
    START,
    datastore_fact,
    guest_fact,
    host_fact,
    make_source,
    nic_fact,
    state_fact,
    states,
    switch_fact,
    uuid_of,
)

INTERVALS = (
    GuestStay,
    GuestRevision,
    GuestName,
    AgentRevision,
    HostRevision,
    DatastoreRevision,
    MountRevision,
    SwitchRevision,
)
NAMES = ("alpha", "beta")
GUESTS = ("one", "two", "three")


@dataclass
class World:
    """Two hosts, and what stands on them; changed by the steps of a test."""

    now: datetime = START
    guests: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    hosts: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in NAMES})
    stores: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in NAMES})
    switches: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in NAMES})

    def snapshot(self, host: str, at: datetime, *, complete: bool = True) -> Snapshot:
        shared = {"path": "/srv", "uuid": uuid_of("pool"), **self.stores[host]}
        return Snapshot(
            read_started_at=at,
            complete=complete,
            hosts=(host_fact(host, **self.hosts[host]),),
            guests=tuple(called(name, where, how) for (name, where), how in self.guests.items() if where == host),
            datastores=() if self.stores[host].get("gone") else (datastore_fact("srv", host, **shared),),
            switches=() if self.switches[host].get("gone") else (switch_fact("lan", host, **self.switches[host]),),
        )


def called(name: str, host: str, how: dict[str, Any]) -> GuestFact:
    facts = {key: value for key, value in how.items() if key != "called"}
    return replace(guest_fact(name, host, **facts), name=how.get("called", name))


SOME = st.sampled_from
ACTS = ("run", "stop", "gone", "move", "change", "agent")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), SOME(NAMES), st.integers(0, 40), st.booleans()),
        st.tuples(st.just("states"), SOME(NAMES), st.integers(0, 40)),
        st.tuples(st.just("look"), SOME(NAMES), SOME(GUESTS)),
        st.tuples(
            st.just("guest"), SOME(GUESTS), SOME(NAMES), SOME(("run", "stop", "gone", "move", "change", "agent"))
        ),
        st.tuples(st.just("addresses"), SOME(GUESTS), st.integers(0, 3)),
        st.tuples(st.just("host"), SOME(NAMES), st.integers(1, 3)),
        st.tuples(st.just("store"), SOME(NAMES), SOME(("gone", "back", "change", "level"))),
        st.tuples(st.just("switch"), SOME(NAMES), SOME(("gone", "back", "change"))),
        st.tuples(st.just("job"), SOME(GUESTS), SOME(NAMES)),
        st.tuples(st.just("clock"), st.integers(-400, 4000)),
    ),
    min_size=5,
    max_size=40,
)


class Story:
    """Applies steps, and keeps what the inventory showed after each."""

    def __init__(self, clock: Any) -> None:
        self.world = World()
        self.sources = {name: make_source(name) for name in NAMES}
        self.shown: dict[datetime, Any] = {}
        self.counter = 0
        self.heard: dict[str, datetime] = {}  # when each host last told anything
        clock.setattr(timezone, "now", lambda: self.world.now)

    def run(self, steps: list[tuple[Any, ...]]) -> None:
        for step in steps:
            self.counter += 1
            getattr(self, f"do_{step[0]}")(*step[1:])

    def keep(self, at: datetime) -> None:
        """What was kept of later moments is not what history says of them: a read may count from before."""
        self.shown = {moment: shown for moment, shown in self.shown.items() if moment < at}
        self.shown[self.world.now] = shown_now()

    def tick(self) -> datetime:
        self.world.now += timedelta(seconds=10)
        return self.world.now

    def hear(self, *hosts: str) -> datetime:
        at = self.tick()
        self.heard |= dict.fromkeys(hosts, at)
        return at

    def do_read(self, host: str, seconds_ago: int, complete: bool) -> None:
        at = self.hear(host) - timedelta(seconds=seconds_ago)
        source = Source.objects.get(pk=self.sources[host].pk)
        apply_snapshot(source, self.world.snapshot(host, at, complete=complete), 0)
        self.keep(at)

    def do_states(self, host: str, seconds_ago: int) -> None:
        at = self.hear(host) - timedelta(seconds=seconds_ago)
        facts = [
            state_fact(name, where, state=how.get("state", GuestState.RUNNING), state_reason="")
            for (name, where), how in self.world.guests.items()
            if where == host
        ]
        reading = states(0, *facts)
        source = Source.objects.get(pk=self.sources[host].pk)
        apply_states(source, type(reading)(at, True, reading.guests, ()), 0)
        self.keep(at)

    def do_look(self, host: str, name: str) -> None:
        how = self.world.guests.get((name, host))
        facts = [state_fact(name, host, state=how.get("state", GuestState.RUNNING))] if how is not None else []
        reading = states(0, *facts)
        source = Source.objects.get(pk=self.sources[host].pk)
        at = self.hear(host)
        apply_look(source, type(reading)(at, False, reading.guests, ()), [uuid_of(name)], Lease(source.pk, 0))
        self.keep(at)

    def do_guest(self, name: str, host: str, what: str) -> None:
        guests = self.world.guests
        how = guests.setdefault((name, host), {})
        if what == "gone":
            del guests[name, host]
        elif what == "move":
            other = next(one for one in NAMES if one != host)
            guests[name, other] = guests.pop((name, host))
        elif what == "agent":
            how["agent"] = AgentFact(hostname=f"{name}-{self.counter % 3}")
        elif what == "change":
            how |= {"vcpus": self.counter % 5 + 1, "notes": f"step {self.counter}"}
            how["hardware"] = GuestHardware(balloon=f"kind {self.counter % 3}")
            how["called"] = f"{name} {self.counter // 4}"
        else:
            how["state"] = GuestState.RUNNING if what == "run" else GuestState.OFF

    def do_addresses(self, name: str, number: int) -> None:
        for (guest, _host), how in self.world.guests.items():
            if guest == name:
                addresses = (f"10.0.0.{number}",) if number else ()
                how["nics"] = (nic_fact(addresses=addresses, addresses_from="arp" if number else ""),)

    def do_host(self, host: str, number: int) -> None:
        self.world.hosts[host] = {"hypervisor_version": f"7.{number}"}

    def do_store(self, host: str, what: str) -> None:
        change: dict[str, dict[str, Any]] = {
            "gone": {"gone": True},
            "back": {},
            "change": {"format": str(self.counter)},
        }
        change["level"] = {"available_bytes": self.counter * GIB}
        self.world.stores[host] = change[what]

    def do_switch(self, host: str, what: str) -> None:
        groups = (PortGroupFact(name=f"vlan{self.counter}", default=False),)
        change: dict[str, dict[str, Any]] = {"gone": {"gone": True}, "back": {}, "change": {"port_groups": groups}}
        self.world.switches[host] = change[what]

    def do_job(self, name: str, host: str) -> None:
        """A task of ours moved the guest, and saw it there."""
        guest = Guest.objects.filter(uuid=uuid_of(name)).first()
        target = Host.objects.filter(name=host).first()
        if guest is None or target is None:
            return
        at = self.hear(*NAMES)
        for where in NAMES:
            self.world.guests.pop((name, where), None)
        self.world.guests[name, host] = {}
        place_guest(guest=guest, host=target, ref=uuid_of(name), state=GuestState.RUNNING, evidence_at=at)
        self.keep(at)

    def do_clock(self, seconds: int) -> None:
        """Ahead for a while, or set back: then everything is read again, as it would be."""
        self.world.now += timedelta(seconds=seconds)
        if seconds >= 0:
            return
        if any(self.is_waited_for(name) for name in NAMES) or not any(
            at > self.world.now for at in self.heard.values()
        ):
            self.world.now -= timedelta(seconds=seconds)
            return
        # Not every source was read ahead of its time: each is set right when it was.
        back = self.world.now
        for name in NAMES:
            self.do_read(name, 0, True)
        self.keep(back)

    def is_waited_for(self, host: str) -> bool:
        """A step that puts what this host told so little ahead, or only what was looked up, is not repaired."""
        reads = read_times(self.sources[host])
        ahead = bool(reads) and max(reads) > self.world.now + TOLERATED + timedelta(seconds=10 * len(NAMES))
        return not ahead and self.heard.get(host, self.world.now) > self.world.now


def read_times(source: Source) -> list[datetime]:
    row = Source.objects.get(pk=source.pk)
    return [at for at in (row.inventory_read_at, row.states_read_at) if at]


def shown_now() -> dict[str, Any]:
    """The inventory as far as history has it."""
    guests = {
        row.pk: (row.name, row.vcpus, row.memory_bytes, row.state, row.host_id, row.addresses, balloon_of(row))
        for row in Guest.objects.filter(missing_since=None)
    }
    there = {"missing_since": None}
    return {
        "guests": guests,
        "hosts": {row.pk: row.hypervisor_version for row in Host.objects.filter(**there)},
        "stores": {row.pk: (row.shared, row.active, row.details) for row in Datastore.objects.filter(**there)},
        "mounts": {row.pk: (row.host_id, row.datastore_id) for row in DatastoreMount.objects.filter(**there)},
        "switches": {
            row.pk: sorted(row.port_groups.values_list("name", flat=True))
            for row in VirtualSwitch.objects.filter(**there)
        },
    }


def balloon_of(guest: Guest) -> str:
    details = GuestDetails.objects.filter(pk=guest.pk).first()
    return str(details.facts.get("balloon", "")) if details else ""


def shown_then(at: datetime, viewer: Any) -> dict[str, Any]:
    made = {row.object_id: row for row in guests_as_of(at, user=viewer)}
    stays = stays_of(made, at, user=viewer)
    hardware = hardware_of(made.values(), user=viewer)
    guests: dict[UUID, Any] = {}
    for one, row in made.items():
        stay, build = stays[one], hardware[row.hardware]
        of_stay = (stay.state, stay.host_id, stay.addresses)
        guests[one] = (row.name, row.vcpus, row.memory_bytes, *of_stay, build.get("balloon", ""))
    assert {row.object_id: row.name for row in guest_names_as_of(at, user=viewer)} == {
        row.object_id: row.name for row in made.values()
    }
    stores = datastores_as_of(at, user=viewer)
    return {
        "guests": guests,
        "hosts": {row.object_id: row.facts["hypervisor_version"] for row in hosts_as_of(at, user=viewer)},
        "stores": {row.object_id: (row.shared, row.active, row.facts.get("details", {})) for row in stores},
        "mounts": {row.object_id: (row.host_id, row.datastore_id) for row in mounts_as_of(at, user=viewer)},
        "switches": {
            row.object_id: sorted(group["name"] for group in row.facts.get("port_groups", []))
            for row in switches_as_of(at, user=viewer)
        },
    }


@pytest.fixture
def viewer(db: None) -> Any:
    return make_user(Role.VIEWER, "vera")


@given(steps=STEPS)
@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
def test_as_of_a_moment_is_what_was_shown_then(viewer: Any, steps: list[tuple[Any, ...]]) -> None:
    with pytest.MonkeyPatch.context() as clock, transaction.atomic():
        story = Story(clock)
        story.run(steps)
        for moment, shown in story.shown.items():
            assert shown_then(moment, viewer) == shown, moment
        assert shown_then(story.world.now, viewer) == shown_now()
        assert not any(model._default_manager.filter(valid_from__gt=story.world.now).exists() for model in INTERVALS)
        transaction.set_rollback(True)  # the next one begins anew


def test_a_poll_writes_a_name_when_it_is_another(viewer: Any) -> None:
    source, names = make_source("alpha"), ("a", "a", "b", "a")
    for minute, name in enumerate(names):
        fact = guest_fact("one", "alpha", notes=f"minute {minute}")
        at = START + timedelta(minutes=minute)
        apply_snapshot(source, Snapshot(at, True, (host_fact("alpha"),), (replace(fact, name=name),), (), ()), 0)
    written = GuestName.objects.order_by("valid_from").values_list("valid_from", "name")
    assert list(written) == [(START + timedelta(minutes=minute), names[minute]) for minute in (0, 2, 3)]
