"""Snapshots: taken, gone back to and deleted, and nothing twice when asked twice."""

import time
import uuid as uuids
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from drivers.errors import Busy, NotFound, NotSupported, Rejected
from drivers.fake.world import FakeWorld
from drivers.isolation import RemoteSession, SessionPool
from drivers.ops import error_in
from drivers.requests import RevertOutcome, SnapshotKind, SnapshotRef, SnapshotRequest, TaskPhase, TaskProgress
from drivers.types import Endpoint, GuestSnapshotFact, PowerAction, Severity, Transport
from tests.contract.guests import free_guest
from tests.contract.subjects import DEADLINE_S, Subject, wait_until
from tests.contract.test_reads import UNKNOWN

ENDED, RUNNING, TASK_UNKNOWN = TaskPhase.ENDED, TaskPhase.RUNNING, TaskPhase.UNKNOWN


def new_stamp() -> str:
    return f"op-{uuids.uuid4().hex}"


def finish(session: RemoteSession, ref: str, stamp: str, reading: TaskProgress) -> TaskProgress:
    """Read on to the end, which is as asked."""
    readings = [reading]

    def ended() -> bool:
        if readings[-1].phase is RUNNING:
            readings.append(session.poll_task(ref, stamp))
        return readings[-1].phase is ENDED

    wait_until(ended, "the end of the operation")
    assert readings[-1].error_code == ""
    return readings[-1]


def snapshots(session: RemoteSession, ref: str) -> dict[str, GuestSnapshotFact]:
    (guest,) = (guest for guest in session.snapshot().guests if guest.ref == ref)
    assert guest.snapshot_count == len(guest.hardware.snapshots)
    return {fact.name: fact for fact in guest.hardware.snapshots}


def take(session: RemoteSession, ref: str, name: str, notes: str = "") -> str:
    stamp = new_stamp()
    finish(session, ref, stamp, session.create_snapshot(ref, SnapshotRequest(name, notes), stamp))
    return stamp


def delete(session: RemoteSession, ref: str, name: str, *, children: bool = False) -> None:
    stamp = new_stamp()
    finish(session, ref, stamp, session.delete_snapshot(ref, SnapshotRef(name), stamp, children))


@pytest.fixture
def ref(operable: Subject, pool: SessionPool) -> Iterator[str]:
    with free_guest(operable, pool) as ref:
        yield ref


@pytest.fixture
def session(operable: Subject, pool: SessionPool, ref: str) -> Iterator[RemoteSession]:
    with pool.session(operable.endpoint, deadline_s=DEADLINE_S) as session:
        yield session
        for name in snapshots(session, ref):
            delete(session, ref, name)


def carries(session: RemoteSession, ref: str, stamp: str) -> bool:
    """Whether the guest is claimed by just this stamp; an empty one: by none."""
    return session.find_revert(ref, SnapshotRef("of no matter"), stamp) is RevertOutcome.NOT_DONE


def test_taken_they_are_seen_as_a_tree(session: RemoteSession, ref: str) -> None:
    session.prepare_operation(ref)
    assert session.check_snapshot(ref, SnapshotRequest("before")) == ()
    take(session, ref, "before", "<b>1</b> & 2")
    take(session, ref, "after it")
    found = snapshots(session, ref)
    assert {name: fact.parent for name, fact in found.items()} == {"before": "", "after it": "before"}
    assert (found["before"].notes, found["before"].memory, found["before"].external) == ("<b>1</b> & 2", True, False)
    assert [name for name, fact in found.items() if fact.current] == ["after it"]


def test_asked_twice_there_is_one(session: RemoteSession, ref: str) -> None:
    stamp, request = new_stamp(), SnapshotRequest("once")
    finish(session, ref, stamp, session.create_snapshot(ref, request, stamp))
    before = snapshots(session, ref)
    assert carries(session, ref, ""), "what it was for is done"
    assert session.create_snapshot(ref, request, stamp).phase is ENDED
    session.claim_guest(ref, "op-another")
    take(session, ref, "another")
    assert session.create_snapshot(ref, request, stamp).phase is ENDED, "whatever came between"
    assert snapshots(session, ref).keys() == {"once", "another"}
    assert snapshots(session, ref)["once"].created_at == before["once"].created_at


