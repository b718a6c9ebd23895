"""How a simulated migration goes on by itself. Pure functions of the world and the clock; nothing runs in between.

As with a peer-to-peer migration, it goes on whether or not anybody asks.
"""

from __future__ import annotations

import msgspec

from drivers.errors import Busy, NotFound, Rejected
from drivers.fake import faults
from drivers.fake.model import FakeGuest, FakeHost, FakeMove, FakeState
from drivers.types import GuestState, MigrationPhase, MigrationProgress
from drivers.words import gettext_noop as _

PREPARING_UNTIL = 0.1
SWITCHING_FROM = 0.95
CABLE_CUT_S = 6.5
OUTAGE_S = 1.0
DOWNTIME_MS = 27  # as measured on an idle guest
_SENTENCES = {
    faults.REFUSED: _("The target host does not accept this guest."),
    faults.TARGET_KILLED: _("The target host stopped answering during the migration. The guest stays where it was."),
    faults.SOURCE_KILLED: _("The connection to the source host broke during the migration."),
    faults.CABLE_CUT: _("The connection between the two hosts broke during the migration."),
    faults.LOST: _("The guest stopped on the target host right after the switch."),
}


def start_move(state: FakeState, host: FakeHost, guest: FakeGuest, target: str, stamp: str, now: float) -> None:
    """Begin. Raises: Busy, Rejected as the contract says."""
    running = active_move(host, guest.uuid)
    if running is not None:
        if running.stamp == stamp:
            return
        raise Busy(_("Another migration of this guest is under way."))
    if guest.stamp == stamp:
        raise Rejected(_("This attempt was begun before and runs no more; it is not begun twice."))
    _require_movable(state, guest, target)
    guest.stamp = stamp
    fault = faults.take_fault(host, "migration")
    if fault is not None and fault.do == faults.REFUSED:
        raise Rejected(_SENTENCES[faults.REFUSED])
    move = FakeMove(
        guest_uuid=guest.uuid,
        stamp=stamp,
        target=target,
        started_at=now,
        seconds=state.migration_seconds,
        bytes_total=guest.memory_bytes,
    )
    if fault is not None:
        move.fault, move.fault_after, move.fault_seconds = fault.do, fault.after, fault.seconds
    host.moves = [old for old in host.moves if old.guest_uuid != guest.uuid] + [move]
    _put_incoming(state.hosts[target], guest)


def _require_movable(state: FakeState, guest: FakeGuest, target: str) -> None:
    if guest.state not in {GuestState.RUNNING, GuestState.PAUSED}:
        raise Rejected(_("The guest is not running on this host."))
    if guest.snapshot_count:
        raise Rejected(_("The guest has snapshots; delete them, then migrate it."))
    if target not in state.hosts:
        raise Rejected(_("The target host does not answer the source host."))
    there = state.hosts[target].guests.get(guest.uuid)
    if there is not None and there.state is not GuestState.OFF:
        raise Rejected(_("The target host already has a guest with this UUID."))


def _put_incoming(host: FakeHost, guest: FakeGuest) -> None:
    incoming = msgspec.structs.replace(guest, state=GuestState.PAUSED, state_reason="migration", persistent=False)
    host.guests[guest.uuid] = incoming


def active_move(host: FakeHost, guest_uuid: str) -> FakeMove | None:
    return next((move for move in host.moves if move.guest_uuid == guest_uuid and not move.ended), None)


def last_move(host: FakeHost, guest_uuid: str, stamp: str) -> FakeMove | None:
    return next((move for move in host.moves if (move.guest_uuid, move.stamp) == (guest_uuid, stamp)), None)


def settle(state: FakeState, now: float) -> bool:
    """Apply every end that is due by now. Returns whether the world changed."""
    due = [(host, move) for host in state.hosts.values() for move in host.moves if _is_due(move, now)]
    for host, move in due:
        _end(state, host, move, now)
    return bool(due)


