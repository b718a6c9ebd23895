"""What only real hosts show: images in chains, firmware, saved memory, and guests that boot from what we made."""

import uuid as uuids
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import libvirt
import pytest

from drivers.errors import Rejected
from drivers.isolation import RemoteSession, SessionPool
from drivers.requests import (
    CloneRequest,
    DiskRequest,
    Effect,
    GuestRequest,
    NetworkMode,
    NetworkRequest,
    NicRequest,
    PortGroupRequest,
    SnapshotKind,
    SnapshotRef,
    SnapshotRequest,
    VolumeRef,
    VolumeRequest,
)
from drivers.types import GuestFact, GuestState, PowerAction, Severity
from lab.api import Lab
from lab.image import tick_image
from tests.contract.conftest import lab_subject
from tests.contract.guests import a_store, new_name
from tests.contract.subjects import DEADLINE_S, wait_until
from tests.contract.test_define_ops import guest_of, new_mac, new_volume
from tests.contract.test_snapshot_ops import finish, new_stamp, snapshots, take

MIB = 1 << 20


@pytest.fixture
def session(lab: Lab, pool: SessionPool) -> Iterator[RemoteSession]:
    with pool.session(lab_subject(lab).endpoint, deadline_s=DEADLINE_S) as session:
        yield session
        for guest in session.snapshot().guests:
            if guest.name.startswith("t-"):
                if guest.state is not GuestState.OFF:
                    session.power(guest.ref, PowerAction.OFF)
                session.undefine_guest(guest.ref)
        for store in session.snapshot().datastores:
            for volume in store.volumes:
                if volume.name.startswith("t-"):
                    session.delete_volume(VolumeRef(store.uuid, volume.name))


def make_guest(session: RemoteSession, *, running: bool, **values: object) -> str:
    values = {"disks": (DiskRequest(new_volume(session)),), **values}
    wish = GuestRequest(str(uuids.uuid4()), new_name(""), 64 * MIB, 1, **values)  # type: ignore[arg-type]
    session.define_guest(wish)
    if running:
        session.power(wish.uuid, PowerAction.START)
    return wish.uuid


def guest(session: RemoteSession, ref: str) -> GuestFact:
    found = guest_of(session, ref)
    assert found is not None
    return found


def take_outside(session: RemoteSession, ref: str, name: str) -> None:
    request, stamp = SnapshotRequest(name, memory=False, kind=SnapshotKind.EXTERNAL), new_stamp()
    finish(session, ref, stamp, session.create_snapshot(ref, request, stamp))


@contextmanager
def domain_of(lab: Lab, uuid: str) -> Iterator[libvirt.virDomain]:
    with closing(libvirt.open(lab.guest("power").host.unix_uri)) as connection:
        yield connection.lookupByUUIDString(uuid)


# Snapshots


@pytest.mark.parametrize("running", [True, False])
def test_external_snapshots(session: RemoteSession, running: bool) -> None:
    ref = make_guest(session, running=running)
    (disk, _drive) = guest(session, ref).disks
    for name in ("one", "two", "three"):
        take_outside(session, ref, name)
    now = guest(session, ref).disks[0].source
    assert now != disk.source
    paths = {volume.path for volume in a_store(session).volumes}
    assert {disk.source, now} <= paths, "the datastore shows what libvirt made"
    (finding,) = session.check_revert(ref, SnapshotRef("two"))
    assert (finding.check, finding.severity) == ("snapshot_revert", Severity.ERROR)
    session.claim_guest(ref, "op-back")
    with pytest.raises(Rejected, match="external"):
        session.revert_snapshot(ref, SnapshotRef("two"), "op-back")
    stamp = new_stamp()
    finish(session, ref, stamp, session.delete_snapshot(ref, SnapshotRef("two"), stamp, True))
    assert snapshots(session, ref).keys() == {"one"}
    stamp = new_stamp()
    finish(session, ref, stamp, session.delete_snapshot(ref, SnapshotRef("one"), stamp))
    assert guest(session, ref).disks[0].source == disk.source
    assert {volume.path for volume in a_store(session).volumes} & {disk.source, now} == {disk.source}


@pytest.mark.whole
def test_an_external_snapshot_after_an_internal_one_is_warned_of(session: RemoteSession) -> None:
    ref = make_guest(session, running=True)
    take(session, ref, "inside")
    request = SnapshotRequest("outside", memory=False, kind=SnapshotKind.EXTERNAL)
    assert "snapshot_mixed" in {f.check for f in session.check_snapshot(ref, request) if f.severity is Severity.WARNING}
    take_outside(session, ref, "outside")
    for name in ("inside", "outside"):
        with pytest.raises(Rejected, match="external snapshot"):
            session.delete_snapshot(ref, SnapshotRef(name), new_stamp())


@pytest.mark.whole
def test_a_forgotten_guest_names_every_image_it_wrote(session: RemoteSession) -> None:
    ref = make_guest(session, running=False)
    paths = [guest(session, ref).disks[0].source]
    for name in ("one", "two"):
        take_outside(session, ref, name)
        paths.append(guest(session, ref).disks[0].source)
    assert session.undefine_guest(ref) == tuple(reversed(paths))


# New guests


