"""Making and copying volumes where another call of the same task may still be under way, or its worker died."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import libvirt
import pytest
from lxml import etree

from drivers.errors import Busy, NotFound, Rejected, Unsure
from drivers.libvirt.volumes import PIECE_BYTES, VolumeCalls
from drivers.marks import first_bytes
from drivers.ops import error_in
from drivers.requests import TaskPhase, TaskProgress, VolumeRef, VolumeRequest

POOL = "6f0d6b2e-6a1b-4b5c-9d0f-000000000001"
REQUEST = VolumeRequest(POOL, "a.img", 64 << 20, "raw")
STAMP = "op-1"


class Host:
    """A pool in which something of the name appears in the moment between the look and the call."""

    def __init__(self, capacity: int) -> None:
        self.volume = SimpleNamespace(
            info=lambda: [libvirt.VIR_STORAGE_VOL_FILE, capacity, 0],
            name=lambda: REQUEST.name,
            path=lambda: f"/srv/{REQUEST.name}",
            resize=lambda *_: 0,
            download=lambda *_: 0,
        )
        self.there = False
        self.raw = SimpleNamespace(
            newStream=lambda _flags: SimpleNamespace(abort=lambda: 0),
            storagePoolLookupByUUIDString=lambda _uuid: SimpleNamespace(
                isActive=lambda: 1,
                XMLDesc=lambda _flags: "<pool type='dir'/>",
                info=lambda: [2, 1 << 40, 0, 1 << 40],
                storageVolLookupByName=self.find,
                createXML=self.create,
            ),
        )

    def find(self, _name: str) -> Any:
        if not self.there:
            raise NotFound("It is not there.")
        return self.volume

    def create(self, *_: Any) -> Any:
        self.there = True
        raise libvirt.libvirtError("storage volume 'a.img' exists already")

    def call(self, method: Callable[..., Any], *args: Any) -> Any:
        return method(*args)

    call_raw = call


class Session(VolumeCalls):
    def __init__(self, host: Any) -> None:
        super().__init__()
        self.host = host

    @contextmanager
    def _line(self, ref: str) -> Iterator[Any]:
        yield self.host

    def _take_line(self, ref: str) -> Any:
        return self.host


def test_what_a_call_before_made_in_this_moment_is_taken_for_it() -> None:
    session = Session(Host(first_bytes(REQUEST, STAMP)))
    assert session.create_volume(REQUEST, STAMP, True).path == "/srv/a.img"


@pytest.mark.parametrize(("capacity", "again"), [(REQUEST.capacity_bytes, True), (first_bytes(REQUEST, STAMP), False)])
def test_what_somebody_else_made_in_this_moment_is_not(capacity: int, again: bool) -> None:
    with pytest.raises(Rejected):
        Session(Host(capacity)).create_volume(REQUEST, STAMP, again)


# A pool whose volumes stay


def refusal(text: str) -> libvirt.libvirtError:
    error = libvirt.libvirtError("failed")
    error.err = (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_FROM_STORAGE, text, 2, text, None, None, -1, -1)
    return error


class Volume:
    """As libvirt tells of it: its size, what of it is allocated, whether it is still made."""

    def __init__(self, pool: Pool, name: str, size: int, *, allocated: int = 0, format_: str = "raw") -> None:
        self.pool, self.called, self.size, self.allocated, self.format = pool, name, size, allocated, format_
        self.being_made = False
        self.resized: list[tuple[int, int]] = []
        self.written: list[tuple[int, int]] = []  # from where on, how many zeros

    def name(self) -> str:
        return self.called

    def path(self) -> str:
        return f"/srv/{self.called}"

    def info(self) -> list[int]:
        return [libvirt.VIR_STORAGE_VOL_FILE, self.size, self.allocated]

    def XMLDesc(self, _flags: int) -> str:
        return f"<volume><target><format type='{self.format}'/></target></volume>"

    def _require_made(self) -> None:
        if self.being_made:
            raise refusal(f"volume '{self.called}' is still being allocated.")

    def download(self, _stream: Any, _offset: int, _length: int, _flags: int) -> None:
        self._require_made()

    def upload(self, stream: Any, offset: int, length: int, _flags: int) -> None:
        self._require_made()
        stream.volume, stream.offset, stream.end = self, offset, offset + length

    def resize(self, size: int, flags: int) -> None:
        self._require_made()
        self.resized.append((size, flags))
        self.size = size

    def delete(self, _flags: int) -> None:
        self._require_made()
        del self.pool.volumes[self.called]


class Stream:
    """Takes what it is given in pieces of its own."""

    volume: Any = None
    offset = end = count = 0

    def send(self, data: bytes) -> int:
        taken = min(len(data), PIECE_BYTES // 3)
        assert not any(data)
        self.count += taken
        return taken

    def finish(self) -> None:
        assert self.offset + self.count == self.end
        self.volume.written.append((self.offset, self.count))
        self.volume.allocated = self.end

    def abort(self) -> None: ...


class Pool:
    """Of one kind; with the sizes that its group of volumes has."""

    def __init__(self, kind: str = "dir", sizes: tuple[int, int, int] = (1 << 40, 0, 1 << 40)) -> None:
        self.kind, self.sizes = kind, sizes
        self.volumes: dict[str, Volume] = {}
        self.guests: list[Any] = []
        self.copied = 0
        self.before_copy: Callable[[], object] = lambda: None
        self.raw: Any = SimpleNamespace(
            newStream=lambda _flags: Stream(),
            listAllDomains=lambda _flags: self.guests,
            storagePoolLookupByUUIDString=lambda _uuid: self,
        )

    def call_raw(self, method: Callable[..., Any], *args: Any) -> Any:
        return method(*args)

    call = call_raw

    def close(self) -> None: ...

    def name(self) -> str:
        return "pool"

    def isActive(self) -> int:
        return 1

    def XMLDesc(self, _flags: int) -> str:
        return f"<pool type='{self.kind}'/>"

    def info(self) -> list[int]:
        return [2, *self.sizes]

    def storageVolLookupByName(self, name: str) -> Volume:
        if name not in self.volumes:
            raise NotFound("It is not there.")
        return self.volumes[name]

    def put(self, name: str, size: int, **values: Any) -> Volume:
        return self.volumes.setdefault(name, Volume(self, name, size, **values))

    def createXML(self, xml: str, _flags: int) -> Volume:
        return self.put(REQUEST.name, int(etree.fromstring(xml).findtext("capacity") or 0))

    def createXMLFrom(self, _xml: str, original: Volume, _flags: int) -> Volume:
        self.before_copy()
        if REQUEST.name in self.volumes:
            raise refusal(f"storage volume name '{REQUEST.name}' already in use.")
        self.copied += 1
        return self.put(REQUEST.name, original.size)

    def give_away(self, path: str) -> None:
        xml = f"<domain><devices><disk><source file='{path}'/></disk></devices></domain>"
        self.guests = [
            SimpleNamespace(ID=lambda: -1, XMLDesc=lambda _: xml, UUIDString=lambda: "u", name=lambda: "web")
        ]


QCOW2 = replace(REQUEST, format="qcow2", preallocate=True)
ALLOCATED = replace(REQUEST, preallocate=True)


@pytest.mark.parametrize("size", [0, 1 << 10, REQUEST.capacity_bytes, 1 << 40])
@pytest.mark.parametrize("request_", [REQUEST, QCOW2, ALLOCATED])
def test_what_is_still_made_is_waited_for_whatever_size_it_shows(request_: VolumeRequest, size: int) -> None:
    """qemu-img writes an image's size last; the worker that asked for it is dead."""
    pool = Pool()
    pool.put(REQUEST.name, size).being_made = True
    with pytest.raises(Busy):
        Session(pool).create_volume(request_, STAMP, True)
    pool.volumes[REQUEST.name].being_made = False
    pool.volumes[REQUEST.name].size = first_bytes(request_, STAMP)
    assert Session(pool).create_volume(request_, STAMP, True).name == REQUEST.name
    assert pool.volumes[REQUEST.name].resized == []


