"""Settings of a guest: each is set to a value, seen afterwards, and may be set again."""

import time
from collections.abc import Iterator

import pytest

from drivers.errors import Busy, NotFound, Rejected
from drivers.isolation import RemoteSession, SessionPool
from drivers.requests import Effect, SnapshotRef, SnapshotRequest
from drivers.types import GuestFact, PowerAction
from tests.contract.guests import free_guest
from tests.contract.subjects import DEADLINE_S, Subject
from tests.contract.test_reads import UNKNOWN
from tests.contract.test_snapshot_ops import finish, new_stamp

NOW, LATER = Effect.NOW, Effect.AFTER_NEXT_START
MIB = 1 << 20


def guest_of(session: RemoteSession, ref: str) -> GuestFact:
    return next(guest for guest in session.snapshot().guests if guest.ref == ref)


def restart(session: RemoteSession, ref: str) -> None:
    session.power(ref, PowerAction.OFF)
    session.power(ref, PowerAction.START)


@pytest.fixture
def ref(operable: Subject, pool: SessionPool) -> Iterator[str]:
    with free_guest(operable, pool) as ref:
        yield ref


@pytest.fixture
def session(operable: Subject, pool: SessionPool, ref: str) -> Iterator[RemoteSession]:
    with pool.session(operable.endpoint, deadline_s=DEADLINE_S) as session:
        before = guest_of(session, ref)
        hardware = before.hardware
        yield session
        session.set_notes(before.ref, before.title, before.notes)
        session.set_autostart(before.ref, before.autostart)
        session.set_memory(before.ref, before.memory_bytes, hardware.most_memory_bytes)
        session.set_vcpus(before.ref, before.vcpus, hardware.most_vcpus)
        if guest_of(session, before.ref).name != before.name:
            session.rename_guest(before.ref, before.name)
        if guest_of(session, before.ref).state == "off":
            session.power(before.ref, PowerAction.START)
        else:
            restart(session, before.ref)


def test_a_guest_that_is_off_gets_another_name(session: RemoteSession, ref: str) -> None:
    with pytest.raises(Rejected, match="off"):
        session.rename_guest(ref, "another")
    session.power(ref, PowerAction.OFF)
    for _again in range(2):
        session.rename_guest(ref, "another one")
        assert guest_of(session, ref).name == "another one"


@pytest.mark.parametrize("name", ["", "a/b", " x", "x\n", "\x00", "a" * 300])
def test_a_name_that_is_none(session: RemoteSession, ref: str, name: str) -> None:
    before = guest_of(session, ref).name
    session.power(ref, PowerAction.OFF)
    with pytest.raises(Rejected):
        session.rename_guest(ref, name)
    assert guest_of(session, ref).name == before


def test_a_guest_with_snapshots_keeps_its_name(session: RemoteSession, ref: str) -> None:
    session.power(ref, PowerAction.OFF)
    stamp = new_stamp()
    finish(session, ref, stamp, session.create_snapshot(ref, SnapshotRequest("one"), stamp))
    with pytest.raises(Rejected, match="snapshots"):
        session.rename_guest(ref, "another")
    finish(session, ref, stamp, session.delete_snapshot(ref, SnapshotRef("one"), new_stamp()))


def test_title_and_notes(session: RemoteSession, ref: str) -> None:
    for _again in range(2):
        session.set_notes(ref, "Mail & <more>", 'Of "us"\n]]> \N{SNOWMAN}')
        guest = guest_of(session, ref)
        assert (guest.title, guest.notes) == ("Mail & <more>", 'Of "us"\n]]> \N{SNOWMAN}')
    session.set_notes(ref, "", "")
    guest = guest_of(session, ref)
    assert (guest.title, guest.notes) == ("", "")


def test_autostart(session: RemoteSession, ref: str) -> None:
    for on in (True, True, False, False, True):
        session.set_autostart(ref, on)
        assert guest_of(session, ref).autostart is on


