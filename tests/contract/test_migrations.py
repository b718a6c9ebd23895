"""Live migration: what is declared works, and each end is the one that was measured."""

import time

import pytest

from drivers.errors import Busy, DriverError, NotFound, NotSupported, Rejected
from drivers.isolation import SessionPool
from drivers.types import Capability, GuestState, MigrationPhase, MigrationPlan, PowerAction, Severity
from tests.contract.subjects import DEADLINE_S, Movable, Subject, soon, wait_for_copying, wait_for_end
from tests.contract.test_reads import UNKNOWN

ORDER = [MigrationPhase.PREPARING, MigrationPhase.COPYING, MigrationPhase.SWITCHING, MigrationPhase.ENDED]


def test_there_and_back(movable: Movable, pool: SessionPool) -> None:
    uuid = movable.guest_uuid
    with (
        pool.session(movable.source, deadline_s=DEADLINE_S) as one,
        pool.session(movable.target, deadline_s=DEADLINE_S) as two,
    ):
        ways = [(one, two, movable.target, "attempt-there"), (two, one, movable.source, "attempt-back")]
        for source, target, to, stamp in ways:
            assert source.check_migration(movable.plan(to)) == ()
            source.start_migration(movable.plan(to), stamp, soon())
            readings = wait_for_end(source, uuid, stamp)
            assert (readings[-1].error, readings[-1].cancelled) == ("", False)
            phases = [ORDER.index(reading.phase) for reading in readings]
            assert phases == sorted(phases), "a phase never goes back"
            assert source.sight_guest(uuid) is None
            arrived = target.sight_guest(uuid)
            assert arrived is not None
            assert (arrived.state, arrived.persistent, arrived.stamp) == (GuestState.RUNNING, True, stamp)
            assert not source.find_migration(uuid, stamp)
            assert len(movable.running_on()) == 1
            whole = target.poll_migration(uuid, stamp)
            assert whole.phase is MigrationPhase.ENDED
            assert whole.downtime_ms is not None, "the target knows what the whole move came to"
            assert whole.bytes_processed
            assert target.poll_migration(uuid, "somebody-elses").downtime_ms is None
            target.clear_stamp(uuid, "somebody-elses")
            assert _stamp(target.sight_guest(uuid)) == stamp
            target.clear_stamp(uuid, stamp)
            target.clear_stamp(uuid, stamp)
            assert _stamp(target.sight_guest(uuid)) == ""


def _stamp(sighting: object) -> str:
    return str(getattr(sighting, "stamp", None))


def test_on_the_way_both_hosts_say_so_and_nothing_else_may_touch_it(movable: Movable, pool: SessionPool) -> None:
    uuid, stamp = movable.guest_uuid, "attempt-1"
    movable.slow()
    with (
        pool.session(movable.source, deadline_s=DEADLINE_S) as source,
        pool.session(movable.target, deadline_s=DEADLINE_S) as target,
    ):
        source.start_migration(movable.plan(), stamp, soon())
        reading = wait_for_copying(source, uuid, stamp)
        assert reading.bytes_total
        assert reading.bytes_remaining
        assert reading.bytes_processed
        assert reading.downtime_ms is None
        here, there = source.sight_guest(uuid), target.sight_guest(uuid)
        assert here is not None
        assert there is not None
        assert (here.state, here.stamp, here.job_active) == (GuestState.RUNNING, stamp, True)
        assert (there.state, there.stamp, there.job_active) == (GuestState.PAUSED, stamp, True)
        assert (here.persistent, there.persistent) == (True, False)
        assert source.find_migration(uuid, stamp)
        assert not source.find_migration(uuid, "other")
        assert source.is_busy()
        source.start_migration(movable.plan(), stamp, soon())  # again: nothing happens
        with pytest.raises(Busy):
            source.start_migration(movable.plan(), "other", soon())
        with pytest.raises(Busy):
            source.power(uuid, PowerAction.SUSPEND)
        with pytest.raises(NotFound):
            source.cancel_migration(uuid, "other")
        findings = source.check_migration(movable.plan())
        assert [f.check for f in findings if f.severity is Severity.ERROR] == ["no_other_job"]
        assert source.read_states().complete
        source.cancel_migration(uuid, stamp)
        wait_for_end(source, uuid, stamp)
        source.clear_stamp(uuid, stamp)


