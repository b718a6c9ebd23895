"""Guests: made from parts, cloned and forgotten; their volumes go only when no guest has them."""

import time
import uuid as uuids
from collections.abc import Iterator
from dataclasses import replace

import pytest

from drivers.errors import Busy, NotFound, Rejected
from drivers.isolation import RemoteSession, SessionPool
from drivers.requests import CloneRequest, DiskRequest, GuestRequest, NicRequest, VolumeRef, VolumeRequest
from drivers.types import GuestFact, GuestState, PowerAction, Severity
from tests.contract.guests import a_store, new_name
from tests.contract.subjects import DEADLINE_S, Subject
from tests.contract.test_reads import UNKNOWN
from tests.contract.test_snapshot_ops import take
from tests.contract.test_storage_ops import volumes_of

MIB = 1 << 20


def guest_of(session: RemoteSession, uuid: str) -> GuestFact | None:
    return next((guest for guest in session.snapshot().guests if guest.uuid == uuid), None)


def new_mac() -> str:
    return "52:54:00:" + ":".join(uuids.uuid4().hex[n : n + 2] for n in (0, 2, 4))


def new_volume(session: RemoteSession) -> str:
    return session.create_volume(VolumeRequest(a_store(session).uuid, new_name(), 8 * MIB)).path


def wish(session: RemoteSession, **values: object) -> GuestRequest:
    """What a small guest is made of, with a volume of its own."""
    uuid = uuids.uuid4()
    made = GuestRequest(
        uuid=str(uuid),
        name=f"t-{uuid.hex[:8]}",
        memory_bytes=64 * MIB,
        vcpus=2,
        title="A <small> one",
        notes="For tests & more",
        disks=(DiskRequest(new_volume(session)),),
        nics=(NicRequest(new_mac(), network=_network(session)),),
    )
    return replace(made, **values)  # type: ignore[arg-type]


def _network(session: RemoteSession) -> str:
    return next(switch.name for switch in session.snapshot().switches if switch.active and switch.managed)


def errors(session: RemoteSession, request: GuestRequest) -> set[str]:
    return {finding.check for finding in session.check_guest(request) if finding.severity is Severity.ERROR}


@pytest.fixture
def session(operable: Subject, pool: SessionPool) -> Iterator[RemoteSession]:
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


def test_made_once_as_asked(session: RemoteSession) -> None:
    request = wish(session)
    assert errors(session, request) == set()
    session.prepare_operation(request.uuid)
    for _again in range(2):
        assert session.define_guest(request) == request.uuid
    guest = guest_of(session, request.uuid)
    assert guest is not None
    assert (guest.name, guest.title, guest.notes) == (request.name, request.title, request.notes)
    assert (guest.state, guest.vcpus, guest.memory_bytes, guest.persistent) == (GuestState.OFF, 2, 64 * MIB, True)
    disk, drive = guest.disks
    assert (disk.source, disk.target, disk.format, disk.read_only) == (request.disks[0].path, "vda", "qcow2", False)
    assert (drive.device, drive.source) == ("cdrom", "")
    assert [(nic.mac, nic.network) for nic in guest.nics] == [(request.nics[0].mac, request.nics[0].network)]


def test_it_runs(session: RemoteSession) -> None:
    request = wish(session)
    session.define_guest(request)
    session.power(request.uuid, PowerAction.START)
    sighting = session.sight_guest(request.uuid)
    assert sighting is not None
    assert sighting.state is GuestState.RUNNING
    with pytest.raises(Rejected, match="off"):
        session.undefine_guest(request.uuid)


def test_what_speaks_against_it_is_said_before(session: RemoteSession, operable: Subject) -> None:
    request = wish(session)
    taken = guest_of(session, operable.power_guest)
    assert taken is not None
    for check, wrong in {
        "guest_name": replace(request, name=taken.name),
        "guest_memory": replace(request, memory_bytes=0),
        "guest_vcpus": replace(request, vcpus=0),
        "guest_architecture": replace(request, architecture="vax"),
        "guest_disk": replace(request, disks=(DiskRequest("/etc/shadow", "raw"),)),
        "guest_iso": replace(request, iso_path="/etc/passwd"),
        "guest_nic": replace(request, nics=(NicRequest(new_mac(), network="no such network"),)),
    }.items():
        assert check in errors(session, wrong), check
        with pytest.raises(Rejected):
            session.define_guest(wrong)
    assert guest_of(session, request.uuid) is None


