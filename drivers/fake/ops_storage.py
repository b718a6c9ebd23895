"""Volumes, datastores and uploads of a simulated host. Uploads are digested, not kept."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from typing import Any

from drivers.errors import Busy, NotFound, Rejected, Unsure
from drivers.fake.model import FakeDatastore, FakeHost
from drivers.fake.ops_model import FakeVolume
from drivers.fake.ops_tasks import UP, TaskCalls, begin, in_time, is_running, reading_of, running_reading
from drivers.fake.ops_volumes import find_started, find_store, require_unused, resize, volumes_in
from drivers.marks import first_bytes, is_allocated
from drivers.ops import LARGEST_PIECE
from drivers.requests import TaskProgress, VolumeRef, VolumeRequest, VolumeResult
from drivers.words import gettext_noop as _

_TAKEN = _("The datastore has something of this name; choose another.")
_NOT_TOLD_APART = _(
    "The datastore has a volume of this name; whether this task made it or somebody else cannot be told. Look at it."
)
_NO_VOLUME = _("This volume is not on this host any more.")
LARGEST_BYTES = 2**60
LONGEST_NAME = 199


class StorageCalls(TaskCalls):
    def create_volume(
        self, request: VolumeRequest, stamp: str = "", again: bool = False, not_after: float = math.inf
    ) -> VolumeResult:
        _check_request(request)
        first = first_bytes(request, stamp)
        with self.acting("create_volume") as (_state, host, _fault):
            store = find_started(host, request.datastore_uuid)
            found = volumes_in(host, store).get(request.name)
            if found is not None:
                _require_known(found, first, request, again=again)
            in_time(not_after)
            if found is None:
                _require_room(store, request)
                found = _put(store, replace(request, capacity_bytes=first))
            return _result(store, found)

    def complete_volume(self, request: VolumeRequest, stamp: str, not_after: float = math.inf) -> VolumeResult:
        with self.acting("complete_volume") as (_state, host, _fault):
            store = find_started(host, request.datastore_uuid)
            found = _find(host, VolumeRef(request.datastore_uuid, request.name))
            if found.capacity_bytes == first_bytes(request, stamp) < request.capacity_bytes:
                in_time(not_after)
                found.capacity_bytes = request.capacity_bytes
            elif found.capacity_bytes != request.capacity_bytes:
                raise Unsure(_NOT_TOLD_APART)
            return _result(store, found)

    def claim_volume(
        self, request: VolumeRequest, stamp: str, again: bool = False, not_after: float = math.inf
    ) -> bool:
        wish = replace(request, preallocate=False)
        if first_bytes(wish, stamp) == wish.capacity_bytes:
            return False
        self.create_volume(wish, stamp, again, not_after)
        return True

    def copy_volume(
        self,
        source: VolumeRef,
        request: VolumeRequest,
        stamp: str,
        again: bool = False,
        not_after: float = math.inf,
    ) -> TaskProgress:
        _check_request(request)
        with self.acting("copy_volume") as (state, host, _fault):
            if running := running_reading(host, stamp):
                return running
            store = find_started(host, request.datastore_uuid)
            original = _find(host, source)
            if there := volumes_in(host, store).get(request.name):
                if not again:
                    raise Rejected(_TAKEN)
                _require_whole(host, store, request.name)
                _require_own_copy(there, original, replace(request, preallocate=False), stamp)
                require_unused(host, f"{store.path}/{request.name}")
            if (original.format == "qcow2") != (request.format == "qcow2"):
                raise Rejected(_("The volume has another format than its guest says; it is not copied."))
            _require_at_rest(host, find_store(host, source.datastore_uuid), source.name)
            in_time(not_after)
            task = begin(state, host, store.uuid, stamp, original.capacity_bytes)
            task.volume = request.name
            if not task.error:
                copied = max(request.capacity_bytes, original.capacity_bytes)
                _put(store, replace(request, capacity_bytes=copied)).digest = original.digest
            return reading_of(task)

    def find_volume(self, volume: VolumeRef) -> VolumeResult | None:
        with self.acting("find_volume") as (_state, host, _fault):
            store = find_started(host, volume.datastore_uuid)
            found = volumes_in(host, store).get(volume.name)
            return _result(store, found) if found else None

    def delete_volume(self, volume: VolumeRef, not_after: float = math.inf) -> None:
        with self.acting("delete_volume") as (_state, host, _fault):
            store = find_started(host, volume.datastore_uuid)
            if volume.name not in volumes_in(host, store):
                return
            require_unused(host, f"{store.path}/{volume.name}")
            _require_whole(host, store, volume.name)
            in_time(not_after)
            store.volumes.pop(volume.name, None)
            store.isos = [name for name in store.isos if name != volume.name]

    def refresh_datastore(self, datastore_uuid: str) -> None:
        with self.acting("refresh_datastore") as (_state, host, _fault):
            find_started(host, datastore_uuid)

    def start_datastore(self, datastore_uuid: str, not_after: float = math.inf) -> None:
        with self.acting("start_datastore") as (_state, host, _fault):
            store = find_store(host, datastore_uuid)
            in_time(not_after)
            store.active = True

    def stop_datastore(self, datastore_uuid: str, not_after: float = math.inf) -> None:
        with self.acting("stop_datastore") as (_state, host, _fault):
            store = find_store(host, datastore_uuid)
            for guest in host.guests.values():
                if guest.state in UP and any(disk.source.startswith(f"{store.path}/") for disk in guest.disks):
                    raise Rejected(
                        _("The running guest %(guest)s has a disk in this datastore; power it off first."),
                        guest=guest.name,
                    )
            in_time(not_after)
            store.active = False

    def autostart_datastore(self, datastore_uuid: str, on: bool, not_after: float = math.inf) -> None:
        with self.acting("autostart_datastore") as (_state, host, _fault):
            store = find_store(host, datastore_uuid)
            in_time(not_after)
            store.autostart = on


@dataclass(slots=True, eq=False)
class _Upload:
    volume: VolumeRef
    end: int
    position: int
    digest: Any = field(default_factory=hashlib.sha256)


_uploads: dict[str, _Upload] = {}


class ContentCalls(TaskCalls):
    def resize_volume(self, volume: VolumeRef, capacity_bytes: int, not_after: float = math.inf) -> None:
        with self.acting("resize_volume") as (_state, host, _fault):
            found = _find(host, volume)
            if found.capacity_bytes > capacity_bytes:
                raise Rejected(_("A disk is never made smaller."))
            store = find_store(host, volume.datastore_uuid)
            _require_at_rest(host, store, volume.name)
            in_time(not_after)
            resize(host, f"{store.path}/{volume.name}", capacity_bytes)

    def start_upload(self, volume: VolumeRef, total_bytes: int, stamp: str, offset: int = 0) -> None:
        with self.acting("start_upload") as (_state, host, _fault):
            found = _find(host, volume)
            if not 0 <= offset < total_bytes:
                raise Rejected(_("There is nothing to upload."))
            if total_bytes > found.capacity_bytes:
                raise Rejected(_("The upload is larger than the volume."))
            _require_at_rest(host, find_store(host, volume.datastore_uuid), volume.name)
            _uploads[stamp] = _Upload(volume, total_bytes, offset)

    def send_upload(self, stamp: str, offset: int, piece: bytes, not_after: float = math.inf) -> int:
        with self.acting("send_upload"):
            upload = _open_upload(stamp)
            if len(piece) > LARGEST_PIECE:
                raise Rejected(_("A piece of the upload is too large."))
            if offset > upload.position:
                raise Rejected(_("A piece of the upload is missing; begin again."))
            fresh = piece[upload.position - offset :]
            if upload.position + len(fresh) > upload.end:
                raise Rejected(_("The upload is larger than it was said to be."))
            in_time(not_after)
            upload.digest.update(fresh)
            upload.position += len(fresh)
            return upload.position

    def end_upload(self, stamp: str) -> None:
        with self.acting("end_upload") as (_state, host, _fault):
            upload = _open_upload(stamp)
            if upload.position < upload.end:
                raise Rejected(_("The upload is not whole; begin again."))
            found = _find(host, upload.volume)
            found.written_bytes, found.digest = upload.end, upload.digest.hexdigest()
            del _uploads[stamp]

    def abort_upload(self, stamp: str) -> None:
        with self.acting("abort_upload"):
            _uploads.pop(stamp, None)


def _open_upload(stamp: str) -> _Upload:
    upload = _uploads.get(stamp)
    if upload is None:
        raise NotFound(_("This upload is not open here any more; begin again."))
    return upload


def _require_known(found: FakeVolume, first: int, request: VolumeRequest, *, again: bool) -> None:
    """Raises: Rejected, Unsure."""
    if not again or found.capacity_bytes != first:
        raise Rejected(_TAKEN)
    if first == request.capacity_bytes:
        raise Unsure(_NOT_TOLD_APART)


def _require_own_copy(found: FakeVolume, original: FakeVolume, request: VolumeRequest, stamp: str) -> None:
    """Raises: Unsure."""
    first, copied = first_bytes(request, stamp), max(request.capacity_bytes, original.capacity_bytes)
    if first == request.capacity_bytes or found.capacity_bytes not in {first, copied}:
        raise Unsure(_NOT_TOLD_APART)


def _check_request(request: VolumeRequest) -> None:
    """Raises: Rejected."""
    name = request.name
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or "/" in name or name.startswith((".", " ")):
        raise Rejected(_("This is not the name of a volume."))
    if request.format not in {"raw", "qcow2", "iso"} or not 0 < request.capacity_bytes <= LARGEST_BYTES:
        raise Rejected(_("This is not a kind or size of volume that can be made here."))


def _require_room(store: FakeDatastore, request: VolumeRequest) -> None:
    if request.preallocate and request.capacity_bytes > store.available_bytes:
        raise Rejected(_("The datastore has not enough room for this."))


def _put(store: FakeDatastore, request: VolumeRequest) -> FakeVolume:
    size, ahead = request.capacity_bytes, is_allocated(request)
    made = FakeVolume(name=request.name, capacity_bytes=size, format=request.format, allocated=ahead)
    store.volumes[request.name] = made
    return made


def _find(host: FakeHost, volume: VolumeRef) -> FakeVolume:
    """Raises: NotFound, Rejected."""
    found = volumes_in(host, find_started(host, volume.datastore_uuid)).get(volume.name)
    if found is None:
        raise NotFound(_NO_VOLUME)
    return found


def _result(store: FakeDatastore, volume: FakeVolume) -> VolumeResult:
    return VolumeResult(volume.name, f"{store.path}/{volume.name}", volume.capacity_bytes)


def _require_whole(host: FakeHost, store: FakeDatastore, name: str) -> None:
    """Raises: Busy while it is still copied."""
    if any((task.owner, task.volume) == (store.uuid, name) and is_running(task) for task in host.tasks):
        raise Busy(_("The host still works on this; try again when it has ended."))


def _require_at_rest(host: FakeHost, store: FakeDatastore, name: str) -> None:
    """Raises: Rejected while a running guest writes to it."""
    for guest in host.guests.values():
        writes = (disk.source for disk in guest.disks if not disk.read_only)
        if guest.state in UP and f"{store.path}/{name}" in writes:
            raise Rejected(
                _("The running guest %(guest)s writes to this volume; power it off first."), guest=guest.name
            )
