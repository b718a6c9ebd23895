"""Reading: every driver reports complete, consistent facts, and the same ones twice."""

import uuid as uuids
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from drivers.isolation import RemoteSession, SessionPool
from drivers.types import Capability, DatastoreFact, GuestFact, GuestState, Snapshot
from tests.contract.subjects import DEADLINE_S, Subject

UNKNOWN = "00000000-0000-4000-8000-00000000dead"


def settled(snapshot: Snapshot) -> Snapshot:
    """Without what changes by itself: time, room that is used, addresses as they are learnt, and the order."""
    return replace(
        snapshot,
        read_started_at=datetime.min.replace(tzinfo=UTC),
        guests=tuple(sorted((_settled_guest(guest) for guest in snapshot.guests), key=lambda guest: guest.ref)),
        datastores=tuple(map(_settled_store, snapshot.datastores)),
    )


def _settled_store(store: DatastoreFact) -> DatastoreFact:
    volumes = tuple(replace(volume, allocated_bytes=0) for volume in store.volumes)
    return replace(store, available_bytes=0, volumes=volumes)


def _settled_guest(guest: GuestFact) -> GuestFact:
    return replace(guest, nics=tuple(replace(nic, addresses=(), addresses_from="") for nic in guest.nics))


def test_it_can_do_what_it_declares_and_declares_what_it_can(subject: Subject, pool: SessionPool) -> None:
    with pool.session(subject.endpoint, deadline_s=DEADLINE_S) as session:
        assert session.capabilities == subject.capabilities
        assert session.is_alive()
        assert session.is_busy() is False
    assert subject.capabilities <= frozenset(Capability)


def test_a_snapshot_is_complete_and_its_references_resolve(subject: Subject, pool: SessionPool) -> None:
    before = datetime.now(UTC)
    with pool.session(subject.endpoint, deadline_s=DEADLINE_S) as session:
        snapshot = session.snapshot()
    assert snapshot.complete
    assert before <= snapshot.read_started_at <= datetime.now(UTC)
    (host,) = snapshot.hosts
    assert str(uuids.UUID(host.uuid)) == host.uuid
    assert host.cpu_threads >= host.cpu_cores >= host.cpu_sockets >= 1
    assert host.memory_bytes > 0
    facts: list[Any] = [*snapshot.guests, *snapshot.datastores, *snapshot.switches]
    assert snapshot.guests
    assert snapshot.datastores
    assert snapshot.switches
    assert {fact.host_ref for fact in facts} == {host.ref}
    assert max(Counter(fact.ref for fact in facts).values()) == 1
    assert all(fact.name and str(uuids.UUID(fact.uuid)) == fact.uuid for fact in facts)
    networks = {switch.name for switch in snapshot.switches}
    assert {nic.network for guest in snapshot.guests for nic in guest.nics if nic.network} <= networks
    assert all(guest.vcpus > 0 and guest.memory_bytes > 0 for guest in snapshot.guests)


def test_two_snapshots_agree(subject: Subject, pool: SessionPool) -> None:
    with pool.session(subject.endpoint, deadline_s=DEADLINE_S) as session:
        first, second = session.snapshot(), session.snapshot()
    assert settled(first) == settled(second)
    assert first.read_started_at < second.read_started_at


def test_states_agree_with_the_snapshot_and_counters_go_forward(subject: Subject, pool: SessionPool) -> None:
    with pool.session(subject.endpoint, deadline_s=DEADLINE_S) as session:
        snapshot, first, second = session.snapshot(), session.read_states(), session.read_states()
    assert first.complete
    assert {(g.ref, g.host_ref, g.uuid, g.name, g.state) for g in first.guests} == {
        (g.ref, g.host_ref, g.uuid, g.name, g.state) for g in snapshot.guests
    }
    assert [host.ref for host in first.hosts] == [host.ref for host in snapshot.hosts]
    (earlier,), (later,) = first.hosts, second.hosts
    assert later.cpu_total_ns >= earlier.cpu_total_ns > 0
    assert later.cpu_total_ns >= later.cpu_busy_ns >= earlier.cpu_busy_ns
    assert 0 <= later.memory_used_bytes <= later.memory_bytes == snapshot.hosts[0].memory_bytes
    loads = {guest.ref: guest.load for guest in second.guests}
    for guest in first.guests:
        now = loads[guest.ref]
        assert (guest.load is not None) == (guest.state in {GuestState.RUNNING, GuestState.PAUSED})
        assert guest.load is None or (now is not None and now.cpu_time_ns >= guest.load.cpu_time_ns)


def test_states_need_no_snapshot_before(subject: Subject, pool: SessionPool) -> None:
    with pool.session(subject.endpoint, deadline_s=DEADLINE_S) as session:
        states = session.read_states()
        assert states.hosts[0].ref == session.snapshot().hosts[0].ref


def test_a_guest_is_sighted(subject: Subject, pool: SessionPool) -> None:
    with pool.session(subject.endpoint, deadline_s=DEADLINE_S) as session:
        guest = next(guest for guest in session.snapshot().guests if guest.uuid == subject.power_guest)
        sighting = session.sight_guest(guest.uuid)
    assert sighting is not None
    assert (sighting.ref, sighting.uuid, sighting.name) == (guest.ref, guest.uuid, guest.name)
    assert (sighting.state, sighting.state_reason) == (guest.state, guest.state_reason)
    assert (sighting.persistent, sighting.stamp, sighting.job_active) == (True, "", False)


def test_what_is_unknown_is_not_sighted(subject: Subject, pool: SessionPool) -> None:
    with pool.session(subject.endpoint, deadline_s=DEADLINE_S) as session:
        assert [session.sight_guest(name) for name in (UNKNOWN, "", "no uuid", "x" * 10_000)] == [None] * 4


def test_many_reads_at_once(subject: Subject, pool: SessionPool) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def read(number: int) -> int:
        with pool.session(subject.endpoint, deadline_s=DEADLINE_S) as session:
            return len(session.snapshot().guests if number % 4 else _states(session))

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(read, range(24)))) == 1


def _states(session: RemoteSession) -> tuple[object, ...]:
    return session.read_states().guests
