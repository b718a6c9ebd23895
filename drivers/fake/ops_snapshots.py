"""Snapshots of simulated guests, with the rules of libvirt 9.0: internal ones in qcow2 images only, no way back to
external ones."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator

import msgspec

from core.decoding import decode_json
from drivers.errors import Busy, NotFound, Rejected
from drivers.fake.model import FakeGuest, FakeHost
from drivers.fake.ops_model import FakeSnapshot
from drivers.fake.ops_tasks import (
    ENDED,
    UP,
    TaskCalls,
    begin,
    find_guest,
    in_time,
    reading_of,
    require_idle,
    running_reading,
)
from drivers.fake.ops_volumes import volumes_in
from drivers.requests import RevertOutcome, SnapshotKind, SnapshotRef, SnapshotRequest, TaskProgress
from drivers.types import Finding, Severity
from drivers.words import gettext_noop as _


class SnapshotCalls(TaskCalls):
    def check_snapshot(self, guest_ref: str, request: SnapshotRequest) -> tuple[Finding, ...]:
        with self.acting("check_snapshot") as (_state, host, _fault):
            return tuple(_check(host, find_guest(host, guest_ref), request))

    def create_snapshot(
        self, guest_ref: str, request: SnapshotRequest, stamp: str, not_after: float = math.inf
    ) -> TaskProgress:
        with self.acting("create_snapshot") as (state, host, _fault):
            guest = find_guest(host, guest_ref)
            if running := running_reading(host, stamp):
                return running
            if any((one.name, one.stamp) == (request.name, stamp) for one in guest.snapshots):
                return ENDED
            _refuse_errors(_check(host, guest, request))
            in_time(not_after)
            guest.claim = stamp
            task = begin(state, host, guest.uuid, stamp, guest.memory_bytes)
            if not task.error:
                _take(guest, request, stamp)
                guest.claim = ""
            return reading_of(task)

    def check_revert(self, guest_ref: str, snapshot: SnapshotRef) -> tuple[Finding, ...]:
        with self.acting("check_revert") as (_state, host, _fault):
            return tuple(_check_revert(host, find_guest(host, guest_ref), snapshot))

    def claim_guest(self, guest_ref: str, stamp: str, not_after: float = math.inf) -> None:
        with self._editing("claim_guest", guest_ref, not_after) as (_host, guest):
            guest.claim = stamp

    def revert_snapshot(
        self, guest_ref: str, snapshot: SnapshotRef, stamp: str, not_after: float = math.inf
    ) -> TaskProgress:
        with self.acting("revert_snapshot") as (state, host, _fault):
            guest = find_guest(host, guest_ref)
            if running := running_reading(host, stamp):
                return running
            if guest.claim != stamp:
                raise Rejected(_("This attempt to revert was made before, or another has begun; nothing was done."))
            _refuse_errors(_check_revert(host, guest, snapshot))
            found = _find(guest, snapshot)
            if found is None:
                raise NotFound(_("This snapshot is not on this host any more."))
            in_time(not_after)
            task = begin(state, host, guest.uuid, stamp, guest.memory_bytes)
            if not task.error:
                host.guests[guest.uuid] = _as_it_was(guest, found)
            return reading_of(task)

    def find_revert(self, guest_ref: str, snapshot: SnapshotRef, stamp: str) -> RevertOutcome:
        with self.acting("find_revert") as (_state, host, _fault):
            guest = find_guest(host, guest_ref)
            require_idle(host, guest)
            if guest.claim == stamp:
                return RevertOutcome.NOT_DONE
            found = _find(guest, snapshot)
            is_there = found is not None and guest.current_snapshot == found.name and found.state == guest.state
            return RevertOutcome.DONE if is_there else RevertOutcome.UNCLEAR

    def delete_snapshot(
        self,
        guest_ref: str,
        snapshot: SnapshotRef,
        stamp: str,
        children: bool = False,
        not_after: float = math.inf,
    ) -> TaskProgress:
        with self.acting("delete_snapshot") as (state, host, _fault):
            guest = find_guest(host, guest_ref)
            if running := running_reading(host, stamp):
                return running
            found = _find(guest, snapshot)
            if found is None:
                return ENDED
            require_idle(host, guest)
            in_time(not_after)
            task = begin(state, host, guest.uuid, stamp)
            if not task.error:
                _delete(guest, found, children=children)
            return reading_of(task)


def _take(guest: FakeGuest, request: SnapshotRequest, stamp: str) -> None:
    guest.snapshots.append(
        FakeSnapshot(
            name=request.name,
            parent=guest.current_snapshot,
            created_at=time.time(),
            state=guest.state.value,
            notes=request.notes,
            memory=_has_memory(guest, request),
            external=_kind_of(guest, request) is SnapshotKind.EXTERNAL,
            stamp=stamp,
            guest=msgspec.Raw(msgspec.json.encode(msgspec.structs.replace(guest, snapshots=[]))),
        )
    )
    guest.current_snapshot = request.name
    guest.snapshot_count = len(guest.snapshots)


def _as_it_was(guest: FakeGuest, snapshot: FakeSnapshot) -> FakeGuest:
    before: FakeGuest = decode_json(snapshot.guest, FakeGuest)
    return msgspec.structs.replace(
        before,
        state_reason="from snapshot",
        snapshots=guest.snapshots,
        snapshot_count=len(guest.snapshots),
        current_snapshot=snapshot.name,
        claim="",
        started_at=time.time(),
    )


def _delete(guest: FakeGuest, snapshot: FakeSnapshot, *, children: bool) -> None:
    gone = {snapshot.name}
    for one in guest.snapshots if children else ():  # parents come first
        if one.parent in gone:
            gone.add(one.name)
    for one in guest.snapshots:
        if one.parent == snapshot.name and not children:
            one.parent = snapshot.parent
    guest.snapshots = [one for one in guest.snapshots if one.name not in gone]
    guest.snapshot_count = len(guest.snapshots)
    if guest.current_snapshot in gone:
        guest.current_snapshot = snapshot.parent


def _find(guest: FakeGuest, snapshot: SnapshotRef) -> FakeSnapshot | None:
    made_at = int(snapshot.created_at.timestamp()) if snapshot.created_at else None
    return next(
        (one for one in guest.snapshots if one.name == snapshot.name and made_at in {None, int(one.created_at)}), None
    )


def _has_memory(guest: FakeGuest, request: SnapshotRequest) -> bool:
    return request.memory and guest.state in UP and request.kind is not SnapshotKind.EXTERNAL


def _kind_of(guest: FakeGuest, request: SnapshotRequest) -> SnapshotKind:
    if request.kind or request.memory or guest.state not in UP:
        return request.kind or SnapshotKind.INTERNAL
    return SnapshotKind.EXTERNAL


def _check(host: FakeHost, guest: FakeGuest, request: SnapshotRequest) -> Iterator[Finding]:
    if not request.name or not request.name.isprintable() or "/" in request.name:
        yield _error("snapshot_name", _("This is not the name of a snapshot."))
    if any(one.name == request.name for one in guest.snapshots):
        yield _error("snapshot_name", _("The guest has a snapshot of this name already; choose another."))
    yield from _check_job(host, guest)
    external = _kind_of(guest, request) is SnapshotKind.EXTERNAL
    raw = [disk.target for disk in guest.disks if disk.format != "qcow2" and not disk.read_only]
    if raw and not external:
        yield _error("snapshot_format", _("A disk of the guest cannot hold a snapshot; only qcow2 images can."))
    if external and request.kind and request.memory and guest.state in UP:
        yield _error("snapshot_memory", _("An external snapshot is taken without memory."))
    if not external and guest.state in UP and not request.memory:
        yield _error("snapshot_memory", _("Inside its images, a running guest is kept only with its memory."))
    if request.quiesce and not external:
        yield _error("snapshot_quiesce", _("Flushing the guest's file systems goes with external snapshots only."))
    if external:
        yield Finding("snapshot_revert", Severity.WARNING, _("There is no way back to an external snapshot here."))


def _check_revert(host: FakeHost, guest: FakeGuest, snapshot: SnapshotRef) -> Iterator[Finding]:
    found = _find(guest, snapshot)
    if found is None:
        yield _error("snapshot_here", _("This snapshot is not on this host any more."))
    elif found.external:
        yield _error("snapshot_revert", _("There is no way back to an external snapshot here."))
    yield from _check_job(host, guest)
    if found is not None:
        yield from _check_disks(host, guest, found)


def _check_disks(host: FakeHost, guest: FakeGuest, snapshot: FakeSnapshot) -> Iterator[Finding]:
    before: FakeGuest = decode_json(snapshot.guest, FakeGuest)
    has = {disk.source for disk in guest.disks}
    stores = {store.path: store for store in host.datastores if store.active}
    for disk in before.disks:
        folder, _slash, name = disk.source.rpartition("/")
        if disk.source not in has and folder in stores and name not in volumes_in(host, stores[folder]):
            yield Finding(
                "snapshot_disk_here",
                Severity.ERROR,
                _("Disk %(disk)s of this snapshot, %(path)s, is not on the host any more."),
                _("Bring the volume back, or delete the snapshot."),
                (("disk", disk.target), ("path", disk.source)),
            )


def _check_job(host: FakeHost, guest: FakeGuest) -> Iterator[Finding]:
    try:
        require_idle(host, guest)
    except Busy as error:
        yield _error("no_other_job", error.template)


def _refuse_errors(findings: Iterable[Finding]) -> None:
    """Raises: Busy, Rejected for the first that is an error."""
    for finding in findings:
        if finding.severity is Severity.ERROR:
            kind = Busy if finding.check == "no_other_job" else Rejected
            raise kind(finding.message, **dict(finding.parameters))


def _error(check: str, message: str) -> Finding:
    return Finding(check, Severity.ERROR, message)
