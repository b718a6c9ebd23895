"""Volumes and pools: made, copied, deleted, started and stopped.

Source of what libvirt does with them: libvirt 9.0's storage_driver.c, storage_util.c, storage_backend_logical.c,
storage_backend_disk.c.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import libvirt

from drivers.errors import DriverError, NotFound, NotSupported, Rejected, Unsure
from drivers.libvirt.connection import Connection
from drivers.libvirt.parse.common import LONGEST_NAME, clean_uuid, try_xml
from drivers.libvirt.refusals import asked
from drivers.libvirt.tasks import Calls, Task, in_time
from drivers.libvirt.text import clean, whole
from drivers.libvirt.usage import OF_FILES, every_description, kind_of, paths_of, require_unused, volumes_of
from drivers.libvirt.write_xml import add, checked_file_name, element, written
from drivers.libvirt.xml import LONGEST_PATH
from drivers.marks import KIB, first_bytes, is_allocated, is_as_asked
from drivers.requests import TaskProgress, VolumeRef, VolumeRequest, VolumeResult
from drivers.words import gettext_noop as _

FORMATS = frozenset({"raw", "qcow2", "iso"})
WITHOUT_FORMATS = frozenset({"logical", "rbd", "zfs", "iscsi", "iscsi-direct", "scsi", "disk", "mpath", "sheepdog"})
LARGEST_BYTES = 2**60
TAKEN = _("The datastore has something of this name; choose another.")
NOT_TOLD_APART = _(
    "The datastore has a volume of this name; whether this task made it or somebody else cannot be told. Look at it."
)
CYLINDER_BYTES = 255 * 63 * 512  # what parted says of every large device; partitions end with one
ZFS_BLOCK_BYTES = 1 << 20  # the largest; a volume has whole ones
PIECE_BYTES = 256 << 10


def known_pool(uuid: str) -> str:
    """Raises: NotFound for what is no UUID."""
    known = clean_uuid(uuid)
    if not known:
        raise NotFound(_("This datastore is not on this host any more."))
    return known


class VolumeCalls(Calls):
    """A session's volumes and pools."""

    grows_volumes = True

    @contextmanager
    def _pool(self, datastore_uuid: str, *, started: bool = True) -> Iterator[tuple[Connection, Any]]:
        """A line and the pool on it."""
        uuid = known_pool(datastore_uuid)
        with self._line(uuid) as line:
            pool = line.call(line.raw.storagePoolLookupByUUIDString, uuid)
            if started and not line.call(pool.isActive):
                raise Rejected(_("The datastore is not started; start it first."))
            yield line, pool

    def create_volume(
        self, request: VolumeRequest, stamp: str = "", again: bool = False, not_after: float = math.inf
    ) -> VolumeResult:
        checked_volume(request)
        with self._pool(request.datastore_uuid) as (line, pool):
            kind = kind_of(line, pool)
            first = self._first_bytes(request, stamp, kind)
            volume = find_volume(line, pool, request.name)
            if volume is not None and not again:
                raise Rejected(TAKEN)
            if volume is None:
                xml = volume_xml(replace(request, capacity_bytes=first), kind)
                flags = libvirt.VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA if request.format == "qcow2" else 0
                _require_room(line, pool, request)
                in_time(not_after)
                try:
                    return result_of(line, asked(line, pool.createXML, xml, flags if request.preallocate else 0))
                except Rejected:
                    volume = find_volume(line, pool, request.name) if again else None
                    if volume is None:
                        raise
            # Made by an earlier call, which may even have come in after our look.
            _require_known(line, volume, first, request, _step_of(line, pool, kind, request))
            return result_of(line, volume)

    def _first_bytes(self, request: VolumeRequest, stamp: str, kind: str) -> int:
        return first_bytes(request, stamp if self.grows_volumes and kind in OF_FILES else "")

    def complete_volume(self, request: VolumeRequest, stamp: str, not_after: float = math.inf) -> VolumeResult:
        with self._pool(request.datastore_uuid) as (line, pool):
            volume = _require_volume(line, VolumeRef(request.datastore_uuid, request.name))
            kind, now = kind_of(line, pool), result_of(line, volume).capacity_bytes
            first = self._first_bytes(request, stamp, kind)
            if now == first < request.capacity_bytes:
                in_time(not_after)
                asked(line, volume.resize, request.capacity_bytes, 0)
            elif not is_as_asked(request, now, _step_of(line, pool, kind, request)):
                raise Unsure(NOT_TOLD_APART)
            if first < request.capacity_bytes and is_allocated(request):
                if now != first and _allocated(line, volume) < request.capacity_bytes:
                    _require_no_guest(line, pool, volume)  # asked again: it may have been given away since
                _allocate_rest(line, volume, first, request.capacity_bytes, not_after)
            return result_of(line, volume)

    def claim_volume(
        self, request: VolumeRequest, stamp: str, again: bool = False, not_after: float = math.inf
    ) -> bool:
        wish = _claim_of(request)
        checked_volume(wish)
        with self._pool(wish.datastore_uuid) as (line, pool):
            if self._first_bytes(wish, stamp, kind_of(line, pool)) == wish.capacity_bytes:
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
        checked_volume(request)
        owner = known_pool(request.datastore_uuid)
        known_pool(source.datastore_uuid)

        def act(line: Connection, task: Task) -> None:
            pool = line.call(line.raw.storagePoolLookupByUUIDString, owner)
            there, kind = find_volume(line, pool, request.name), kind_of(line, pool)
            original = _require_volume(line, source)
            if there is not None:
                if not again:
                    raise Rejected(TAKEN)
                first = self._first_bytes(_claim_of(request), stamp, kind)
                _require_own_copy(line, there, original, request, first)
            _require_format(line, original, request.format)
            require_unused_now(line, original)
            if there is not None:
                _delete_unused(line, pool, there, not_after)
            _require_room(line, pool, request)
            xml = volume_xml(request, kind)
            task.bytes_total = result_of(line, original).capacity_bytes
            with self._line(owner) as watcher:
                task.measure = lambda: _written(watcher, owner, request.name)
                in_time(not_after)
                try:
                    asked(line, pool.createXMLFrom, xml, original, 0)
                except Rejected:
                    if there is not None and find_volume(line, pool, request.name) is not None:
                        raise Unsure(NOT_TOLD_APART) from None  # somebody else's, in the moment it was free
                    raise
                finally:
                    task.measure = None

        return self._start(owner, stamp, act)

    def find_volume(self, volume: VolumeRef) -> VolumeResult | None:
        with self._pool(volume.datastore_uuid) as (line, pool):
            found = find_volume(line, pool, volume.name)
            return result_of(line, found) if found is not None else None

    def delete_volume(self, volume: VolumeRef, not_after: float = math.inf) -> None:
        with self._pool(volume.datastore_uuid) as (line, pool):
            found = find_volume(line, pool, volume.name)
            if found is None:
                return
            _require_no_guest(line, pool, found)
            in_time(not_after)
            asked(line, found.delete, 0)

    def refresh_datastore(self, datastore_uuid: str) -> None:
        with self._pool(datastore_uuid) as (line, pool):
            asked(line, pool.refresh, 0)

    def start_datastore(self, datastore_uuid: str, not_after: float = math.inf) -> None:
        with self._pool(datastore_uuid, started=False) as (line, pool):
            if line.call(pool.isActive):
                return
            in_time(not_after)
            asked(line, pool.create, 0)

    def stop_datastore(self, datastore_uuid: str, not_after: float = math.inf) -> None:
        with self._pool(datastore_uuid, started=False) as (line, pool):
            if not line.call(pool.isActive):
                return
            paths = {str(line.call(volume.path)) for volume in line.call(pool.listAllVolumes, 0)}
            for domain, node in every_description(line, running_only=True):
                if paths & paths_of(node) or pool.name() in {name for name, _volume in volumes_of(node)}:
                    raise Rejected(
                        _("The running guest %(guest)s has a disk in this datastore; power it off first."),
                        guest=_short(domain.name()),
                    )
            in_time(not_after)
            asked(line, pool.destroy)

    def autostart_datastore(self, datastore_uuid: str, on: bool, not_after: float = math.inf) -> None:
        with self._pool(datastore_uuid, started=False) as (line, pool):
            in_time(not_after)
            asked(line, pool.setAutostart, int(on))


