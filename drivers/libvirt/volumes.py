"""Volumes and pools: made, copied, deleted, started and stopped."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import libvirt

from drivers.errors import NotFound, Rejected
from drivers.libvirt.connection import Connection
from drivers.libvirt.parse.common import LONGEST_NAME, clean_uuid, try_xml
from drivers.libvirt.refusals import asked
from drivers.libvirt.tasks import Calls, Task, in_time
from drivers.libvirt.text import clean, whole
from drivers.libvirt.usage import every_description, paths_of, require_unused, volumes_of
from drivers.libvirt.write_xml import add, checked_file_name, element, written
from drivers.libvirt.xml import LONGEST_PATH
from drivers.requests import TaskProgress, VolumeRef, VolumeRequest, VolumeResult
from drivers.words import gettext_noop as _

FORMATS = frozenset({"raw", "qcow2", "iso"})
WITHOUT_FORMATS = frozenset({"logical", "rbd", "zfs", "iscsi", "iscsi-direct", "scsi", "disk", "mpath", "sheepdog"})
LARGEST_BYTES = 2**60
TAKEN = _("The datastore has something of this name; choose another.")


def known_pool(uuid: str) -> str:
    """Raises: NotFound for what is no UUID."""
    known = clean_uuid(uuid)
    if not known:
        raise NotFound(_("This datastore is not on this host any more."))
    return known


class VolumeCalls(Calls):
    """A session's volumes and pools."""

    @contextmanager
    def _pool(self, datastore_uuid: str, *, started: bool = True) -> Iterator[tuple[Connection, Any]]:
        """A line and the pool on it."""
        uuid = known_pool(datastore_uuid)
        with self._line(uuid) as line:
            pool = line.call(line.raw.storagePoolLookupByUUIDString, uuid)
            if started and not line.call(pool.isActive):
                raise Rejected(_("The datastore is not started; start it first."))
            yield line, pool

    def create_volume(self, request: VolumeRequest, again: bool = False, not_after: float = math.inf) -> VolumeResult:
        checked_volume(request)
        with self._pool(request.datastore_uuid) as (line, pool):
            volume = find_volume(line, pool, request.name)
            if volume is None:
                xml = volume_xml(request, _kind_of(line, pool))
                flags = libvirt.VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA if request.format == "qcow2" else 0
                _require_room(line, pool, request)
                in_time(not_after)
                volume = asked(line, pool.createXML, xml, flags if request.preallocate else 0)
            elif not again:
                raise Rejected(TAKEN)
            result = result_of(line, volume)
            if again and result.capacity_bytes < request.capacity_bytes:
                raise Rejected(TAKEN)
            return result

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
            there = find_volume(line, pool, request.name)
            original = _require_volume(line, source)
            if there is not None and not again:
                raise Rejected(TAKEN)
            _require_format(line, original, request.format)
            require_unused_now(line, original)
            if there is not None:
                delete_unused(line, pool, there)
            _require_room(line, pool, request)
            xml = volume_xml(request, _kind_of(line, pool))
            task.bytes_total = result_of(line, original).capacity_bytes
            with self._line(owner) as watcher:
                task.measure = lambda: _written(watcher, owner, request.name)
                in_time(not_after)
                try:
                    asked(line, pool.createXMLFrom, xml, original, 0)
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


def checked_volume(request: VolumeRequest) -> None:
    """Raises: Rejected."""
    checked_file_name(request.name)
    if request.format not in FORMATS or not 0 < request.capacity_bytes <= LARGEST_BYTES:
        raise Rejected(_("This is not a kind or size of volume that can be made here."))


def volume_xml(request: VolumeRequest, pool_kind: str = "dir") -> str:
    root = element("volume")
    add(root, "name", checked_file_name(request.name))
    add(root, "capacity", str(request.capacity_bytes), unit="bytes")
    whole_size = request.preallocate and request.format != "qcow2"
    add(root, "allocation", str(request.capacity_bytes if whole_size else 0), unit="bytes")
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


def _kind_of(line: Connection, pool: Any) -> str:
    node = try_xml(str(line.call(pool.XMLDesc, 0)))
    return node.get("type", limit=32) if node else ""


def _require_room(line: Connection, pool: Any, request: VolumeRequest) -> None:
    """Only what is written at once needs room at once. Raises: Rejected."""
    available = whole(line.call(pool.info)[3])
    if request.preallocate and request.capacity_bytes > available:
        raise Rejected(_("The datastore has not enough room for this."))


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


def delete_unused(line: Connection, pool: Any, volume: Any) -> None:
    """What an earlier attempt left. Raises: Busy while the host still writes it; Rejected when a guest has it."""
    _require_no_guest(line, pool, volume)
    asked(line, volume.delete, 0)