def test_less_memory_at_once_and_more_after_the_next_start(session: RemoteSession, ref: str) -> None:
    guest = guest_of(session, ref)
    most = guest.hardware.most_memory_bytes
    assert session.set_memory(ref, most - MIB) is NOW
    assert session.set_memory(ref, most) is NOW
    for _again in range(2):
        assert session.set_memory(ref, most + 4 * MIB) is LATER
    restart(session, ref)
    guest = guest_of(session, ref)
    assert (guest.memory_bytes, guest.hardware.most_memory_bytes) == (most + 4 * MIB, most + 4 * MIB)
    assert session.set_memory(ref, most + 4 * MIB) is NOW


def test_more_virtual_cpus_after_the_next_start(session: RemoteSession, ref: str) -> None:
    most = guest_of(session, ref).hardware.most_vcpus
    assert session.set_vcpus(ref, most) is NOW
    for _again in range(2):
        assert session.set_vcpus(ref, most + 1, most + 2) is LATER
    restart(session, ref)
    guest = guest_of(session, ref)
    assert (guest.vcpus, guest.hardware.most_vcpus) == (most + 1, most + 2)


def test_a_guest_that_is_off_takes_all_at_once(session: RemoteSession, ref: str) -> None:
    guest = guest_of(session, ref)
    session.power(ref, PowerAction.OFF)
    assert session.set_memory(ref, guest.hardware.most_memory_bytes + MIB) is NOW
    assert session.set_vcpus(ref, guest.hardware.most_vcpus + 1) is NOW
    after = guest_of(session, ref)
    assert after.memory_bytes == guest.hardware.most_memory_bytes + MIB
    assert after.vcpus == guest.hardware.most_vcpus + 1


@pytest.mark.parametrize(("memory", "most"), [(0, 0), (-1, 0), (1, 0), (64 * MIB, 32 * MIB)])
def test_no_amount_of_memory(session: RemoteSession, ref: str, memory: int, most: int) -> None:
    with pytest.raises(Rejected):
        session.set_memory(ref, memory, most)


@pytest.mark.parametrize(("vcpus", "most"), [(0, 0), (-1, 0), (100_000, 0), (4, 2), (1, 100_000)])
def test_no_number_of_virtual_cpus(session: RemoteSession, ref: str, vcpus: int, most: int) -> None:
    with pytest.raises(Rejected):
        session.set_vcpus(ref, vcpus, most)


def test_past_its_time_nothing_is_done(session: RemoteSession, ref: str) -> None:
    before = guest_of(session, ref)
    late = time.monotonic()
    for call in (
        lambda: session.set_notes(ref, "late", "late", late),
        lambda: session.set_autostart(ref, not before.autostart, late),
        lambda: session.set_memory(ref, before.memory_bytes // 2, 0, late),
        lambda: session.set_vcpus(ref, before.vcpus + 1, 0, late),
    ):
        with pytest.raises(Busy):
            call()
    after = guest_of(session, ref)
    assert (after.title, after.autostart, after.memory_bytes, after.vcpus, after.hardware.most_vcpus) == (
        before.title,
        before.autostart,
        before.memory_bytes,
        before.vcpus,
        before.hardware.most_vcpus,
    )


@pytest.mark.parametrize("ref", [UNKNOWN, "", "../x"])
def test_a_guest_that_is_not_there(operable: Subject, pool: SessionPool, ref: str) -> None:
    with pool.session(operable.endpoint, deadline_s=DEADLINE_S) as session:
        for call in (
            lambda: session.rename_guest(ref, "a"),
            lambda: session.set_notes(ref, "", ""),
            lambda: session.set_autostart(ref, True),
            lambda: session.set_memory(ref, 64 * MIB),
            lambda: session.set_vcpus(ref, 1),
        ):
            with pytest.raises(NotFound):
                call()