def test_a_name_that_is_taken(session: RemoteSession, ref: str) -> None:
    take(session, ref, "taken")
    findings = session.check_snapshot(ref, SnapshotRequest("taken"))
    assert [(f.check, f.severity) for f in findings] == [("snapshot_name", Severity.ERROR)]
    with pytest.raises(Rejected, match="name"):
        session.create_snapshot(ref, SnapshotRequest("taken"), new_stamp())
    assert len(snapshots(session, ref)) == 1


@pytest.mark.parametrize("name", ["", "a/b", "../x", "x\n", "\x00"])
def test_a_name_that_is_none(session: RemoteSession, ref: str, name: str) -> None:
    assert {f.check for f in session.check_snapshot(ref, SnapshotRequest(name))} == {"snapshot_name"}
    with pytest.raises(Rejected):
        session.create_snapshot(ref, SnapshotRequest(name), new_stamp())
    assert snapshots(session, ref) == {}


def test_past_its_time_nothing_is_taken(session: RemoteSession, ref: str) -> None:
    take(session, ref, "there")
    late = time.monotonic()
    with pytest.raises(Busy):
        session.create_snapshot(ref, SnapshotRequest("late"), new_stamp(), late)
    with pytest.raises(Busy):
        session.delete_snapshot(ref, SnapshotRef("there"), new_stamp(), False, late)
    with pytest.raises(Busy):
        session.claim_guest(ref, "op-late", late)
    assert not carries(session, ref, "op-late")
    assert snapshots(session, ref).keys() == {"there"}


def test_back_to_one_and_never_twice(session: RemoteSession, ref: str) -> None:
    take(session, ref, "before")
    session.power(ref, PowerAction.SUSPEND)
    snapshot, stamp = SnapshotRef("before"), new_stamp()
    assert session.check_revert(ref, snapshot) == ()
    with pytest.raises(Rejected):
        session.revert_snapshot(ref, snapshot, stamp)
    session.claim_guest(ref, stamp)
    assert carries(session, ref, stamp)
    assert session.find_revert(ref, snapshot, stamp) is RevertOutcome.NOT_DONE
    finish(session, ref, stamp, session.revert_snapshot(ref, snapshot, stamp))
    assert session.find_revert(ref, snapshot, stamp) is RevertOutcome.DONE
    sighting = session.sight_guest(ref)
    assert sighting is not None
    assert (sighting.state, sighting.state_reason) == ("running", "from snapshot")
    assert carries(session, ref, ""), "the claim went with what the guest was"
    with pytest.raises(Rejected):
        session.revert_snapshot(ref, snapshot, stamp)
    assert snapshots(session, ref)["before"].current
    session.power(ref, PowerAction.OFF)
    assert session.find_revert(ref, snapshot, stamp) is RevertOutcome.UNCLEAR, "it ran when it was taken"
    session.power(ref, PowerAction.START)


def test_back_to_what_is_not_there(session: RemoteSession, ref: str) -> None:
    stamp = new_stamp()
    session.claim_guest(ref, stamp)
    assert {f.check for f in session.check_revert(ref, SnapshotRef("gone"))} == {"snapshot_here"}
    with pytest.raises((Rejected, NotFound)):
        session.revert_snapshot(ref, SnapshotRef("gone"), stamp)
    assert carries(session, ref, stamp), "nothing was done"


def test_deleted_its_children_go_to_its_parent(session: RemoteSession, ref: str) -> None:
    for name in ("one", "two", "three"):
        take(session, ref, name)
    delete(session, ref, "two")
    assert {name: fact.parent for name, fact in snapshots(session, ref).items()} == {"one": "", "three": "one"}
    delete(session, ref, "two")  # gone already
    delete(session, ref, "one", children=True)
    assert snapshots(session, ref) == {}


def test_another_of_the_same_name_is_left_alone(session: RemoteSession, ref: str) -> None:
    take(session, ref, "weekly")
    made_at = snapshots(session, ref)["weekly"].created_at
    assert made_at is not None
    older = SnapshotRef("weekly", made_at - timedelta(days=7))
    assert session.delete_snapshot(ref, older, new_stamp()).phase is ENDED
    assert {f.check for f in session.check_revert(ref, older)} == {"snapshot_here"}
    assert session.check_revert(ref, SnapshotRef("weekly", made_at)) == ()
    assert "weekly" in snapshots(session, ref)
    stamp = new_stamp()
    finish(session, ref, stamp, session.delete_snapshot(ref, SnapshotRef("weekly", made_at), stamp))
    assert snapshots(session, ref) == {}