def test_what_a_host_that_lost_its_power_left_is_a_person_s_to_judge() -> None:
    pool = Pool()
    pool.put(REQUEST.name, 0)
    with pytest.raises(Unsure):
        Session(pool).create_volume(QCOW2, STAMP, True)


SIZES = [
    ("dir", REQUEST, 0, True),
    ("dir", REQUEST, 1, False),
    ("dir", replace(REQUEST, capacity_bytes=(64 << 20) - 1, format="qcow2"), 1, True),
    ("dir", replace(REQUEST, capacity_bytes=(64 << 20) - 1, format="qcow2"), 1025, False),
    ("logical", replace(REQUEST, capacity_bytes=(64 << 20) - 1), 1, True),
    ("logical", replace(REQUEST, capacity_bytes=(60 << 20) + 1), (4 << 20) - 1, True),
    ("logical", replace(REQUEST, capacity_bytes=(60 << 20) + 1), (8 << 20) - 1, False),
    ("disk", REQUEST, 8 << 20, True),
    ("disk", REQUEST, 20 << 20, False),
    ("zfs", REQUEST, 16 << 10, True),
    ("zfs", REQUEST, 2 << 20, False),
    ("rbd", REQUEST, 0, True),
    ("rbd", REQUEST, 1 << 20, False),
]


@pytest.mark.parametrize(("kind", "request_", "more", "is_ours"), SIZES)
def test_what_is_larger_than_a_back_end_rounds_up_to_is_another_s(
    kind: str, request_: VolumeRequest, more: int, is_ours: bool
) -> None:
    pool = Pool(kind, sizes=(25599 * (4 << 20), 25 * (4 << 20), 25574 * (4 << 20)))
    found = pool.put(REQUEST.name, request_.capacity_bytes + more)
    if is_ours:
        assert Session(pool).complete_volume(request_, STAMP).capacity_bytes == found.size
    else:
        with pytest.raises(Unsure):
            Session(pool).complete_volume(request_, STAMP)
    assert found.resized == []


