"""On a real host, the worker's process is killed or a guest hangs: whoever takes over asks again, nothing is twice."""

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import libvirt
import pytest

from drivers.errors import Busy, DriverError, NotFound, Unreachable
from drivers.isolation import RemoteSession, SessionPool
from drivers.requests import RevertOutcome, SnapshotRef, SnapshotRequest, TaskPhase, VolumeRef, VolumeRequest
from drivers.types import GuestState
from lab.api import Lab
from tests.contract.conftest import lab_subject
from tests.contract.guests import a_store, free_guest, new_name
from tests.contract.subjects import DEADLINE_S, Subject, wait_until
from tests.contract.test_snapshot_ops import carries, finish, new_stamp, snapshots, take

MIB = 1 << 20
STATES_DEADLINE_S = 10.0  # a poll's


@pytest.fixture
def host(lab: Lab) -> Subject:
    return lab_subject(lab)


@pytest.fixture
def pool() -> Iterator[SessionPool]:
    """Of its own: the other tests' is not killed."""
    pool = SessionPool(processes=1)
    yield pool
    pool.close()


@pytest.fixture
def ref(host: Subject, pool: SessionPool) -> Iterator[str]:
    with free_guest(host, pool) as ref:
        yield ref


@pytest.fixture
def session(host: Subject, pool: SessionPool, ref: str) -> Iterator[RemoteSession]:
    with pool.session(host.endpoint, deadline_s=DEADLINE_S) as session:
        yield session


def kill_worker(pool: SessionPool) -> None:
    (pid,) = pool.process_ids()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid not in pool.process_ids(), "the child gone")


def qemu_of(uuid: str) -> int:
    """The process that runs the guest."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0") if entry.name.isdigit() else []
            if "-uuid" in argv and argv[argv.index("-uuid") + 1] == uuid:
                return int(entry.name)
    raise AssertionError("no QEMU runs this guest")


@contextmanager
def frozen(uuid: str) -> Iterator[None]:
    """libvirt waits for its QEMU inside."""
    pid = qemu_of(uuid)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def when_it_may(call: Callable[[], Any]) -> Any:
    """What the call gives once the host has ended what it was at."""
    answers: list[Any] = []

    def answered() -> bool:
        with suppress(Busy):
            answers.append(call())
        return bool(answers)

    wait_until(answered, "the host at rest")
    return answers[0]


def test_a_guest_that_hangs_keeps_nobody_from_the_rest(host: Subject, pool: SessionPool, ref: str) -> None:
    """Its QEMU has stopped and nobody knows yet: whoever asks first waits a while, but is answered."""
    with pool.session(host.endpoint, deadline_s=DEADLINE_S) as session:
        session.read_states()
        with frozen(ref):
            for _again in range(2):
                states = session.read_states(deadline_s=STATES_DEADLINE_S)
                assert states.complete
                assert next(guest.state for guest in states.guests if guest.ref == ref) is GuestState.RUNNING
        wait_until(lambda: all(g.load for g in session.read_states().guests if g.ref == ref), "its load again")


def test_a_snapshot_is_there_once(session: RemoteSession, pool: SessionPool, ref: str) -> None:
    stamp, request = new_stamp(), SnapshotRequest("once")
    with frozen(ref):
        assert session.create_snapshot(ref, request, stamp).phase is TaskPhase.RUNNING
        kill_worker(pool)
        assert session.poll_task(ref, stamp).phase is TaskPhase.UNKNOWN
        with pytest.raises(Busy):
            session.create_snapshot(ref, request, stamp)
        with pytest.raises(Busy):
            session.create_snapshot(ref, SnapshotRequest("another"), new_stamp())
    finish(session, ref, stamp, when_it_may(lambda: session.create_snapshot(ref, request, stamp)))
    assert snapshots(session, ref).keys() == {"once"}
    assert carries(session, ref, "")


@pytest.mark.whole
def test_a_snapshot_goes_once(session: RemoteSession, pool: SessionPool, ref: str) -> None:
    for name in ("one", "two"):
        take(session, ref, name)
    stamp, snapshot = new_stamp(), SnapshotRef("one")
    with frozen(ref):
        assert session.delete_snapshot(ref, snapshot, stamp).phase is TaskPhase.RUNNING
        kill_worker(pool)
        assert session.poll_task(ref, stamp).phase is TaskPhase.UNKNOWN
        with pytest.raises(Busy):
            session.delete_snapshot(ref, snapshot, stamp)
    finish(session, ref, stamp, when_it_may(lambda: session.delete_snapshot(ref, snapshot, stamp)))
    assert snapshots(session, ref).keys() == {"two"}


def test_a_guest_goes_back_once(session: RemoteSession, pool: SessionPool, ref: str) -> None:
    take(session, ref, "before")
    snapshot, stamp = SnapshotRef("before"), new_stamp()
    session.claim_guest(ref, stamp)
    old = qemu_of(ref)

    def revert() -> None:
        with suppress(Unreachable):  # its process is killed
            session.revert_snapshot(ref, snapshot, stamp)

    thread = threading.Thread(target=revert)
    thread.start()
    wait_until(lambda: not Path(f"/proc/{old}").exists(), "the guest stopped for it")
    kill_worker(pool)
    thread.join()
    outcome = when_it_may(lambda: session.find_revert(ref, snapshot, stamp))
    assert outcome is RevertOutcome.DONE
    sighting = session.sight_guest(ref)
    assert sighting is not None
    assert (sighting.state, sighting.state_reason) == (GuestState.RUNNING, "from snapshot")
    assert qemu_of(ref) != old
    with pytest.raises(DriverError):
        session.revert_snapshot(ref, snapshot, stamp)


def test_an_upload_begins_again(lab: Lab, session: RemoteSession, pool: SessionPool) -> None:
    store = a_store(session)
    volume = VolumeRef(store.uuid, new_name(".img"))
    session.create_volume(VolumeRequest(store.uuid, volume.name, 4 * MIB, "raw"))
    content = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(4 * MIB // 32))
    stamp = new_stamp()
    session.start_upload(volume, len(content), stamp)
    session.send_upload(stamp, 0, content[:MIB])
    kill_worker(pool)
    with pytest.raises(NotFound):
        session.send_upload(stamp, MIB, content[MIB : 2 * MIB])
    with pytest.raises(NotFound):
        session.end_upload(stamp)
    when_it_may(lambda: session.start_upload(volume, len(content), stamp))
    for start in range(0, len(content), MIB):
        session.send_upload(stamp, start, content[start : start + MIB])
    session.end_upload(stamp)
    assert hashlib.sha256(download(lab, store.uuid, volume.name)).digest() == hashlib.sha256(content).digest()
    session.delete_volume(volume)


def download(lab: Lab, pool_uuid: str, name: str) -> bytes:
    """The volume as libvirt has it."""
    connection = libvirt.open(lab.guest("power").host.unix_uri)
    try:
        volume = connection.storagePoolLookupByUUIDString(pool_uuid).storageVolLookupByName(name)
        stream, pieces = connection.newStream(0), []
        volume.download(stream, 0, 0, 0)
        stream.recvAll(lambda _stream, piece, _data: pieces.append(piece), None)
        stream.finish()
        return b"".join(pieces)
    finally:
        connection.close()


def maker_of(name: str) -> int | None:
    """The qemu-img that makes a volume of this name."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if name.encode() in (entry / "cmdline").read_bytes() and (entry / "comm").read_text() == "qemu-img\n":
                return int(entry.name)
    return None


