"""Disks, CDs and network adapters of a guest: changed now where it can be, and once."""

import math
import time
import uuid as uuids
from collections.abc import Callable, Iterator

import pytest

from drivers.errors import Busy, NotFound, NotSupported, Rejected
from drivers.isolation import RemoteSession, SessionPool
from drivers.requests import DiskRequest, Effect, GuestRequest, NicRequest, SnapshotRef, VolumeRef, VolumeRequest
from drivers.types import Capability, DiskFact, GuestFact, GuestState, NicFact, PowerAction
from tests.contract.guests import a_store
from tests.contract.subjects import DEADLINE_S, Subject
from tests.contract.test_define_ops import guest_of, new_mac, new_volume
from tests.contract.test_reads import UNKNOWN
from tests.contract.test_snapshot_ops import delete, take
from tests.contract.test_storage_ops import volumes_of

MIB = 1 << 20
NOW, LATER = Effect.NOW, Effect.AFTER_NEXT_START


@pytest.fixture
def session(operable: Subject, pool: SessionPool) -> Iterator[RemoteSession]:
    if Capability.DEVICES not in operable.capabilities:
        pytest.skip("not declared")
    with pool.session(operable.endpoint, deadline_s=DEADLINE_S) as session:
        yield session
        for guest in session.snapshot().guests:
            if guest.name.startswith("t-"):
                if guest.state is not GuestState.OFF:
                    session.power(guest.ref, PowerAction.OFF)
                session.undefine_guest(guest.ref)
        store = a_store(session)
        for name in volumes_of(session, store):
            if name.startswith("t-"):
                session.delete_volume(VolumeRef(store.uuid, name))


@pytest.fixture(params=["off", "running"])
def ref(request: pytest.FixtureRequest, session: RemoteSession) -> str:
    """A guest with one disk and one adapter, off and running."""
    uuid = uuids.uuid4()
    wish = GuestRequest(
        str(uuid),
        f"t-{uuid.hex[:8]}",
        64 * MIB,
        1,
        disks=(DiskRequest(new_volume(session)),),
        nics=(NicRequest(new_mac(), network=networks(session)[0]),),
    )
    session.define_guest(wish)
    if request.param == "running":
        session.power(wish.uuid, PowerAction.START)
    return wish.uuid


def networks(session: RemoteSession) -> list[str]:
    return [switch.name for switch in session.snapshot().switches if switch.active and switch.managed]


def guest(session: RemoteSession, ref: str) -> GuestFact:
    found = guest_of(session, ref)
    assert found is not None
    return found


def disks(session: RemoteSession, ref: str) -> dict[str, DiskFact]:
    return {disk.target: disk for disk in guest(session, ref).disks}


def nics(session: RemoteSession, ref: str) -> dict[str, NicFact]:
    return {nic.mac: nic for nic in guest(session, ref).nics}


def iso_of(session: RemoteSession) -> str:
    name = f"t-{uuids.uuid4().hex[:8]}.iso"
    return session.create_volume(VolumeRequest(a_store(session).uuid, name, MIB, "raw")).path


def test_a_cd_in_and_out(session: RemoteSession, ref: str) -> None:
    drive = next(disk.target for disk in guest(session, ref).disks if disk.device == "cdrom")
    for path in (iso_of(session), iso_of(session), ""):
        for _again in range(2):
            assert session.change_media(ref, drive, path) is NOW
            assert disks(session, ref)[drive].source == path


def test_what_is_no_cd(session: RemoteSession, ref: str) -> None:
    drive = next(disk.target for disk in guest(session, ref).disks if disk.device == "cdrom")
    for target, path in (("vda", iso_of(session)), ("sdz", iso_of(session)), (drive, "/etc/passwd")):
        with pytest.raises(Rejected):
            session.change_media(ref, target, path)


