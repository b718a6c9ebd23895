"""A session to a simulated host."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from drivers.errors import Busy, NotFound, NotSupported, Rejected, Unreachable
from drivers.fake import faults
from drivers.fake.facts import reading_of, snapshot_of
from drivers.fake.fleet import Fleet, is_flapping_down
from drivers.fake.model import FakeFault, FakeGuest, FakeHost, FakeState
from drivers.fake.moves import active_move, arrival_of, cancel_move, last_move, progress_of, start_move
from drivers.fake.ops_define import DefineCalls
from drivers.fake.ops_devices import DeviceCalls
from drivers.fake.ops_edit import EditCalls, apply_waiting
from drivers.fake.ops_networks import NetworkCalls
from drivers.fake.ops_snapshots import SnapshotCalls
from drivers.fake.ops_storage import ContentCalls, StorageCalls
from drivers.fake.watch import FleetWatchCalls, WatchCalls
from drivers.fake.world import FakeWorld, World, find_world
from drivers.types import (
    Capability,
    Endpoint,
    Finding,
    GuestSighting,
    GuestState,
    MigrationPhase,
    MigrationPlan,
    MigrationProgress,
    PowerAction,
    Severity,
    Snapshot,
    StateReading,
    Transport,
)
from drivers.words import gettext_noop as _

_UP = frozenset({GuestState.RUNNING, GuestState.PAUSED, GuestState.SUSPENDED, GuestState.CRASHED})
_POWER: dict[PowerAction, tuple[frozenset[GuestState], GuestState, str]] = {
    PowerAction.START: (frozenset({GuestState.OFF}), GuestState.RUNNING, "booted"),
    PowerAction.SHUTDOWN: (frozenset({GuestState.RUNNING}), GuestState.OFF, "shutdown"),
    PowerAction.RESET: (_UP, GuestState.RUNNING, "booted"),
    PowerAction.OFF: (_UP, GuestState.OFF, "destroyed"),
    PowerAction.SUSPEND: (frozenset({GuestState.RUNNING}), GuestState.PAUSED, "user"),
    PowerAction.RESUME: (frozenset({GuestState.PAUSED}), GuestState.RUNNING, "unpaused"),
}
"""For each action: the states it needs, the state and the reason it leaves."""


def open_session(endpoint: Endpoint) -> FakeFleetSession:
    """Open. Raises: what the world's faults say; NotFound for a host that is not in it."""
    if endpoint.transport is not Transport.FAKE:
        raise Rejected(_("A simulated host is reached by its own address only."))
    world, name = find_world(endpoint.uri)
    session = FakeSession(world, name) if isinstance(world, FakeWorld) else _fleet_session(world, name)
    with session.acting("open"):
        pass
    return session


def _fleet_session(fleet: Fleet, name: str) -> FakeFleetSession:
    return FakeTellingSession(fleet, name) if fleet.events else FakeFleetSession(fleet, name)


class FakeFleetSession:
    """A generated host: reads and power. Each call takes the host's lock for a moment."""

    capabilities = frozenset({Capability.POWER})

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._closed = False
        self._prepared: set[str] = set()

    @contextmanager
    def acting(self, at: str) -> Iterator[tuple[FakeState, FakeHost, FakeFault | None]]:
        """The world for one call, after the faults scripted for it have struck."""
        fault = self._strike(at)
        with self._world.open() as state:
            yield state, self._host(state), fault

    def _strike(self, at: str) -> FakeFault | None:
        with self._world.open() as state:
            host = self._host(state)
            if _is_down(host, time.time()):
                raise Unreachable(_("The host does not answer. Check that it is up and the network reaches it."))
            fault = faults.take_fault(host, at)
        if fault is not None:
            _suffer(fault)
        return fault

    def _host(self, state: FakeState) -> FakeHost:
        host = state.hosts.get(self._name)
        if host is None:
            raise NotFound(_("This simulated host is not in its world."))
        return host

    def snapshot(self) -> Snapshot:
        with self.acting("snapshot") as (state, host, fault):
            elsewhere = [
                guest for other in state.hosts.values() if other is not host for guest in other.guests.values()
            ]
            return snapshot_of(host, _seen(host, fault), time.time(), elsewhere)

    def read_states(self) -> StateReading:
        with self.acting("read_states") as (_state, host, fault):
            return reading_of(host, _seen(host, fault), time.time())

    def sight_guest(self, guest_uuid: str) -> GuestSighting | None:
        with self.acting("sight_guest") as (_state, host, _fault):
            guest = host.guests.get(guest_uuid)
            return _sighting(host, guest) if guest is not None else None

    def is_alive(self) -> bool:
        return not self._closed

    def is_busy(self) -> bool:
        return False

    def close(self) -> None:
        self._closed = True

    def prepare_power(self, guest_ref: str) -> None:
        with self.acting("prepare_power"):
            self._prepared.add(guest_ref)

    def power(self, guest_ref: str, action: PowerAction, not_after: float = math.inf) -> None:
        if guest_ref not in self._prepared:
            self.prepare_power(guest_ref)
        self._prepared.discard(guest_ref)
        with self.acting("power") as (_state, host, _fault):
            if time.monotonic() >= not_after:
                raise Busy(_("The time to do this is over; nothing was done."))
            guest = _find(host, guest_ref)
            needs, leaves, reason = _POWER[action]
            if guest.state in needs and (active_move(host, guest.uuid) or not guest.persistent):
                raise Busy(_("Another operation of this guest is under way, such as a migration; wait for its end."))
            if guest.state not in needs:
                raise Rejected(
                    _("The guest is %(state)s; %(action)s is not possible now."),
                    state=guest.state.value,
                    action=action.value,
                )
            guest.state, guest.state_reason = leaves, reason
            if leaves is GuestState.OFF:
                apply_waiting(guest)
            if leaves is GuestState.RUNNING and action is not PowerAction.RESUME:
                guest.started_at = time.time()