def test_cancelled_on_the_way(movable: Movable, pool: SessionPool) -> None:
    uuid, stamp = movable.guest_uuid, "attempt-1"
    movable.slow()
    with (
        pool.session(movable.source, deadline_s=DEADLINE_S) as source,
        pool.session(movable.target, deadline_s=DEADLINE_S) as target,
    ):
        source.start_migration(movable.plan(), stamp, soon())
        wait_for_copying(source, uuid, stamp)
        source.cancel_migration(uuid, stamp)
        last = wait_for_end(source, uuid, stamp)[-1]
        assert (last.cancelled, last.error) == (True, "")
        here = source.sight_guest(uuid)
        assert here is not None
        assert (here.state, here.stamp, here.job_active) == (GuestState.RUNNING, stamp, False)
        assert target.sight_guest(uuid) is None
        with pytest.raises(NotFound):
            source.cancel_migration(uuid, stamp)
        with pytest.raises(Rejected):
            source.start_migration(movable.plan(), stamp, soon())  # an attempt is one shot
        source.clear_stamp(uuid, stamp)
    assert len(movable.running_on()) == 1


def test_past_its_time_nothing_is_begun(movable: Movable, pool: SessionPool) -> None:
    uuid = movable.guest_uuid
    with pool.session(movable.source, deadline_s=DEADLINE_S) as source:
        with pytest.raises(Busy) as raised:
            source.start_migration(movable.plan(), "attempt-1", time.monotonic())
        assert raised.value.message.endswith(".")
        here = source.sight_guest(uuid)
        assert here is not None
        assert (here.state, here.job_active, here.stamp) == (GuestState.RUNNING, False, "")
        source.start_migration(movable.plan(), "attempt-1", soon())
        wait_for_end(source, uuid, "attempt-1")


def test_refused_at_once(movable: Movable, pool: SessionPool) -> None:
    uuid, stamp = movable.guest_uuid, "attempt-1"
    target = movable.refuse()
    with pool.session(movable.source, deadline_s=DEADLINE_S) as source:
        with pytest.raises(Rejected) as raised:
            source.start_migration(movable.plan(target), stamp, soon())
        assert raised.value.message.endswith(".")
        here = source.sight_guest(uuid)
        assert here is not None
        assert (here.state, here.job_active) == (GuestState.RUNNING, False)
        assert not source.find_migration(uuid, stamp)
        assert source.poll_migration(uuid, stamp).phase is MigrationPhase.ENDED
        source.clear_stamp(uuid, stamp)
    assert len(movable.running_on()) == 1


def test_a_guest_that_does_not_run_cannot_move(movable: Movable, pool: SessionPool) -> None:
    uuid = movable.other_uuid
    plan = MigrationPlan(uuid, uuid, movable.target)
    with pool.session(movable.other_host, deadline_s=DEADLINE_S) as session:
        session.power(uuid, PowerAction.OFF)
        assert "guest_runs" in {finding.check for finding in session.check_migration(plan)}
        with pytest.raises(Rejected):
            session.start_migration(plan, "attempt-1", soon())
        session.power(uuid, PowerAction.START)


def test_a_guest_that_is_not_there(movable: Movable, pool: SessionPool) -> None:
    plan = MigrationPlan(UNKNOWN, UNKNOWN, movable.target)
    with pool.session(movable.source, deadline_s=DEADLINE_S) as source:
        assert {f.severity for f in source.check_migration(plan)} == {Severity.ERROR}
        with pytest.raises(NotFound):
            source.start_migration(plan, "attempt-1", soon())
        with pytest.raises(NotFound):
            source.cancel_migration(UNKNOWN, "attempt-1")
        assert source.find_migration(UNKNOWN, "attempt-1") is False
        assert source.poll_migration(UNKNOWN, "attempt-1").phase is MigrationPhase.ENDED
        source.clear_stamp(UNKNOWN, "attempt-1")


def test_what_is_not_declared_is_not_supported(immovable: Subject, pool: SessionPool) -> None:
    assert Capability.LIVE_MIGRATION not in immovable.capabilities
    uuid = immovable.power_guest
    plan = MigrationPlan(uuid, uuid, immovable.endpoint)
    with pool.session(immovable.endpoint, deadline_s=DEADLINE_S) as session:
        calls = [
            lambda: session.check_migration(plan),
            lambda: session.start_migration(plan, "a", soon()),
            lambda: session.find_migration(uuid, "a"),
            lambda: session.poll_migration(uuid, "a"),
            lambda: session.cancel_migration(uuid, "a"),
            lambda: session.clear_stamp(uuid, "a"),
        ]
        for call in calls:
            with pytest.raises(DriverError) as raised:
                call()  # type: ignore[no-untyped-call]
            assert type(raised.value) is NotSupported