def test_what_is_allocated_ahead_is_not_allocated_again_when_it_grows() -> None:
    pool, first = Pool(), first_bytes(ALLOCATED, STAMP)
    found = pool.put(REQUEST.name, first, allocated=first)
    assert Session(pool).complete_volume(ALLOCATED, STAMP).capacity_bytes == ALLOCATED.capacity_bytes
    assert found.resized == [(ALLOCATED.capacity_bytes, 0)], "nothing is allocated by growing"
    assert found.written == [(first, ALLOCATED.capacity_bytes - first)], "and what was added is written"
    Session(pool).complete_volume(ALLOCATED, STAMP)
    assert len(found.resized) == len(found.written) == 1


def test_a_worker_that_died_between_growing_and_writing() -> None:
    pool, first = Pool(), first_bytes(ALLOCATED, STAMP)
    found = pool.put(REQUEST.name, ALLOCATED.capacity_bytes, allocated=first)
    pool.give_away(found.path())
    with pytest.raises(Rejected, match="web"):
        Session(pool).complete_volume(ALLOCATED, STAMP)
    assert found.written == []
    pool.guests = []
    Session(pool).complete_volume(ALLOCATED, STAMP)
    assert found.written == [(first, ALLOCATED.capacity_bytes - first)]


SOURCE = VolumeRef(POOL, "source.img")


def copy(pool: Pool, *, again: bool, stamp: str = STAMP) -> TaskProgress:
    pool.put(SOURCE.name, REQUEST.capacity_bytes)
    session = Session(pool)
    reading = session.copy_volume(SOURCE, REQUEST, stamp, again)
    assert reading.phase is TaskPhase.ENDED
    return reading


def test_a_copy_takes_the_place_of_what_holds_its_name() -> None:
    pool = Pool()
    assert Session(pool).claim_volume(ALLOCATED, STAMP)
    assert Session(pool).claim_volume(ALLOCATED, STAMP, True)
    assert pool.volumes[REQUEST.name].size == first_bytes(REQUEST, STAMP), "empty, nothing is allocated for it"
    for count in (1, 2):  # whoever takes over copies anew
        assert error_in(copy(pool, again=True)) is None
        assert (pool.copied, pool.volumes[REQUEST.name].size) == (count, REQUEST.capacity_bytes)


@pytest.mark.parametrize("size", [0, 1, REQUEST.capacity_bytes - 1, REQUEST.capacity_bytes + 1])
def test_another_s_volume_of_a_copy_s_name_is_not_deleted(size: int) -> None:
    pool = Pool()
    theirs = pool.put(REQUEST.name, size)
    with pytest.raises(Unsure):
        copy(pool, again=True)
    with pytest.raises(Rejected):
        copy(pool, again=False)
    assert (pool.volumes[REQUEST.name], pool.copied) == (theirs, 0)


def test_what_holds_the_name_for_another_task_is_not_deleted() -> None:
    pool = Pool()
    Session(pool).claim_volume(REQUEST, "op-2")
    with pytest.raises(Unsure):
        copy(pool, again=True)
    assert pool.copied == 0


def test_a_name_that_is_taken_in_the_moment_it_is_free() -> None:
    pool = Pool()
    Session(pool).claim_volume(REQUEST, STAMP)
    pool.before_copy = lambda: pool.put(REQUEST.name, 7)
    with pytest.raises(Unsure):
        copy(pool, again=True)
    assert (pool.volumes[REQUEST.name].size, pool.copied) == (7, 0)


def test_where_sizes_cannot_be_chosen_nobody_s_volume_is_deleted() -> None:
    pool = Pool("logical")
    assert not Session(pool).claim_volume(REQUEST, STAMP)
    assert pool.volumes == {}
    theirs = pool.put(REQUEST.name, REQUEST.capacity_bytes)
    with pytest.raises(Unsure):
        copy(pool, again=True)
    assert pool.volumes[REQUEST.name] is theirs


def test_who_wakes_up_late_does_not_delete_the_copy_that_another_made() -> None:
    pool = Pool()
    pool.put(SOURCE.name, REQUEST.capacity_bytes)
    made = pool.put(REQUEST.name, REQUEST.capacity_bytes)
    with pytest.raises(Busy):
        Session(pool).copy_volume(SOURCE, REQUEST, STAMP, True, time.monotonic())
    assert pool.volumes[REQUEST.name] is made


def test_a_copy_that_goes_on_is_waited_for() -> None:
    pool = Pool()
    Session(pool).claim_volume(REQUEST, STAMP)
    pool.volumes[REQUEST.name].being_made = True
    with pytest.raises(Busy):
        copy(pool, again=True)