class FakeTellingSession(FakeFleetSession, FleetWatchCalls):
    """A generated host that tells its events."""

    capabilities = frozenset({Capability.POWER, Capability.EVENTS})


class FakeSession(
    FakeFleetSession,
    SnapshotCalls,
    EditCalls,
    DeviceCalls,
    DefineCalls,
    StorageCalls,
    ContentCalls,
    NetworkCalls,
    WatchCalls,
):
    """A host of a world in a file: also migrations between its hosts, and every operation."""

    capabilities = frozenset(Capability)

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self._started: set[str] = set()

    def is_busy(self) -> bool:
        """As libvirt's: while a move that this session started goes on."""
        with self._world.open() as state:
            host = state.hosts.get(self._name)
            self._started = {uuid for uuid in self._started if host and active_move(host, uuid)}
        return bool(self._started)

    def check_migration(self, plan: MigrationPlan) -> tuple[Finding, ...]:
        with self.acting("check_migration") as (state, host, _fault):
            guest = host.guests.get(plan.guest_uuid)
            return tuple(_check(state, host, guest, _target_name(plan)))

    def start_migration(self, plan: MigrationPlan, stamp: str, not_after: float) -> None:
        with self.acting("start_migration") as (state, host, _fault):
            guest = _find(host, plan.guest_uuid)
            if time.monotonic() >= not_after:
                raise Busy(_("The time to begin this attempt is over; nothing was begun."))
            start_move(state, host, guest, _target_name(plan), stamp, time.time())
            self._started.add(guest.uuid)

    def find_migration(self, guest_uuid: str, stamp: str) -> bool:
        with self.acting("find_migration") as (_state, host, _fault):
            move = active_move(host, guest_uuid)
            return move is not None and move.stamp == stamp

    def poll_migration(self, guest_uuid: str, stamp: str) -> MigrationProgress:
        with self.acting("poll_migration") as (_state, host, _fault):
            move = last_move(host, guest_uuid, stamp)
            guest = host.guests.get(guest_uuid)
            if move is None and guest is not None and guest.stamp == stamp:
                return arrival_of(guest)
            return progress_of(move, time.time()) if move else MigrationProgress(MigrationPhase.ENDED)

    def cancel_migration(self, guest_uuid: str, stamp: str) -> None:
        with self.acting("cancel_migration") as (_state, host, _fault):
            cancel_move(host, guest_uuid, stamp, time.time())

    def clear_stamp(self, guest_uuid: str, stamp: str) -> None:
        with self.acting("clear_stamp") as (_state, host, _fault):
            guest = host.guests.get(guest_uuid)
            if guest is not None and guest.stamp == stamp:
                guest.stamp = ""


def _is_down(host: FakeHost, now: float) -> bool:
    return host.down_until > now or is_flapping_down(host, now)


def _suffer(fault: FakeFault) -> None:
    if fault.do == faults.HANG:
        threading.Event().wait()  # for ever: only the end of the process ends it
    if fault.do == faults.SLOW:
        time.sleep(fault.seconds)
    error = faults.error_of(fault)
    if error is not None:
        raise error


def _seen(host: FakeHost, fault: FakeFault | None) -> dict[str, FakeGuest]:
    """The guests a read shows; a stale one still has those that have left, and not yet those that came."""
    if fault is None or fault.do != faults.STALE:
        return host.guests
    return {k: g for k, g in host.guests.items() if g.state_reason != "migrated"} | host.stale_guests


def _find(host: FakeHost, guest_uuid: str) -> FakeGuest:
    guest = host.guests.get(guest_uuid)
    if guest is None:
        raise NotFound(_("This guest is not on this host any more."))
    return guest


def _sighting(host: FakeHost, guest: FakeGuest) -> GuestSighting:
    return GuestSighting(
        ref=guest.uuid,
        uuid=guest.uuid,
        name=guest.name,
        state=guest.state,
        state_reason=guest.state_reason,
        persistent=guest.persistent,
        stamp=guest.stamp,
        job_active=active_move(host, guest.uuid) is not None or not guest.persistent,
    )


def _target_name(plan: MigrationPlan) -> str:
    if plan.target.transport is not Transport.FAKE:
        raise NotSupported(_("A simulated guest moves only to a simulated host."))
    return find_world(plan.target.uri)[1]


def _check(state: FakeState, host: FakeHost, guest: FakeGuest | None, target: str) -> Iterator[Finding]:
    if guest is None or guest.state not in {GuestState.RUNNING, GuestState.PAUSED}:
        yield Finding(
            "guest_runs", Severity.ERROR, _("The guest does not run on this host."), _("Refresh, then try again.")
        )
        return
    if active_move(host, guest.uuid) is not None:
        yield Finding(
            "no_other_job", Severity.ERROR, _("Another operation of this guest is under way."), _("Wait for it.")
        )
    if guest.snapshot_count:
        yield Finding(
            "no_snapshots", Severity.ERROR, _("The guest has snapshots, which cannot move with it."), _("Delete them.")
        )
    if target not in state.hosts or state.hosts[target].down_until > time.time():
        yield Finding(
            "target_answers", Severity.ERROR, _("The target host does not answer."), _("Check that it is up.")
        )