def _is_due(move: FakeMove, now: float) -> bool:
    if move.ended:
        return False
    if move.cancelled:
        return True
    passed = (now - move.started_at) / max(move.seconds, 1e-9)
    if move.fault == faults.STALL:
        return False
    if move.fault == faults.CABLE_CUT:
        cut_at = move.started_at + move.fault_after * move.seconds
        return now >= cut_at + (move.fault_seconds or CABLE_CUT_S)
    if move.fault in {faults.TARGET_KILLED, faults.SOURCE_KILLED}:
        return passed >= move.fault_after
    return passed >= 1.0


def _end(state: FakeState, host: FakeHost, move: FakeMove, now: float) -> None:
    move.ended = True
    target = state.hosts[move.target]
    guest = host.guests[move.guest_uuid]
    if move.fault == faults.LOST and not move.cancelled:
        _switch(host, target, guest, GuestState.OFF, "crashed")
    elif move.fault == faults.BOTH_RUNNING and not move.cancelled:
        target.guests[guest.uuid] = msgspec.structs.replace(guest, state_reason="migrated")
    elif move.fault in {faults.TARGET_KILLED, faults.SOURCE_KILLED, faults.CABLE_CUT} or move.cancelled:
        target.guests.pop(guest.uuid, None)
    else:
        _switch(host, target, guest, guest.state, "migrated")
    if not move.cancelled:
        move.error = _SENTENCES.get(move.fault, "")
    if move.fault == faults.SOURCE_KILLED:
        host.down_until = now + (move.fault_seconds or OUTAGE_S)
        host.moves.remove(move)
    if move.fault == faults.TARGET_KILLED:
        target.down_until = now + (move.fault_seconds or OUTAGE_S)


def _switch(host: FakeHost, target: FakeHost, guest: FakeGuest, state: GuestState, reason: str) -> None:
    target.guests[guest.uuid] = msgspec.structs.replace(guest, state=state, state_reason=reason)
    host.stale_guests[guest.uuid] = host.guests.pop(guest.uuid)


def progress_of(move: FakeMove, now: float) -> MigrationProgress:
    """What a poll would read."""
    elapsed_ms = int((now - move.started_at) * 1000)
    if move.ended:
        return MigrationProgress(
            MigrationPhase.ENDED, error=move.error, cancelled=move.cancelled, elapsed_ms=int(move.seconds * 1000)
        )
    share = _share_done(move, now)
    if share < PREPARING_UNTIL:
        return MigrationProgress(MigrationPhase.PREPARING, elapsed_ms=elapsed_ms)
    processed = int(move.bytes_total * share)
    return MigrationProgress(
        phase=MigrationPhase.SWITCHING if share >= SWITCHING_FROM else MigrationPhase.COPYING,
        bytes_total=move.bytes_total,
        bytes_processed=processed,
        bytes_remaining=move.bytes_total - processed,
        rate_bytes_per_s=int(move.bytes_total / max(move.seconds, 1e-9)),
        dirty_rate_bytes_per_s=4096 * 256,
        iteration=1 + int(share * 3),
        expected_downtime_ms=300,
        elapsed_ms=elapsed_ms,
    )


def arrival_of(guest: FakeGuest) -> MigrationProgress:
    """What the target tells of a move that is over."""
    return MigrationProgress(
        MigrationPhase.ENDED,
        bytes_total=guest.memory_bytes,
        bytes_processed=guest.memory_bytes,
        iteration=3,
        downtime_ms=DOWNTIME_MS,
    )


def _share_done(move: FakeMove, now: float) -> float:
    share = min((now - move.started_at) / max(move.seconds, 1e-9), 1.0)
    return min(share, move.fault_after) if move.fault in {faults.STALL, faults.CABLE_CUT} else share


def cancel_move(host: FakeHost, guest_uuid: str, stamp: str, now: float) -> None:
    """Ask to abort; the world's next settling ends it. Raises: NotFound, Rejected as the contract says."""
    move = active_move(host, guest_uuid)
    if move is None or move.stamp != stamp:
        raise NotFound(_("This migration is not under way on this host."))
    if _share_done(move, now) >= SWITCHING_FROM:
        raise Rejected(_("It is too late to cancel: the guest is already switching to the target host."))
    move.cancelled = True