def test_a_disk_added_once_grown_and_removed(session: RemoteSession, ref: str) -> None:
    path = new_volume(session)
    for _again in range(2):
        assert session.add_disk(ref, DiskRequest(path)) is NOW
        assert disks(session, ref)["vdb"].source == path
    assert len(disks(session, ref)) == 3
    for _again in range(2):
        assert session.grow_disk(ref, "vdb", 16 * MIB) is NOW
    assert disks(session, ref)["vdb"].capacity_bytes in {16 * MIB, None}
    with pytest.raises(Rejected, match="smaller"):
        session.grow_disk(ref, "vdb", 8 * MIB)
    with pytest.raises(Rejected, match="another volume"):
        session.grow_disk(ref, "vdb", 32 * MIB, math.inf, "/another")
    assert session.grow_disk(ref, "vdb", 16 * MIB, math.inf, path) is NOW
    with pytest.raises(Rejected, match="another volume"):
        session.remove_disk(ref, "vdb", "/another")
    effect = session.remove_disk(ref, "vdb", path)
    # A guest without an operating system that listens holds on to the device; libvirt waits for it for seconds.
    assert effect in {NOW, LATER}
    if guest(session, ref).state is GuestState.OFF:
        assert effect is session.remove_disk(ref, "vdb", path) is NOW
        assert "vdb" not in disks(session, ref)
    store = a_store(session)
    assert session.find_volume(VolumeRef(store.uuid, path.rpartition("/")[2])) is not None


def test_no_way_back_to_a_disk_that_is_gone(session: RemoteSession, ref: str) -> None:
    """libvirt would stop the guest first, and then not find the disk to start it with."""
    if guest(session, ref).state is not GuestState.OFF:
        pytest.skip("a guest without an operating system lets go of no disk")
    path, stamp = new_volume(session), f"op-{uuids.uuid4().hex}"
    session.add_disk(ref, DiskRequest(path))
    take(session, ref, "with-two")
    try:
        session.remove_disk(ref, "vdb", path)
        assert session.check_revert(ref, SnapshotRef("with-two")) == ()
        session.delete_volume(VolumeRef(a_store(session).uuid, path.rpartition("/")[2]))
        (found,) = session.check_revert(ref, SnapshotRef("with-two"))
        assert (found.check, dict(found.parameters)) == ("snapshot_disk_here", {"disk": "vdb", "path": path})
        session.claim_guest(ref, stamp)
        with pytest.raises(Rejected, match="not on the host any more") as refused:
            session.revert_snapshot(ref, SnapshotRef("with-two"), stamp)
        assert path in str(refused.value)
    finally:
        delete(session, ref, "with-two")


def test_a_disk_that_is_no_volume_or_anothers(session: RemoteSession, ref: str, operable: Subject) -> None:
    with pytest.raises(Rejected, match="volume"):
        session.add_disk(ref, DiskRequest("/etc/shadow", "raw"))
    other = next(
        disk.source
        for one in session.snapshot().guests
        for disk in one.disks
        if one.uuid != ref and disk.source and not disk.read_only and disk.device == "disk"
    )
    with pytest.raises(Rejected):
        session.add_disk(ref, DiskRequest(other, "raw"))
    assert len(disks(session, ref)) == 2


def test_a_bus_that_waits_for_the_next_start(session: RemoteSession, ref: str) -> None:
    path = new_volume(session)
    running = guest(session, ref).state is GuestState.RUNNING
    for _again in range(2):
        assert session.add_disk(ref, DiskRequest(path, bus="sata")) is (LATER if running else NOW)
    if running:
        assert path not in {disk.source for disk in guest(session, ref).disks}
        session.power(ref, PowerAction.OFF)
    assert path in {disk.source for disk in guest(session, ref).disks}