def test_it_boots_from_an_uploaded_volume(lab: Lab, session: RemoteSession) -> None:
    image, store = tick_image(), a_store(session)
    volume = VolumeRef(store.uuid, new_name(".img"))
    path = session.create_volume(VolumeRequest(store.uuid, volume.name, len(image), "raw")).path
    stamp = new_stamp()
    session.start_upload(volume, len(image), stamp)
    session.send_upload(stamp, 0, image)
    session.end_upload(stamp)
    ref = make_guest(session, running=True, disks=(DiskRequest(path, "raw"),))
    with domain_of(lab, ref) as domain:
        stream, said = domain.connect().newStream(0), bytearray()
        domain.openConsole(None, stream, 0)

        def counts() -> bool:
            said.extend(stream.recv(4096))
            return b"T0002" in said

        wait_until(counts, "the boot sector counting")
        stream.abort()


def test_it_boots_with_uefi_is_cloned_and_leaves_nothing(lab: Lab, session: RemoteSession) -> None:
    request = GuestRequest(str(uuids.uuid4()), new_name(""), 64 * MIB, 1, uefi=True)
    if "guest_firmware" in {finding.check for finding in session.check_guest(request)}:
        pytest.skip("no UEFI firmware here")
    ref = make_guest(session, running=True, uefi=True)
    assert guest(session, ref).firmware == "uefi"
    (finding,) = (f for f in session.check_snapshot(ref, SnapshotRequest("a", kind=SnapshotKind.INTERNAL)))
    assert finding.check == "snapshot_firmware"
    session.power(ref, PowerAction.OFF)
    take(session, ref, "off")
    clone = CloneRequest(str(uuids.uuid4()), new_name(""), (("vda", new_volume(session)),), ())
    session.clone_guest(ref, clone)
    session.power(clone.uuid, PowerAction.START)
    variables = lab.place.folder.glob(f"hosts/*/**/nvram/{clone.name}*")
    assert list(variables), "the clone has variables of its own"
    session.power(clone.uuid, PowerAction.OFF)
    for uuid in (clone.uuid, ref):
        session.undefine_guest(uuid)
    assert not list(lab.place.folder.glob("hosts/*/**/nvram/t-*"))


@pytest.mark.whole
def test_saved_memory(lab: Lab, session: RemoteSession) -> None:
    ref = make_guest(session, running=True)
    with domain_of(lab, ref) as domain:
        domain.managedSave(0)
    assert (guest(session, ref).state, guest(session, ref).state_reason) == (GuestState.OFF, "saved")
    with pytest.raises(Rejected, match="memory"):
        session.clone_guest(ref, CloneRequest(str(uuids.uuid4()), new_name(""), (("vda", new_volume(session)),), ()))
    session.undefine_guest(ref)
    assert not list(lab.place.folder.glob(f"hosts/*/**/{ref}*"))
    assert guest_of(session, ref) is None


# Devices


@pytest.mark.whole
def test_a_guest_that_holds_on_to_its_devices(lab: Lab, session: RemoteSession) -> None:
    mac = new_mac()
    ref = make_guest(session, running=True, nics=(NicRequest(mac, network="default"),))
    path = new_volume(session)
    assert session.add_disk(ref, DiskRequest(path)) is Effect.NOW
    assert session.remove_disk(ref, "vdb", path) is Effect.AFTER_NEXT_START
    assert session.remove_nic(ref, mac) is Effect.AFTER_NEXT_START
    assert [disk.target for disk in guest(session, ref).disks] == ["vda", "vdb", "sda"]
    with pytest.raises(Rejected, match="has this volume"):
        session.delete_volume(VolumeRef(a_store(session).uuid, path.rpartition("/")[2]))
    session.power(ref, PowerAction.OFF)
    assert [disk.target for disk in guest(session, ref).disks] == ["vda", "sda"]
    assert guest(session, ref).nics == ()


@pytest.mark.whole
def test_there_is_room_for_more_devices(session: RemoteSession) -> None:
    ref = make_guest(session, running=True)
    for _number in range(6):
        assert session.add_disk(ref, DiskRequest(new_volume(session))) is Effect.NOW
    with pytest.raises(Rejected, match="bus"):
        session.add_disk(ref, DiskRequest(new_volume(session), bus="ide"))


@pytest.mark.whole
def test_another_port_group_counts_from_when_the_guest_is_in_it(session: RemoteSession) -> None:
    groups = (PortGroupRequest("office"), PortGroupRequest("the lab", default=True))
    network = NetworkRequest(str(uuids.uuid4()), new_name(""), NetworkMode.ISOLATED, port_groups=groups)
    session.create_network(network)
    nic = NicRequest(new_mac(), network=network.name, port_group="the lab")
    ref = make_guest(session, running=True, nics=(nic,))
    effect = session.change_nic(ref, replace(nic, port_group="office"))
    in_it = guest(session, ref).nics[0].port_group == "office"
    assert effect is (Effect.NOW if in_it else Effect.AFTER_NEXT_START)
    session.power(ref, PowerAction.OFF)
    assert guest(session, ref).nics[0].port_group == "office"
    session.undefine_guest(ref)
    session.delete_network(network.uuid)


@pytest.mark.whole
def test_grown_while_it_runs(lab: Lab, session: RemoteSession) -> None:
    ref = make_guest(session, running=True)
    assert session.grow_disk(ref, "vda", 32 * MIB) is Effect.NOW
    with domain_of(lab, ref) as domain:
        assert domain.blockInfo("vda")[0] == 32 * MIB