def stop_in_the_middle(session: RemoteSession, request: VolumeRequest, stamp: str) -> tuple[int, threading.Thread]:
    """Have a volume made, and its maker stopped; again when that was through before we had it."""

    def make() -> None:
        with suppress(Unreachable):
            session.create_volume(request, stamp)

    while True:
        thread = threading.Thread(target=make)
        thread.start()
        while thread.is_alive():
            if pid := maker_of(request.name):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    return pid, thread
        session.delete_volume(VolumeRef(request.datastore_uuid, request.name))


def test_a_volume_that_is_still_made_is_waited_for(session: RemoteSession, pool: SessionPool) -> None:
    """The worker that asked for it is dead; QEMU writes the size of such an image last."""
    store = next(one for one in session.snapshot().datastores if one.name == "local")
    size = min(store.available_bytes or 0, 1 << 40) >> 20 << 20
    request, stamp = VolumeRequest(store.uuid, new_name(), size, preallocate=True), new_stamp()
    pid, thread = stop_in_the_middle(session, request, stamp)
    try:
        kill_worker(pool)
        thread.join()
        for _again in range(2):
            with pytest.raises(Busy):
                session.create_volume(request, stamp, True)
        assert Path(f"/proc/{pid}").exists()
    finally:
        os.kill(pid, signal.SIGCONT)
    made = when_it_may(lambda: session.create_volume(request, stamp, True))
    assert size - (64 * MIB) < made.capacity_bytes < size
    assert session.complete_volume(request, stamp).capacity_bytes == size
    session.delete_volume(VolumeRef(store.uuid, request.name))


@pytest.mark.whole
def test_a_copy_is_made_anew(session: RemoteSession, pool: SessionPool) -> None:
    store = next(one for one in session.snapshot().datastores if one.name == "local")
    source = VolumeRef(store.uuid, new_name(".img"))
    session.create_volume(VolumeRequest(store.uuid, source.name, 512 * MIB, "raw", preallocate=True))
    wish, stamp = VolumeRequest(store.uuid, new_name(".img"), 512 * MIB, "raw"), new_stamp()
    copy = VolumeRef(store.uuid, wish.name)
    assert session.claim_volume(wish, stamp)

    def begin() -> None:
        with suppress(Unreachable):
            session.copy_volume(source, wish, stamp, True)

    def is_begun() -> bool:
        found = session.find_volume(copy)
        return found is not None and found.capacity_bytes == 512 * MIB

    thread = threading.Thread(target=begin)
    thread.start()
    wait_until(is_begun, "the copy begun")
    kill_worker(pool)
    thread.join()
    reading = when_it_may(lambda: session.copy_volume(source, wish, stamp, True))
    finish(session, store.uuid, stamp, reading)
    found = session.find_volume(copy)
    assert found is not None
    assert found.capacity_bytes == 512 * MIB
    for volume in (copy, source):
        session.delete_volume(volume)