def _short(name: str) -> str:
    return clean(name, LONGEST_NAME)


def _require_made(line: Connection, volume: Any) -> None:
    """Raises: Busy while the host makes it. Its size tells nothing until then: qemu-img writes it last.

    Found out by asking to read it, which libvirt refuses before anything else, and which changes no volume.
    """
    stream = line.call(line.raw.newStream, 0)
    with suppress(NotSupported, Rejected):  # nothing here is made beside other calls
        asked(line, volume.download, stream, 0, 1, 0)
        with suppress(DriverError):
            asked(line, stream.abort)


def _require_known(line: Connection, volume: Any, first: int, request: VolumeRequest, step: int) -> None:
    """Whether it is what an earlier call made. Raises: Rejected, Unsure; Busy while that is still at it."""
    _require_made(line, volume)
    now, marked = result_of(line, volume).capacity_bytes, first < request.capacity_bytes
    if marked and now == first:
        return
    # A qcow2 image without a size is what a host leaves that lost its power over the making: ours or another's.
    if now == 0 or (not marked and is_as_asked(request, now, step)):
        raise Unsure(NOT_TOLD_APART)
    raise Rejected(TAKEN)


def _step_of(line: Connection, pool: Any, kind: str, request: VolumeRequest) -> int:
    """To whole steps of how many bytes the pool rounds a volume's size up."""
    if kind == "logical":  # in extents, of which the group and what is free of it are whole numbers
        _state, *sizes = line.call(pool.info)
        return max(KIB, math.gcd(*map(whole, sizes)))
    steps = {"disk": 2 * CYLINDER_BYTES, "zfs": ZFS_BLOCK_BYTES}
    return steps.get(kind, KIB if request.format == "qcow2" or kind not in OF_FILES else 1)