def test_what_cannot_go_together_is_said_before(session: RemoteSession, ref: str) -> None:
    quiet = SnapshotRequest("quiet", quiesce=True, kind=SnapshotKind.INTERNAL)
    assert "snapshot_quiesce" in {f.check for f in session.check_snapshot(ref, quiet) if f.severity is Severity.ERROR}
    with pytest.raises(Rejected):
        session.create_snapshot(ref, quiet, new_stamp())
    outside = SnapshotRequest("outside", memory=True, kind=SnapshotKind.EXTERNAL)
    assert Severity.ERROR in {f.severity for f in session.check_snapshot(ref, outside)}
    assert snapshots(session, ref) == {}


def test_a_task_nobody_knows(session: RemoteSession, ref: str) -> None:
    assert session.poll_task(ref, "op-nobody") == TaskProgress(TASK_UNKNOWN)


@pytest.mark.parametrize("ref", [UNKNOWN, "", "../x"])
def test_a_guest_that_is_not_there(operable: Subject, pool: SessionPool, ref: str) -> None:
    snapshot = SnapshotRef("a")
    with pool.session(operable.endpoint, deadline_s=DEADLINE_S) as session:
        for call in (
            lambda: session.check_snapshot(ref, SnapshotRequest("a")),
            lambda: session.create_snapshot(ref, SnapshotRequest("a"), "op-1"),
            lambda: session.check_revert(ref, snapshot),
            lambda: session.claim_guest(ref, "op-1"),
            lambda: session.find_revert(ref, snapshot, "op-1"),
            lambda: session.revert_snapshot(ref, snapshot, "op-1"),
            lambda: session.delete_snapshot(ref, snapshot, "op-1"),
        ):
            with pytest.raises(NotFound):
                call()


def test_it_lasts_and_nothing_else_may_touch_the_guest(tmp_path: Path, pool: SessionPool) -> None:
    world = FakeWorld.create(tmp_path / "world.json", guests=2)
    ref = next(iter(world.guests("alpha")))
    with world.open() as state:
        state.task_seconds = 20.0
    stamp = new_stamp()
    with pool.session(world.endpoint("alpha"), deadline_s=DEADLINE_S) as session:
        reading = session.create_snapshot(ref, SnapshotRequest("slow"), stamp)
        assert reading.phase is RUNNING
        assert session.create_snapshot(ref, SnapshotRequest("slow"), stamp).phase is RUNNING
        with pytest.raises(Busy):
            session.create_snapshot(ref, SnapshotRequest("other"), new_stamp())
        with world.open() as state:
            state.hosts["alpha"].tasks[0].seconds = 0.0
        finish(session, ref, stamp, reading)
        assert snapshots(session, ref).keys() == {"slow"}


def test_what_fails_at_its_end_says_so_and_may_be_asked_again(tmp_path: Path, pool: SessionPool) -> None:
    world = FakeWorld.create(tmp_path / "world.json", guests=2)
    ref = next(iter(world.guests("alpha")))
    world.add_fault("alpha", at="task", do="rejected")
    stamp, request = new_stamp(), SnapshotRequest("once")
    with pool.session(world.endpoint("alpha"), deadline_s=DEADLINE_S) as session:
        reading = session.create_snapshot(ref, request, stamp)
        assert reading.phase is ENDED
        assert isinstance(error_in(reading), Rejected)
        assert world.fired("alpha", at="task") == 1
        assert snapshots(session, ref) == {}
        assert error_in(finish(session, ref, stamp, session.create_snapshot(ref, request, stamp))) is None
        assert snapshots(session, ref).keys() == {"once"}


def test_what_is_not_declared_is_not_supported(pool: SessionPool) -> None:
    fleet = Endpoint(kind="fake", transport=Transport.FAKE, uri="fake://fleet/4?guests=1")
    with pool.session(fleet, deadline_s=DEADLINE_S) as session:
        ref = session.snapshot().guests[0].ref
        with pytest.raises(NotSupported):
            session.check_snapshot(ref, SnapshotRequest("a"))
        with pytest.raises(NotSupported):
            session.create_snapshot(ref, SnapshotRequest("a"), "op-1")
