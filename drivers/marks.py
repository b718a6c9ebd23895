"""How a volume is known again by whoever takes over its making: hypervisors keep no note with a volume.

It is made a little smaller than asked, by an amount that nobody but the task knows, and gets its size in a second step,
when it is noted that the first one was done. So another volume of its name is never taken for it. The name of a copy
is taken by an empty volume in the same way, which the copy then replaces.
"""

from __future__ import annotations

import hashlib

from drivers.requests import VolumeRequest

MOST_BYTES = 64 << 20  # by so much it is smaller at first
# By how much more what is allocated ahead: what it grows by is written, since libvirt would allocate all once more.
MOST_WRITTEN_BYTES = 1 << 20
LEAST_CHOICES = 100  # a very small volume has no sizes to choose from
KIB = 1 << 10


def is_allocated(request: VolumeRequest) -> bool:
    """Whether all of it is allocated ahead; of a qcow2 image only its tables are."""
    return request.preallocate and request.format != "qcow2"


def _unit(request: VolumeRequest) -> int:
    """Between two sizes, in bytes."""
    return KIB if request.format == "qcow2" else 1  # libvirt asks qemu-img for whole KiB


def _least(request: VolumeRequest) -> int:
    """By how many bytes the first size is smaller at least."""
    if not is_allocated(request):
        return _unit(request)
    # A file system allocates whole blocks, and more for the list of them (ext4: 12 bytes for each 128 MiB in one
    # piece, in blocks); libvirt refuses to give a volume a size that is below what it has allocated.
    return (64 << 10) + (request.capacity_bytes >> 20)


def first_bytes(request: VolumeRequest, stamp: str) -> int:
    """The size that a volume is made with, in a task with this stamp. The wanted one says: there is no mark."""
    unit, least = _unit(request), _least(request)
    most = MOST_WRITTEN_BYTES if is_allocated(request) else MOST_BYTES
    whole = (request.capacity_bytes - least) // unit
    choices = min(most // unit, whole)
    if not stamp or choices < LEAST_CHOICES:
        return request.capacity_bytes
    number = int.from_bytes(hashlib.blake2b(stamp.encode(), digest_size=8).digest(), "big")
    return (whole - number % choices) * unit


def is_as_asked(request: VolumeRequest, size_bytes: int, step_bytes: int) -> bool:
    """Whether a whole volume of this request has such a size, where back ends round up to the next step."""
    return 0 <= size_bytes - request.capacity_bytes < step_bytes