def _allocated(line: Connection, volume: Any) -> int:
    return whole(line.call(volume.info)[2])


def _allocate_rest(line: Connection, volume: Any, first: int, end: int, not_after: float) -> None:
    """What growing has added. libvirt would allocate all once more, block by block where the file system cannot."""
    if _allocated(line, volume) >= end:
        return
    stream, left = line.call(line.raw.newStream, 0), end - first
    in_time(not_after)
    asked(line, volume.upload, stream, first, left, 0)
    try:
        while left:
            in_time(not_after)
            left -= asked(line, stream.send, bytes(min(left, PIECE_BYTES)))
        asked(line, stream.finish)
    except DriverError:
        with suppress(DriverError):  # what was wrong before is what is told
            asked(line, stream.abort)
        raise


def _claim_of(request: VolumeRequest) -> VolumeRequest:
    """What stands in the place of a copy until that is made: empty, and quickly there."""
    return replace(request, preallocate=False)


def _require_own_copy(line: Connection, volume: Any, original: Any, request: VolumeRequest, first: int) -> None:
    """Whether it is what `claim_volume` made, or the copy that an earlier call put in its place.

    Raises: Unsure; Busy while the host still copies.
    """
    _require_made(line, volume)
    now, marked = result_of(line, volume).capacity_bytes, first < request.capacity_bytes
    copied = result_of(line, original).capacity_bytes
    if request.format != "qcow2":  # qemu-img copies such an image as large as it is
        copied = max(copied, request.capacity_bytes)
    if not marked or now not in {first, copied}:
        raise Unsure(NOT_TOLD_APART)


def checked_volume(request: VolumeRequest) -> None:
    """Raises: Rejected."""
    checked_file_name(request.name)
    if request.format not in FORMATS or not 0 < request.capacity_bytes <= LARGEST_BYTES:
        raise Rejected(_("This is not a kind or size of volume that can be made here."))


