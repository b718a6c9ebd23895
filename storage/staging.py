"""Where files wait on their way from a browser to a datastore: one file an upload, named by its id.

The web process writes here, a worker reads. Whatever a file is called where it comes from is no part of its path.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext as _

from core.errors import Conflict, Refused
from core.room import is_full_error
from core.units import format_bytes

# The database lies on the same disk more often than not, and must not stop for an upload.
KEEP_FREE_BYTES = 1 << 30


class StorageFull(Refused):
    """The server has no room for it."""

    code = "no_room"


class WrongOffset(Conflict):
    """A piece does not follow the last one; `offset` is where the next one begins."""

    code = "wrong_offset"

    def __init__(self, message: str, *, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def folder() -> Path:
    """Made when first asked for; nobody else may look into it."""
    place = Path(settings.UPLOAD_DIR)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def path_of(upload_id: UUID) -> Path:
    return folder() / f"{upload_id}.part"


def received_bytes(upload_id: UUID) -> int:
    """How much of it is here: the file's length is the truth."""
    try:
        return path_of(upload_id).stat().st_size
    except FileNotFoundError:
        return 0


def idle_seconds(upload_id: UUID) -> float | None:
    """Since its last piece; none when there was none."""
    try:
        found = path_of(upload_id).stat()
    except FileNotFoundError:
        return None
    return max(0.0, time.time() - found.st_mtime) if found.st_size else None


def require_room(size_bytes: int, promised_bytes: int) -> None:
    """Raises: StorageFull unless it fits beside what other uploads were promised."""
    free = shutil.disk_usage(folder()).free - KEEP_FREE_BYTES - promised_bytes
    if size_bytes > free:
        raise StorageFull(
            _("The server has room for %(free)s more of uploads, and this is %(size)s. Free some space on its disk.")
            % {"free": format_bytes(max(0, free)), "size": format_bytes(size_bytes)}
        )


def write_piece(upload_id: UUID, offset: int, piece: bytes) -> int:
    """Add what follows; returns up to where the file goes then.

    Raises: WrongOffset; Conflict while another piece is written; StorageFull, with the file as it was.
    """
    descriptor = os.open(path_of(upload_id), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        _lock(descriptor)
        end = file.seek(0, os.SEEK_END)
        if offset != end:
            raise WrongOffset(_("The next piece begins at %(offset)d.") % {"offset": end}, offset=end)
        try:
            _write_all(descriptor, piece)
        except OSError as error:
            os.ftruncate(descriptor, end)
            if is_full_error(error):
                raise StorageFull(_("The server's disk is full. Free some space there, then go on.")) from error
            raise
        return end + len(piece)


def _lock(descriptor: int) -> None:
    if not _is_locked_by_us(descriptor):
        raise Conflict(_("Another piece of this upload is being written; ask how far it is, then go on."))


@contextmanager
def held(upload_id: UUID) -> Iterator[bool]:
    """Nobody adds a piece meanwhile. False when somebody is just adding one."""
    descriptor = os.open(path_of(upload_id), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _is_locked_by_us(descriptor)
    finally:
        os.close(descriptor)


def _is_locked_by_us(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_all(descriptor: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(descriptor, left) :]


def require_here(upload_id: UUID, size_bytes: int) -> None:
    """Raises: Conflict where this machine does not see the whole file."""
    if received_bytes(upload_id) != size_bytes:
        raise Conflict(_not_here())


@contextmanager
def reading(upload_id: UUID, size_bytes: int) -> Iterator[int]:
    """The descriptor of a whole file.

    Raises: Conflict where this machine does not see all of it.
    """
    try:
        descriptor = os.open(path_of(upload_id), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Conflict(_not_here()) from None
    try:
        if os.fstat(descriptor).st_size != size_bytes:
            raise Conflict(_not_here())
        yield descriptor
    finally:
        os.close(descriptor)


def _not_here() -> str:
    return _(
        "The worker's machine does not see the uploaded file. Where pages and workers are on several machines, "
        "GUESTHOUSE_UPLOADS must name one folder that all of them share."
    )


def remove(upload_id: UUID) -> None:
    path_of(upload_id).unlink(missing_ok=True)


def strays(known: frozenset[str], older_than_seconds: float) -> Iterator[Path]:
    """Files whose upload nobody knows any more."""
    given_up = time.time() - older_than_seconds
    for path in folder().glob("*.part"):
        with suppress(FileNotFoundError):  # discarded meanwhile
            if path.stem not in known and path.stat().st_mtime < given_up:
                yield path