@pytest.mark.parametrize("name", ["", "a/b", " x", "x\n", "\x00", "a" * 300])
def test_a_name_that_is_none(session: RemoteSession, name: str) -> None:
    assert "guest_name" in errors(session, wish(session, name=name))


def test_another_guests_volume_is_not_taken(session: RemoteSession) -> None:
    first = wish(session)
    session.define_guest(first)
    second = wish(session, disks=first.disks)
    assert "guest_disk" in errors(session, second)
    with pytest.raises(Rejected, match=first.name):
        session.define_guest(second)


def test_a_uuid_that_is_taken(session: RemoteSession, operable: Subject) -> None:
    with pytest.raises(Rejected, match="UUID"):
        session.define_guest(wish(session, uuid=operable.power_guest))


def test_past_its_time_nothing_is_done(session: RemoteSession) -> None:
    request = wish(session)
    with pytest.raises(Busy):
        session.define_guest(request, time.monotonic())
    assert guest_of(session, request.uuid) is None
    session.define_guest(request)
    with pytest.raises(Busy):
        session.undefine_guest(request.uuid, time.monotonic())
    assert guest_of(session, request.uuid) is not None


def test_forgotten_its_volumes_stay_until_they_are_deleted(session: RemoteSession) -> None:
    request = wish(session)
    store, path = a_store(session), request.disks[0].path
    volume = VolumeRef(store.uuid, path.rpartition("/")[2])
    session.define_guest(request)
    take(session, request.uuid, "one")
    with pytest.raises(Rejected, match=request.name):
        session.delete_volume(volume)
    assert session.undefine_guest(request.uuid) == (path,)
    assert guest_of(session, request.uuid) is None
    assert session.find_volume(volume) is not None
    assert session.undefine_guest(request.uuid) == ()
    session.delete_volume(volume)
    assert session.find_volume(volume) is None


def test_a_clone_has_its_own_disks_name_and_addresses(session: RemoteSession) -> None:
    request = wish(session)
    session.define_guest(request)
    clone = CloneRequest(str(uuids.uuid4()), new_name(""), (("vda", new_volume(session)),), (new_mac(),))
    for _again in range(2):
        assert session.clone_guest(request.uuid, clone) == clone.uuid
    first, second = guest_of(session, request.uuid), guest_of(session, clone.uuid)
    assert first is not None
    assert second is not None
    assert (second.name, second.vcpus, second.memory_bytes) == (clone.name, first.vcpus, first.memory_bytes)
    assert second.disks[0].source == clone.disks[0][1]
    assert [nic.mac for nic in second.nics] == list(clone.macs)
    assert (first.disks[0].source, first.nics[0].mac) == (request.disks[0].path, request.nics[0].mac)


def test_a_clone_never_shares_a_disk(session: RemoteSession) -> None:
    request = wish(session)
    session.define_guest(request)
    whole = CloneRequest(str(uuids.uuid4()), new_name(""), (("vda", new_volume(session)),), (new_mac(),))
    for wrong in (
        replace(whole, disks=()),
        replace(whole, disks=(("vda", request.disks[0].path),)),
        replace(whole, disks=(*whole.disks, ("vdz", whole.disks[0][1]))),
        replace(whole, macs=()),
        replace(whole, macs=(*whole.macs, new_mac())),
    ):
        with pytest.raises(Rejected):
            session.clone_guest(request.uuid, wrong)
    assert guest_of(session, whole.uuid) is None


def test_a_running_guest_is_not_cloned(session: RemoteSession, operable: Subject) -> None:
    with pytest.raises(Rejected, match="off"):
        session.clone_guest(operable.power_guest, CloneRequest(str(uuids.uuid4()), "t-x", (), ()))


@pytest.mark.parametrize("uuid", [UNKNOWN, "", "../x"])
def test_a_guest_that_is_not_there(operable: Subject, pool: SessionPool, uuid: str) -> None:
    with pool.session(operable.endpoint, deadline_s=DEADLINE_S) as session:
        with pytest.raises(NotFound):
            session.clone_guest(uuid, CloneRequest(str(uuids.uuid4()), "t-x", (), ()))
        if uuid == UNKNOWN:
            assert session.undefine_guest(uuid) == ()
        else:
            with pytest.raises(NotFound):
                session.undefine_guest(uuid)