def test_an_adapter_added_once_plugged_elsewhere_and_removed(session: RemoteSession, ref: str) -> None:
    first, second, *_ = networks(session)
    mac = new_mac()
    for _again in range(2):
        assert session.add_nic(ref, NicRequest(mac, network=first)) is NOW
        assert nics(session, ref)[mac].network == first
    assert len(nics(session, ref)) == 2
    for _again in range(2):
        assert session.change_nic(ref, NicRequest(mac, network=second, link_up=False)) is NOW
        changed = nics(session, ref)[mac]
        assert (changed.network, changed.link_up) == (second, False)
    effect = session.remove_nic(ref, mac)
    assert effect in {NOW, LATER}
    if guest(session, ref).state is GuestState.OFF:
        assert effect is session.remove_nic(ref, mac) is NOW
        assert mac not in nics(session, ref)


def test_another_model_waits_for_the_next_start(session: RemoteSession, ref: str) -> None:
    (nic,) = nics(session, ref).values()
    running = guest(session, ref).state is GuestState.RUNNING
    effect = session.change_nic(ref, NicRequest(nic.mac, network=nic.network, model="e1000"))
    assert effect is (LATER if running else NOW)
    if running:
        assert nics(session, ref)[nic.mac].model == "virtio"
        session.power(ref, PowerAction.OFF)
    assert nics(session, ref)[nic.mac].model == "e1000"


def test_what_is_no_adapter(session: RemoteSession, ref: str) -> None:
    for wrong in (
        NicRequest(new_mac()),
        NicRequest(new_mac(), network="a", bridge="b"),
        NicRequest(new_mac(), network="no such network"),
        NicRequest(new_mac(), network=networks(session)[0], port_group="no such group"),
        NicRequest("52:54:00", network=networks(session)[0]),
        NicRequest("zz:54:00:00:00:01", network=networks(session)[0]),
    ):
        with pytest.raises(Rejected):
            session.add_nic(ref, wrong)
    with pytest.raises(Rejected):
        session.change_nic(ref, NicRequest(new_mac(), network=networks(session)[0]))
    assert len(nics(session, ref)) == 1


def test_past_its_time_nothing_is_done(session: RemoteSession, ref: str) -> None:
    before, late = guest(session, ref), time.monotonic()
    path, (nic,) = new_volume(session), before.nics
    calls: list[Callable[[], object]] = [
        lambda: session.add_disk(ref, DiskRequest(path), late),
        lambda: session.remove_disk(ref, "vda", before.disks[0].source, late),
        lambda: session.grow_disk(ref, "vda", 64 * MIB, late),
        lambda: session.add_nic(ref, NicRequest(new_mac(), network=nic.network), late),
        lambda: session.remove_nic(ref, nic.mac, late),
    ]
    for call in calls:
        with pytest.raises(Busy):
            call()
    assert (guest(session, ref).disks, guest(session, ref).nics) == (before.disks, before.nics)


@pytest.mark.parametrize("unknown", [UNKNOWN, "", "../x"])
def test_a_guest_that_is_not_there(session: RemoteSession, unknown: str) -> None:
    nic = NicRequest(new_mac(), network="default")
    calls: list[Callable[[], object]] = [
        lambda: session.change_media(unknown, "sda", ""),
        lambda: session.add_disk(unknown, DiskRequest("/a/b")),
        lambda: session.remove_disk(unknown, "vda", "/a"),
        lambda: session.grow_disk(unknown, "vda", MIB),
        lambda: session.add_nic(unknown, nic),
        lambda: session.change_nic(unknown, nic),
        lambda: session.remove_nic(unknown, nic.mac),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            call()


def test_what_is_not_declared_is_not_supported(immovable: Subject, pool: SessionPool) -> None:
    with pool.session(immovable.endpoint, deadline_s=DEADLINE_S) as session:
        calls: list[Callable[[], object]] = [
            lambda: session.add_disk(immovable.power_guest, DiskRequest("/a/b")),
            lambda: session.start_upload(VolumeRef(UNKNOWN, "a"), 1, "op-1"),
        ]
        for call in calls:
            with pytest.raises(NotSupported):
                call()
