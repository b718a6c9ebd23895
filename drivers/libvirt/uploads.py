"""What is inside a volume: uploads in pieces, and growing.

An upload is one libvirt stream on a connection of its own, kept in this process between the calls that bring its
pieces. An image may name files of the host that QEMU then opens for it; one that does is not taken.
Source of the header's layout: https://www.qemu.org/docs/master/interop/qcow2.html
"""

from __future__ import annotations

import math
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from drivers.errors import DriverError, NotFound, Rejected
from drivers.libvirt.connection import Connection
from drivers.libvirt.refusals import asked
from drivers.libvirt.tasks import in_time
from drivers.libvirt.volumes import VolumeCalls, find_volume, known_pool, require_unused_now, result_of
from drivers.ops import LARGEST_PIECE
from drivers.requests import VolumeRef
from drivers.words import gettext_noop as _

LEFT_AFTER_S = 600.0  # no piece for so long: whoever brought them is gone
HEADER_BYTES = 512
_QCOW2 = struct.Struct(">4sIQ56xQ")  # magic, version, where the name of a backing file is; features
_EXTERNAL_DATA = 1 << 2
_QCOW2_MAGIC = b"QFI\xfb"
_QCOW2_V3 = 3


def require_self_contained(head: bytes) -> None:
    """Raises: Rejected for an image that rests on other files of whatever host opens it."""
    if not head.startswith(_QCOW2_MAGIC):
        return
    _magic, version, backing, features = _QCOW2.unpack_from(head.ljust(_QCOW2.size, b"\0"))
    if backing or (version >= _QCOW2_V3 and features & _EXTERNAL_DATA):
        raise Rejected(_("This image rests on another file; convert it to one that holds everything itself."))


@dataclass(slots=True, eq=False)
class Upload:
    """One stream. `position` is up to where its pieces were taken."""

    line: Connection
    stream: Any
    end: int
    position: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    used_at: float = field(default_factory=time.monotonic)

    def send(self, offset: int, piece: bytes, not_after: float = math.inf) -> int:
        with self.lock:
            self.used_at = time.monotonic()
            if offset > self.position:
                raise Rejected(_("A piece of the upload is missing; begin again."))
            fresh = memoryview(piece)[self.position - offset :]
            if self.position + len(fresh) > self.end:
                raise Rejected(_("The upload is larger than it was said to be."))
            if offset == 0 and self.position == 0:
                if len(piece) < min(self.end, HEADER_BYTES):
                    raise Rejected(_("The first piece of the upload is too small."))
                require_self_contained(piece[:HEADER_BYTES])
            while fresh:
                in_time(not_after)
                count = asked(self.line, self.stream.send, bytes(fresh))
                self.position += count
                fresh = fresh[count:]
            return self.position

    def finish(self) -> None:
        with self.lock:
            if self.position < self.end:
                raise Rejected(_("The upload is not whole; begin again."))
            try:
                asked(self.line, self.stream.finish)
            finally:
                self.line.close()

    def abort(self) -> None:
        with self.lock:
            with suppress(DriverError):  # it ended by itself
                asked(self.line, self.stream.abort)
            self.line.close()


class Uploads:
    """The uploads of this process, by stamp."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._open: dict[str, Upload] = {}

    def add(self, stamp: str, upload: Upload) -> None:
        """In place of an earlier one of this stamp, and of those that were left."""
        given_up = time.monotonic() - LEFT_AFTER_S
        with self._guard:
            old = [key for key, one in self._open.items() if key == stamp or one.used_at < given_up]
            left = [self._open.pop(key) for key in old]
            self._open[stamp] = upload
        for one in left:
            one.abort()

    def find(self, stamp: str) -> Upload:
        """Raises: NotFound."""
        with self._guard:
            found = self._open.get(stamp)
        if found is None:
            raise NotFound(_("This upload is not open here any more; begin again."))
        return found

    def take(self, stamp: str) -> Upload | None:
        with self._guard:
            return self._open.pop(stamp, None)


UPLOADS = Uploads()


class ContentCalls(VolumeCalls):
    """A session's uploads."""

    def __init__(self) -> None:
        super().__init__()
        self._own_uploads: list[Upload] = []

    def _has_uploads(self) -> bool:
        """Whether pieces came lately: the process that holds their stream is not to be ended."""
        given_up = time.monotonic() - LEFT_AFTER_S
        self._own_uploads = [one for one in self._own_uploads if one.used_at >= given_up and one.line.is_alive()]
        return bool(self._own_uploads)

    def resize_volume(self, volume: VolumeRef, capacity_bytes: int, not_after: float = math.inf) -> None:
        with self._pool(volume.datastore_uuid) as (line, pool):
            found = _require(line, pool, volume.name)
            now = result_of(line, found).capacity_bytes
            if now == capacity_bytes:
                return
            if now > capacity_bytes:
                raise Rejected(_("A disk is never made smaller."))
            require_unused_now(line, found)
            in_time(not_after)
            asked(line, found.resize, capacity_bytes, 0)

    def start_upload(self, volume: VolumeRef, total_bytes: int, stamp: str, offset: int = 0) -> None:
        uuid = known_pool(volume.datastore_uuid)
        if not 0 <= offset < total_bytes:
            raise Rejected(_("There is nothing to upload."))
        line = self._take_line(uuid)
        try:
            stream = _open_stream(line, volume, total_bytes, offset)
        except BaseException:
            line.close()
            raise
        upload = Upload(line, stream, total_bytes, offset)
        self._own_uploads.append(upload)
        UPLOADS.add(stamp, upload)

    def send_upload(self, stamp: str, offset: int, piece: bytes, not_after: float = math.inf) -> int:
        if len(piece) > LARGEST_PIECE:
            raise Rejected(_("A piece of the upload is too large."))
        return UPLOADS.find(stamp).send(offset, piece, not_after)

    def end_upload(self, stamp: str) -> None:
        upload = UPLOADS.find(stamp)
        upload.finish()
        UPLOADS.take(stamp)

    def abort_upload(self, stamp: str) -> None:
        upload = UPLOADS.take(stamp)
        if upload is not None:
            upload.abort()


def _open_stream(line: Connection, volume: VolumeRef, total_bytes: int, offset: int) -> Any:
    """Raises: DriverError."""
    pool = line.call(line.raw.storagePoolLookupByUUIDString, known_pool(volume.datastore_uuid))
    found = _require(line, pool, volume.name)
    if total_bytes > result_of(line, found).capacity_bytes:  # libvirt would let the file grow
        raise Rejected(_("The upload is larger than the volume."))
    require_unused_now(line, found)
    stream = line.call(line.raw.newStream, 0)
    asked(line, found.upload, stream, offset, total_bytes - offset, 0)
    return stream


def _require(line: Connection, pool: Any, name: str) -> Any:
    found = find_volume(line, pool, name)
    if found is None:
        raise NotFound(_("This volume is not on this host any more."))
    return found
