"""Identity under random histories: moves, copies, equal UUIDs, sources that come and go, late and partial reads.

The world is what is true: copies of guests on hosts of one datacenter, and a stranger in another one who announces
whatever UUID he likes. Sources read it, in any order, and late. After each step some things must hold; and once nothing
changes any more and everybody was read, the inventory must say what is true.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from access.models import User
from access.roles import Role
from drivers.types import GuestState, Snapshot
from hosts.lease import Lease
from hosts.models import Host, HostSighting, Source, SourceState
from hosts.services import pause_source, remove_source, resume_source
from inventory.models import Guest, Placement
from inventory.sync import apply_look, apply_snapshot, apply_states
from tests.examples import examples
from tests.factories import make_user
from tests.facts import guest_fact, host_fact, make_source, snapshot, state_fact, states, uuid_of
from tests.unit.inventory.test_sync import identity_writes

HOSTS = ("alpha", "beta", "gamma")
STRANGER = "stranger"
UUIDS = tuple(uuid_of(name) for name in ("one", "two", "three"))
ZERO = "00000000-0000-0000-0000-000000000000"
WAYS = ("tcp", "ssh")
ROUNDS = 6

a_host = st.sampled_from(HOSTS)
a_way = st.sampled_from(WAYS)
a_uuid = st.sampled_from((*UUIDS, UUIDS[0], ZERO))
a_state = st.sampled_from((GuestState.RUNNING, GuestState.RUNNING, GuestState.OFF, GuestState.PAUSED))


@dataclass(slots=True)
class Copy:
    """One definition on one host."""

    uuid: str
    ref: str
    state: GuestState


@dataclass
class World:
    copies: dict[str, list[Copy]] = field(default_factory=lambda: {name: [] for name in (*HOSTS, STRANGER)})

    def all(self, *hosts: str) -> list[tuple[str, Copy]]:
        return [(host, copy) for host in hosts or HOSTS for copy in self.copies[host]]


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.undo = transaction.atomic()
        self.undo.__enter__()
        self.boss: User = make_user(Role.ADMIN)
        self.world = World()
        self.second = self.number = 0
        self.sources: dict[tuple[str, str], Source] = {}
        self.late: dict[tuple[str, str], Snapshot] = {}
        self.domain_of: dict[UUID, UUID] = {}  # of every guest's row there ever was
        self.row_of: dict[tuple[Any, ...], UUID] = {}  # whose tags and history these are
        for host in (*HOSTS, STRANGER):
            self.add_source(host, "tcp")

    def teardown(self) -> None:
        try:
            self.calm_down()
        finally:
            transaction.set_rollback(True)
            self.undo.__exit__(None, None, None)

    # -- what may happen in the world

    @rule(host=a_host, uuid=a_uuid, state=a_state)
    def define(self, host: str, uuid: str, state: GuestState) -> None:
        self.number += 1
        self.world.copies[host].append(Copy(uuid, f"{uuid}-{self.number}", state))

    @rule(uuid=a_uuid, state=a_state)
    def announce(self, uuid: str, state: GuestState) -> None:
        """The stranger says that he has it."""
        self.number += 1
        self.world.copies[STRANGER].append(Copy(uuid, f"{uuid}-{self.number}", state))

    @precondition(lambda self: self.world.all())
    @rule(data=st.data(), state=a_state)
    def switch(self, data: st.DataObject, state: GuestState) -> None:
        _host, copy = data.draw(st.sampled_from(self.world.all()))
        copy.state = state

    @precondition(lambda self: self.world.all())
    @rule(data=st.data(), to=a_host, leaves=st.booleans())
    def move(self, data: st.DataObject, to: str, leaves: bool) -> None:
        """By somebody else. A definition may stay behind; at the target one that is off may be there already."""
        host, copy = data.draw(st.sampled_from(self.world.all()))
        if host == to:
            return
        there = [one for one in self.world.copies[to] if one.uuid == copy.uuid]
        if any(one.state == GuestState.RUNNING for one in there):
            return
        for one in there:
            self.world.copies[to].remove(one)
        self.world.copies[to].append(replace(copy, ref=copy.ref))
        if leaves:
            copy.state = GuestState.OFF
        else:
            self.world.copies[host].remove(copy)

    @precondition(lambda self: self.world.all())
    @rule(data=st.data())
    def undefine(self, data: st.DataObject) -> None:
        host, copy = data.draw(st.sampled_from(self.world.all()))
        self.world.copies[host].remove(copy)

    # -- who reads it

    @rule(host=a_host, way=a_way)
    def add_source(self, host: str, way: str) -> None:
        if (host, way) not in self.sources:
            self.number += 1
            datacenter = "elsewhere" if host == STRANGER else "dc"
            self.sources[host, way] = make_source(f"{host}-{way}-{self.number}", datacenter=datacenter)

    @precondition(lambda self: len(self.sources) > 1)
    @rule(host=a_host, way=a_way)
    def remove_source(self, host: str, way: str) -> None:
        source = self.sources.pop((host, way), None)
        self.late.pop((host, way), None)
        if source is not None:
            heirs = HostSighting.objects.filter(host__source=source).exclude(source__state=SourceState.PAUSED)
            if not heirs.exists():  # what only it knew goes with it
                gone = set(Guest.objects.filter(host__source=source).values_list("pk", flat=True))
                self.row_of = {key: pk for key, pk in self.row_of.items() if pk not in gone}
            remove_source(source=source, confirmation=source.name, by=self.boss)

    @rule(host=a_host, way=a_way)
    def pause_or_resume(self, host: str, way: str) -> None:
        source = self.sources.get((host, way))
        if source is None:
            return
        source.refresh_from_db()
        if source.state == SourceState.PAUSED:
            resume_source(source=source, by=self.boss)
            Source.objects.filter(pk=source.pk).update(state=SourceState.OK)
        else:
            pause_source(source=source, by=self.boss)
            self.late.pop((host, way), None)  # its lease is gone

    @rule(host=st.sampled_from((*HOSTS, STRANGER)), way=a_way)
    def read(self, host: str, way: str) -> None:
        if self.reads(host, way):
            self.apply((host, way), self.snapshot(host))

    @rule(host=a_host, way=a_way, shown=st.integers(0, 2))
    def read_partly(self, host: str, way: str, shown: int) -> None:
        if self.reads(host, way):
            whole = self.snapshot(host)
            part = snapshot(self.second, *whole.guests[:shown], hosts=whole.hosts, complete=False)
            self.apply((host, way), part)

    @rule(host=a_host, way=a_way)
    def begin_to_read(self, host: str, way: str) -> None:
        if self.reads(host, way):
            self.late.setdefault((host, way), self.snapshot(host))

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def end_to_read(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(sorted(self.late)))
        self.apply(which, self.late.pop(which))

    @rule(host=a_host, way=a_way)
    def read_states(self, host: str, way: str) -> None:
        if self.reads(host, way):
            self.second += 1
            shown = [state_fact(ref=c.ref, uuid=c.uuid, host=host, state=c.state) for c in self.world.copies[host]]
            source = self.sources[host, way]
            source.refresh_from_db()
            apply_states(source, states(self.second, *shown), source.lease_token)

    @rule(host=a_host, way=a_way, uuid=a_uuid)
    def look(self, host: str, way: str, uuid: str) -> None:
        """A host told that something happened to this one, and is asked of it."""
        if self.reads(host, way):
            self.second += 1
            source = self.sources[host, way]
            source.refresh_from_db()
            copies = [copy for copy in self.world.copies[host] if copy.uuid == uuid]
            shown = [state_fact(ref=c.ref, uuid=c.uuid, host=host, state=c.state) for c in copies]
            known = Placement.objects.filter(guest__uuid=uuid, host__name=host).values_list("ref", flat=True)
            refs = {*known, *(copy.ref for copy in copies)}
            lease = Lease(source.pk, source.lease_token)
            apply_look(source, states(self.second, *shown, complete=False), sorted(refs), lease)

    def reads(self, host: str, way: str) -> bool:
        source = self.sources.get((host, way))
        return source is not None and Source.objects.filter(pk=source.pk).exclude(state=SourceState.PAUSED).exists()

    def snapshot(self, host: str) -> Snapshot:
        self.second += 1
        facts = [
            guest_fact(f"copy {copy.ref}", host, ref=copy.ref, uuid=copy.uuid, state=copy.state)
            for copy in self.world.copies[host]
        ]
        return snapshot(self.second, *facts, hosts=(host_fact(host),))

    def apply(self, which: tuple[str, str], facts: Snapshot) -> None:
        source = self.sources[which]
        source.refresh_from_db()
        apply_snapshot(source, facts, source.lease_token)

    # -- what holds after each step

    @invariant()
    def nothing_crosses_a_trust_domain(self) -> None:
        for guest in Guest.objects.select_related("host__source"):
            assert guest.datacenter_id == guest.host.datacenter_id == guest.host.source.datacenter_id
            assert self.domain_of.setdefault(guest.pk, guest.datacenter_id) == guest.datacenter_id
        for word in Placement.objects.select_related("guest", "host"):
            assert word.guest.datacenter_id == word.host.datacenter_id

    @invariant()
    def several_rows_are_a_conflict_that_says_so(self) -> None:
        rows: dict[tuple[Any, str], list[Guest]] = {}
        for guest in Guest.objects.all():
            rows.setdefault((guest.datacenter_id, guest.uuid), []).append(guest)
        for group in rows.values():
            assert all(bool(guest.conflict) == (len(group) > 1) for guest in group)
            assert [guest.twin for guest in group].count(0) <= 1

    @invariant()
    def a_guest_keeps_its_row(self) -> None:
        """By UUID in its domain; one without a usable UUID by its place."""
        rows = {("uuid", g.datacenter_id, g.uuid): g.pk for g in Guest.objects.filter(twin=0)}
        rows |= {
            ("place", word.host_id, word.ref): word.guest_id for word in Placement.objects.filter(ref__startswith=ZERO)
        }
        for key, pk in self.row_of.items():
            assert key[0] == "place" or rows.get(key) == pk
        for key, pk in rows.items():
            assert self.row_of.setdefault(key, pk) == pk

    @invariant()
    def a_host_is_read_by_one_source(self) -> None:
        for host in HOSTS:
            assert Host.objects.filter(name=host, missing_since=None).count() <= 1
        for seen in HostSighting.objects.select_related("host"):
            assert seen.source_id != seen.host.source_id

    # -- what holds in the end

    def calm_down(self) -> None:
        self.late.clear()
        for _ in range(ROUNDS):
            for host, way in sorted(self.sources):
                self.read(host, way)
        self.check_places()
        self.check_guests("dc", self.shown(*HOSTS))
        self.check_guests("elsewhere", self.shown(STRANGER))
        with identity_writes() as written:
            for host, way in sorted(self.sources):
                self.read(host, way)
        assert written == []

    def shown(self, *hosts: str) -> list[tuple[str, Copy]]:
        """The copies on hosts that somebody reads."""
        return [(host, copy) for host, copy in self.world.all(*hosts) if any(self.reads(host, way) for way in WAYS)]

    def check_places(self) -> None:
        for host in (*HOSTS, STRANGER):
            ways = [way for way in WAYS if self.reads(host, way)]
            if ways:
                (row,) = Host.objects.filter(name=host, missing_since=None)
                words = set(Placement.objects.filter(host=row).values_list("ref", "state"))
                assert words == {(copy.ref, copy.state.value) for copy in self.world.copies[host]}
                assert HostSighting.objects.filter(host=row, source__state=SourceState.OK).count() == len(ways) - 1

    def check_guests(self, datacenter: str, copies: list[tuple[str, Copy]]) -> None:
        """No guest is lost, none is doubled, and those that run at once are told apart."""
        by_uuid: dict[str, list[tuple[str, Copy]]] = {}
        for host, copy in copies:
            if copy.uuid != ZERO:
                by_uuid.setdefault(copy.uuid, []).append((host, copy))
        for uuid, group in by_uuid.items():
            rows = Guest.objects.select_related("host").filter(datacenter__name=datacenter, uuid=uuid)
            read = [row for row in rows if row.missing_since is None and self.is_read(row.host)]
            running = {(host, copy.ref) for host, copy in group if copy.state == GuestState.RUNNING}
            assert {(row.host.name, row.ref) for row in read if row.state == "running"} >= running
            assert read, "the guest is lost"
            assert len(read) <= max(1, len(group))
        nameless = [copy for _host, copy in copies if copy.uuid == ZERO]
        rows = Guest.objects.filter(datacenter__name=datacenter, name__startswith=f"copy {ZERO}", missing_since=None)
        assert len([row for row in rows.select_related("host") if self.is_read(row.host)]) == len(nameless)

    def is_read(self, host: Host) -> bool:
        return any(self.reads(host.name, way) for way in WAYS)


@pytest.mark.django_db
def test_whatever_happens_identity_holds() -> None:
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=examples(25), stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
