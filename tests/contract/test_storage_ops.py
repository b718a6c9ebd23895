"""Volumes and datastores: made, copied, filled and deleted, and nothing of a guest's taken away."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from drivers.errors import Busy, NotFound, Rejected, Unsure
from drivers.isolation import RemoteSession, SessionPool
from drivers.ops import LARGEST_PIECE
from drivers.requests import VolumeRef, VolumeRequest
from drivers.types import Capability, DatastoreFact, VolumeFact
from tests.contract.guests import a_store, new_name
from tests.contract.subjects import DEADLINE_S, Subject
from tests.contract.test_reads import UNKNOWN
from tests.contract.test_snapshot_ops import finish, new_stamp

MIB = 1 << 20


def volumes_of(session: RemoteSession, store: DatastoreFact) -> dict[str, VolumeFact]:
    now = next(one for one in session.snapshot().datastores if one.uuid == store.uuid)
    return {volume.name: volume for volume in now.volumes}


@pytest.fixture
def session(operable: Subject, pool: SessionPool) -> Iterator[RemoteSession]:
    with pool.session(operable.endpoint, deadline_s=DEADLINE_S) as session:
        yield session
        store = a_store(session)
        for name in volumes_of(session, store):
            if name.startswith("t-"):
                session.delete_volume(VolumeRef(store.uuid, name))


@pytest.fixture
def store(session: RemoteSession) -> DatastoreFact:
    return a_store(session)


def test_made_seen_and_deleted(session: RemoteSession, store: DatastoreFact) -> None:
    request = VolumeRequest(store.uuid, new_name(), 8 * MIB)
    ref = VolumeRef(store.uuid, request.name)
    assert session.find_volume(ref) is None
    session.prepare_operation(store.uuid)
    made = session.create_volume(request)
    assert (made.name, made.path, made.capacity_bytes) == (request.name, f"{store.path}/{request.name}", 8 * MIB)
    assert session.find_volume(ref) == made
    found = volumes_of(session, store)[request.name]
    assert (found.capacity_bytes, found.path) == (8 * MIB, made.path)
    for _again in range(2):
        session.delete_volume(ref)
        assert session.find_volume(ref) is None


FORMATS = [("qcow2", False), ("raw", False), ("qcow2", True), ("raw", True)]


def marks(session: RemoteSession) -> bool:
    """Whether this host makes volumes in two steps."""
    return Capability.CONTENT in session.capabilities


def require_preallocates(session: RemoteSession, format_: str, preallocate: bool) -> None:
    if preallocate and format_ == "qcow2" and not marks(session):
        pytest.skip("libvirt's test driver allocates no qcow2 volume ahead")


@pytest.mark.parametrize(("format_", "preallocate"), FORMATS)
def test_asked_twice_only_whoever_takes_over_has_it(
    session: RemoteSession, store: DatastoreFact, format_: str, preallocate: bool
) -> None:
    require_preallocates(session, format_, preallocate)
    request = VolumeRequest(store.uuid, new_name(), 8 * MIB + 1024, format_, preallocate)
    stamp = new_stamp()
    made = session.create_volume(request, stamp)
    with pytest.raises(Rejected, match="name"):
        session.create_volume(request, stamp)
    if marks(session):
        assert made.capacity_bytes < request.capacity_bytes
        assert session.create_volume(request, stamp, True) == made
    else:
        with pytest.raises(Unsure):
            session.create_volume(request, stamp, True)
    for _again in range(2):
        whole = session.complete_volume(request, stamp)
        assert whole == replace(made, capacity_bytes=request.capacity_bytes)
    assert volumes_of(session, store)[request.name].capacity_bytes == request.capacity_bytes


@pytest.mark.parametrize(("format_", "preallocate"), FORMATS)
def test_another_s_volume_is_never_taken_by_whoever_takes_over(
    session: RemoteSession, store: DatastoreFact, format_: str, preallocate: bool
) -> None:
    """Of the same name, format and size; what it is asked for is refused, or cannot be told."""
    require_preallocates(session, format_, preallocate)
    request = VolumeRequest(store.uuid, new_name(), 8 * MIB, format_, preallocate)
    theirs = session.create_volume(request)
    refused = Rejected if marks(session) else Unsure
    with pytest.raises(refused):
        session.create_volume(request, "op-1", True)
    with pytest.raises(Unsure):
        session.complete_volume(replace(request, capacity_bytes=16 * MIB), "op-1")
    with pytest.raises(Rejected):
        session.create_volume(replace(request, capacity_bytes=16 * MIB), "op-1", True)
    ours = VolumeRequest(store.uuid, new_name(), 8 * MIB, format_, preallocate)
    session.create_volume(ours, "op-1")
    with pytest.raises(refused):  # another task's, half made
        session.create_volume(ours, "op-2", True)
    assert session.find_volume(VolumeRef(store.uuid, request.name)) == theirs


@pytest.mark.parametrize("preallocate", [True, False])
def test_what_is_larger_than_asked_is_not_completed(
    session: RemoteSession, store: DatastoreFact, preallocate: bool
) -> None:
    """Somebody put it in the place of what was made."""
    theirs = VolumeRequest(store.uuid, new_name(), 9 * MIB, "raw", preallocate)
    made = session.create_volume(theirs)
    with pytest.raises(Unsure):
        session.complete_volume(replace(theirs, capacity_bytes=8 * MIB), new_stamp())
    assert session.find_volume(VolumeRef(store.uuid, theirs.name)) == made


def test_what_is_allocated_ahead_is_allocated_to_its_end(session: RemoteSession, store: DatastoreFact) -> None:
    if not marks(session):
        pytest.skip("made whole at once")
    request, stamp = VolumeRequest(store.uuid, new_name(), 24 * MIB, "raw", preallocate=True), new_stamp()
    session.create_volume(request, stamp)
    for _again in range(2):
        assert session.complete_volume(request, stamp).capacity_bytes == 24 * MIB
        session.refresh_datastore(store.uuid)
        found = volumes_of(session, store)[request.name]
        assert (found.capacity_bytes, found.allocated_bytes >= 24 * MIB) == (24 * MIB, True)


def test_what_is_gone_is_not_completed(session: RemoteSession, store: DatastoreFact) -> None:
    with pytest.raises(NotFound):
        session.complete_volume(VolumeRequest(store.uuid, "t-gone", 8 * MIB), new_stamp())


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "x\n", "\x00", "a" * 300])
def test_a_name_that_is_none(session: RemoteSession, store: DatastoreFact, name: str) -> None:
    with pytest.raises(Rejected):
        session.create_volume(VolumeRequest(store.uuid, name, MIB))


@pytest.mark.parametrize("capacity", [0, -1, 2**62])
def test_a_size_that_is_none(session: RemoteSession, store: DatastoreFact, capacity: int) -> None:
    with pytest.raises(Rejected):
        session.create_volume(VolumeRequest(store.uuid, new_name(), capacity))


def test_no_room(session: RemoteSession, store: DatastoreFact) -> None:
    request = VolumeRequest(store.uuid, new_name(), 2**59, "raw", preallocate=True)
    with pytest.raises(Rejected, match="room"):
        session.create_volume(request)
    assert session.find_volume(VolumeRef(store.uuid, request.name)) is None


def test_past_its_time_nothing_is_done(session: RemoteSession, store: DatastoreFact) -> None:
    request = VolumeRequest(store.uuid, new_name(), MIB)
    with pytest.raises(Busy):
        session.create_volume(request, new_stamp(), False, time.monotonic())
    ref = VolumeRef(store.uuid, request.name)
    assert session.find_volume(ref) is None
    stamp = new_stamp()
    made = session.create_volume(request, stamp)
    if marks(session):
        with pytest.raises(Busy):
            session.complete_volume(request, stamp, time.monotonic())
    with pytest.raises(Busy):
        session.delete_volume(ref, time.monotonic())
    assert session.find_volume(ref) == made


def test_copied_and_again_copied_anew(session: RemoteSession, store: DatastoreFact) -> None:
    source = VolumeRequest(store.uuid, new_name(), 8 * MIB)
    session.create_volume(source)
    copy, stamp = VolumeRequest(store.uuid, new_name(), 8 * MIB), new_stamp()
    original = VolumeRef(store.uuid, source.name)
    claimed = session.claim_volume(copy, stamp)
    assert claimed is marks(session)
    finish(session, store.uuid, stamp, session.copy_volume(original, copy, stamp, claimed))
    found = session.find_volume(VolumeRef(store.uuid, copy.name))
    assert found is not None
    assert found.capacity_bytes == 8 * MIB
    with pytest.raises(Rejected, match="name"):
        session.copy_volume(original, copy, new_stamp())
    if claimed:  # else nobody could tell whose it is
        finish(session, store.uuid, stamp, session.copy_volume(original, copy, stamp, True))
    assert {source.name, copy.name} <= volumes_of(session, store).keys()


def test_a_copy_s_name_is_claimed_once(session: RemoteSession, store: DatastoreFact) -> None:
    if not marks(session):
        pytest.skip("sizes tell nothing here")
    copy, stamp = VolumeRequest(store.uuid, new_name(), 8 * MIB, preallocate=True), new_stamp()
    assert session.claim_volume(copy, stamp)
    with pytest.raises(Rejected, match="name"):
        session.claim_volume(copy, stamp)
    assert session.claim_volume(copy, stamp, True)
    with pytest.raises(Rejected, match="name"):
        session.claim_volume(copy, new_stamp(), True)


@pytest.mark.parametrize("format_", ["qcow2", "raw"])
def test_another_s_volume_is_never_deleted_for_a_copy(
    session: RemoteSession, store: DatastoreFact, format_: str
) -> None:
    source = VolumeRequest(store.uuid, new_name(), 8 * MIB, format_)
    session.create_volume(source)
    copy, original = replace(source, name=new_name()), VolumeRef(store.uuid, source.name)
    theirs = session.create_volume(replace(copy, capacity_bytes=7 * MIB))
    for again, refused in ((True, Unsure), (False, Rejected)):
        with pytest.raises(refused):
            session.copy_volume(original, copy, new_stamp(), again)
    assert session.find_volume(VolumeRef(store.uuid, copy.name)) == theirs


def test_a_small_volume_s_size_tells_nothing(session: RemoteSession, store: DatastoreFact) -> None:
    """So no claim is made, and nothing is deleted for its copy."""
    source = VolumeRequest(store.uuid, new_name(), 64)
    session.create_volume(replace(source, format="raw"))
    copy, original = replace(source, name=new_name(), format="raw"), VolumeRef(store.uuid, source.name)
    stamp = new_stamp()
    assert not session.claim_volume(copy, stamp)
    assert session.find_volume(VolumeRef(store.uuid, copy.name)) is None
    theirs = session.create_volume(copy)
    with pytest.raises(Unsure):
        session.copy_volume(original, copy, stamp, True)
    assert session.find_volume(VolumeRef(store.uuid, copy.name)) == theirs


def test_a_copy_of_what_is_not_there(session: RemoteSession, store: DatastoreFact) -> None:
    copy = VolumeRequest(store.uuid, new_name(), MIB)
    with pytest.raises(NotFound):
        session.copy_volume(VolumeRef(store.uuid, "t-gone"), copy, new_stamp())
    assert session.find_volume(VolumeRef(store.uuid, copy.name)) is None


def test_stopped_started_and_by_itself(session: RemoteSession, store: DatastoreFact) -> None:
    spare = next(
        (one for one in session.snapshot().datastores if not _in_use(session, one) and one.kind == "dir"), None
    )
    if spare is None:
        pytest.skip("every datastore is in use")
    for _again in range(2):
        session.stop_datastore(spare.uuid)
        assert not _now(session, spare).active
    with pytest.raises(Rejected, match="start"):
        session.create_volume(VolumeRequest(spare.uuid, new_name(), MIB))
    for _again in range(2):
        session.start_datastore(spare.uuid)
        assert _now(session, spare).active
    session.refresh_datastore(spare.uuid)
    for on in (not spare.autostart, spare.autostart):
        session.autostart_datastore(spare.uuid, on)
        assert _now(session, spare).autostart is on


def _now(session: RemoteSession, store: DatastoreFact) -> DatastoreFact:
    return next(one for one in session.snapshot().datastores if one.uuid == store.uuid)


def _in_use(session: RemoteSession, store: DatastoreFact) -> bool:
    disks = [disk for guest in session.snapshot().guests for disk in guest.disks]
    return any(disk.source.startswith(f"{store.path}/") for disk in disks)


@pytest.mark.parametrize("uuid", [UNKNOWN, "", "../x"])
def test_a_datastore_that_is_not_there(operable: Subject, pool: SessionPool, uuid: str) -> None:
    ref, request = VolumeRef(uuid, "a"), VolumeRequest(uuid, "a", MIB)
    with pool.session(operable.endpoint, deadline_s=DEADLINE_S) as session:
        for call in (
            lambda: session.create_volume(request),
            lambda: session.complete_volume(request, "op-1"),
            lambda: session.claim_volume(request, "op-1"),
            lambda: session.copy_volume(ref, request, "op-1"),
            lambda: session.find_volume(ref),
            lambda: session.delete_volume(ref),
            lambda: session.refresh_datastore(uuid),
            lambda: session.start_datastore(uuid),
            lambda: session.stop_datastore(uuid),
            lambda: session.autostart_datastore(uuid, True),
        ):
            with pytest.raises(NotFound):
                call()


# What is inside


@pytest.fixture
def filled(session: RemoteSession, store: DatastoreFact) -> VolumeRef:
    """An empty volume to fill."""
    if Capability.CONTENT not in session.capabilities:
        pytest.skip("not declared")
    request = VolumeRequest(store.uuid, new_name(".iso"), 9 * MIB, "raw")
    session.create_volume(request)
    return VolumeRef(store.uuid, request.name)


def test_uploaded_in_pieces(session: RemoteSession, filled: VolumeRef) -> None:
    content = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(9 * MIB // 32))
    stamp = new_stamp()
    session.start_upload(filled, len(content), stamp)
    position = 0
    while position < len(content):
        piece = content[position : position + LARGEST_PIECE]
        position = session.send_upload(stamp, position, piece)
        assert session.send_upload(stamp, position - len(piece), piece) == position, "told twice, written once"
    session.end_upload(stamp)
    with pytest.raises(NotFound):
        session.send_upload(stamp, 0, b"more")


def test_an_upload_with_a_hole_or_no_end(session: RemoteSession, filled: VolumeRef) -> None:
    stamp = new_stamp()
    session.start_upload(filled, 2 * MIB, stamp)
    with pytest.raises(Rejected, match="missing"):
        session.send_upload(stamp, MIB, b"x" * MIB)
    assert session.send_upload(stamp, 0, b"x" * MIB) == MIB
    with pytest.raises(Rejected, match="whole"):
        session.end_upload(stamp)
    with pytest.raises(Rejected, match="larger"):
        session.send_upload(stamp, MIB, b"x" * (2 * MIB))
    session.abort_upload(stamp)
    session.abort_upload(stamp)
    with pytest.raises(NotFound):
        session.send_upload(stamp, MIB, b"x")


def test_a_piece_of_who_wakes_up_late_is_not_written(session: RemoteSession, filled: VolumeRef) -> None:
    """The volume may be a guest's disk by then."""
    stamp = new_stamp()
    session.start_upload(filled, MIB, stamp)
    with pytest.raises(Busy):
        session.send_upload(stamp, 0, b"y" * MIB, time.monotonic())
    assert session.send_upload(stamp, 0, b"y" * MIB, time.monotonic() + DEADLINE_S) == MIB
    session.end_upload(stamp)


def test_an_upload_that_does_not_fit(session: RemoteSession, filled: VolumeRef) -> None:
    for size in (0, -1, 10 * MIB):
        with pytest.raises(Rejected):
            session.start_upload(filled, size, new_stamp())
    with pytest.raises(NotFound):
        session.start_upload(VolumeRef(filled.datastore_uuid, "t-gone"), MIB, new_stamp())


def test_begun_again_it_starts_over(session: RemoteSession, filled: VolumeRef) -> None:
    stamp = new_stamp()
    for _attempt in range(2):
        session.start_upload(filled, MIB, stamp)
        assert session.send_upload(stamp, 0, b"y" * (MIB // 2)) == MIB // 2
    assert session.send_upload(stamp, MIB // 2, b"z" * (MIB // 2)) == MIB
    session.end_upload(stamp)


def test_grown_and_never_shrunk(session: RemoteSession, filled: VolumeRef) -> None:
    for _again in range(2):
        session.resize_volume(filled, 12 * MIB)
        found = session.find_volume(filled)
        assert found is not None
        assert found.capacity_bytes == 12 * MIB
    with pytest.raises(Rejected, match="smaller"):
        session.resize_volume(filled, 11 * MIB)