def volume_xml(request: VolumeRequest, pool_kind: str = "dir") -> str:
    root = element("volume")
    add(root, "name", checked_file_name(request.name))
    add(root, "capacity", str(request.capacity_bytes), unit="bytes")
    # In LVM libvirt would make a volume that is not allocated a snapshot of that size, which breaks when it is full.
    ahead = is_allocated(request) or pool_kind == "logical"
    add(root, "allocation", str(request.capacity_bytes if ahead else 0), unit="bytes")
    target = add(root, "target")
    if pool_kind not in WITHOUT_FORMATS:
        add(target, "format", type="raw" if request.format == "iso" else request.format)
    return written(root)


def find_volume(line: Connection, pool: Any, name: str) -> Any | None:
    if not name or "\0" in name:
        return None
    try:
        return line.call(pool.storageVolLookupByName, name)
    except NotFound:
        return None


def result_of(line: Connection, volume: Any) -> VolumeResult:
    kind, capacity, _allocation = line.call(volume.info)
    return VolumeResult(
        name=str(volume.name()),
        path=str(line.call(volume.path)),
        capacity_bytes=whole(capacity),
        block=kind == libvirt.VIR_STORAGE_VOL_BLOCK,
    )


def _written(line: Connection, pool_uuid: str, name: str) -> int:
    """How much of a copy is there by now. Raises: DriverError."""
    pool = line.call(line.raw.storagePoolLookupByUUIDString, pool_uuid)
    volume = find_volume(line, pool, name)
    return whole(line.call(volume.info)[2]) if volume is not None else 0


def _require_volume(line: Connection, volume: VolumeRef) -> Any:
    pool = line.call(line.raw.storagePoolLookupByUUIDString, known_pool(volume.datastore_uuid))
    found = find_volume(line, pool, volume.name)
    if found is None:
        raise NotFound(_("This volume is not on this host any more."))
    return found


def _require_room(line: Connection, pool: Any, request: VolumeRequest) -> None:
    """Only what is written at once needs room at once. Raises: Rejected."""
    if not request.preallocate or request.capacity_bytes <= _available(line, pool):
        return
    asked(line, pool.refresh, 0)  # what was made or deleted beside libvirt counts from then on only
    if request.capacity_bytes > _available(line, pool):
        raise Rejected(_("The datastore has not enough room for this."))


def _available(line: Connection, pool: Any) -> int:
    return whole(line.call(pool.info)[3])


def _require_format(line: Connection, volume: Any, wanted: str) -> None:
    """libvirt guesses a volume's format from its content, which a guest may have written to make it open other files.

    So only what is believed to be of this format is copied as such. Raises: Rejected.
    """
    node = try_xml(str(line.call(volume.XMLDesc, 0)))
    found = (node.get("type", path="target/format", limit=32) if node else "") or "raw"
    if (found == "qcow2") != (wanted == "qcow2"):
        raise Rejected(_("The volume has another format than its guest says; it is not copied."))


def require_unused_now(line: Connection, volume: Any) -> None:
    """A copy of what is written to meanwhile is none. Raises: Rejected."""
    path = str(line.call(volume.path))
    for domain, node in every_description(line, running_only=True):
        writes = {
            disk.get(name, path="source", limit=LONGEST_PATH)
            for disk in node.all("devices/disk")
            if not disk.has("readonly")
            for name in ("file", "dev")
        }
        if path in writes:
            raise Rejected(
                _("The running guest %(guest)s writes to this volume; power it off first."), guest=_short(domain.name())
            )


def _require_no_guest(line: Connection, pool: Any, volume: Any) -> None:
    """Raises: Rejected."""
    require_unused(line, str(line.call(volume.path)), str(pool.name()), str(volume.name()))


def _delete_unused(line: Connection, pool: Any, volume: Any, not_after: float) -> None:
    """What an earlier attempt left. Raises: Busy while the host still writes it; Rejected when a guest has it."""
    _require_no_guest(line, pool, volume)
    in_time(not_after)
    asked(line, volume.delete, 0)
