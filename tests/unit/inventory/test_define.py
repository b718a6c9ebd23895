"""New guests, clones and deleting: made whole or not at all, once, and nothing that is not theirs is touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from access.models import User
from access.roles import Role
from core.errors import Conflict, Forbidden, Invalid
from drivers.fake.model import FakeHost
from drivers.fake.ops_model import FakeVolume
from drivers.types import GuestState
from hosts.models import Source
from inventory.acts.define import (
    NewCd,
    NewDisk,
    NewGuest,
    disks_of,
    rooms,
    submit_guest_clone,
    submit_guest_create,
    submit_guest_delete,
    warnings_for,
)
from inventory.models import Disk, Guest, Placement
from networks.models import VirtualSwitch
from operations.errors import AlreadyOpen
from operations.models import Job
from operations.services import request_cancel
from storage import act_runner, staging
from storage.models import Datastore, Upload, Volume
from tests.factories import add_volume, make_upload, make_user
from tests.lives import Fate, live, strike_with
from tests.world import Fleet, local_store, make_fleet, put_theirs

GIB = 1 << 30


@pytest.fixture
def fleet(db: None, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    settings.UPLOAD_DIR = tmp_path / "uploads"
    monkeypatch.setattr(act_runner, "RETRY_SECONDS", 0.005)
    made = make_fleet(tmp_path / "world.json", "alpha", "beta", guests=2)
    Datastore.objects.update(capacity_bytes=1 << 40, available_bytes=1 << 39)
    with made.world.open() as state:
        for name, host in state.hosts.items():
            for guest in host.guests.values():
                for disk in guest.disks:
                    store = Datastore.objects.get(name="shared")
                    add_volume(
                        store,
                        disk.source.rpartition("/")[2],
                        path=disk.source,
                        capacity_bytes=disk.capacity_bytes,
                        told_by=store.mounts.get(host__name=name).pk,
                    )
    return made


@pytest.fixture
def admin(db: None) -> User:
    return make_user(Role.ADMIN, "boss")


@pytest.fixture
def off(fleet: Fleet) -> Guest:
    """A guest of alpha that is off."""
    guest = fleet.guest("alpha")
    with fleet.world.open() as state:
        state.hosts["alpha"].guests[guest.uuid].state = GuestState.OFF
    Guest.objects.filter(pk=guest.pk).update(state="off")
    guest.refresh_from_db()
    return guest


def world(fleet: Fleet, host: str = "alpha") -> FakeHost:
    with fleet.world.open() as state:
        return state.hosts[host]


def stores(fleet: Fleet, host: str = "alpha") -> dict[str, list[str]]:
    return {store.name: sorted(store.volumes) for store in world(fleet, host).datastores}


def local(host: str = "alpha") -> Datastore:
    return Datastore.objects.get(name="local", mounts__host__name=host)


def wanted(fleet: Fleet, admin: User, **values: Any) -> NewGuest:
    """With a blank disk, an uploaded CD and a network."""
    upload = make_upload(admin, "my debian.iso", size_bytes=500)
    staging.write_piece(upload.pk, 0, b"x" * 500)
    usual: dict[str, Any] = {
        "host": fleet.hosts["alpha"],
        "name": "web 1",
        "memory_bytes": 2 * GIB,
        "vcpus": 2,
        "disk": NewDisk(datastore=local(), capacity_bytes=10 * GIB),
        "cd": NewCd(upload=upload, datastore=local()),
        "switch": VirtualSwitch.objects.get(host__name="alpha", name="default"),
        "start": True,
    }
    return NewGuest(**(usual | values))


def create(fleet: Fleet, admin: User, **values: Any) -> Job:
    return submit_guest_create(new=wanted(fleet, admin, **values), by=admin)


def guest_named(fleet: Fleet, name: str, host: str = "alpha") -> Any:
    found = [guest for guest in world(fleet, host).guests.values() if guest.name == name]
    assert len(found) <= 1
    return found[0] if found else None


def assert_untouched(fleet: Fleet, before: tuple[Any, ...]) -> None:
    assert (stores(fleet), sorted(world(fleet).guests)) == before


def picture(fleet: Fleet) -> tuple[Any, ...]:
    return stores(fleet), sorted(world(fleet).guests)


def take_theirs(fleet: Fleet, name: str) -> None:
    """Somebody else's volume is there still; it is taken away."""
    with local_store(fleet.world) as store:
        assert store.volumes.pop(name).digest == "theirs"


def story(job: Job) -> list[str]:
    return [step.message for step in job.steps.all() if step.message]


# -- new


def test_a_guest_from_nothing(fleet: Fleet, admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    strike_with(monkeypatch)
    job = live(create(fleet, admin, uefi=True, notes="n", title="t"))
    assert (job.state, job.message) == ("succeeded", "web 1 is created and started.")
    guest = guest_named(fleet, "web 1")
    assert (guest.state, guest.vcpus, guest.memory_bytes, guest.firmware) == ("running", 2, 2 * GIB, "uefi")
    disk, drive = guest.disks
    assert (disk.source.startswith("/var/lib/libvirt/images/web-1-"), disk.capacity_bytes) == (True, 10 * GIB)
    assert drive.source == "/var/lib/libvirt/images/my-debian.iso"
    assert guest.nics[0].network == "default"
    assert story(job)[-2] == "It was asked to start."
    assert not Upload.objects.exists()


def test_a_guest_from_a_volume(fleet: Fleet, admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    strike_with(monkeypatch)
    with local_store(fleet.world) as store:
        store.volumes["golden.qcow2"] = FakeVolume(name="golden.qcow2", capacity_bytes=GIB)
    volume = add_volume(local(), "golden.qcow2", path="/var/lib/libvirt/images/golden.qcow2")
    job = live(create(fleet, admin, disk=NewDisk(volume=volume), cd=None, start=False, switch=None))
    assert (job.state, job.message) == ("succeeded", "web 1 is created.")
    assert [disk.source for disk in guest_named(fleet, "web 1").disks] == [volume.path, ""]
    # Nobody has read the host since: the volume is given away all the same.
    with pytest.raises(Conflict, match="is given to web 1"):
        create(fleet, admin, name="web 2", disk=NewDisk(volume=volume), cd=None)


@pytest.mark.parametrize(
    ("taken", "reason"),
    [
        ("disk", "is used by"),
        ("below", "Other volumes rest on"),
        ("read", "no other guest may read it"),
        ("gone", "The volume is not in its datastore any more."),
    ],
)
def test_a_volume_that_somebody_took_since_it_was_asked_for_goes_to_no_new_guest(
    fleet: Fleet, admin: User, monkeypatch: pytest.MonkeyPatch, taken: str, reason: str
) -> None:
    strike_with(monkeypatch)
    with local_store(fleet.world) as store:
        for name in ("golden.qcow2", "my.iso"):
            store.volumes[name] = FakeVolume(name=name, capacity_bytes=GIB)
    disk = add_volume(local(), "golden.qcow2", path="/var/lib/libvirt/images/golden.qcow2")
    iso = add_volume(local(), "my.iso", path="/var/lib/libvirt/images/my.iso", format="iso")
    before = picture(fleet)
    job = create(fleet, admin, disk=NewDisk(volume=disk), cd=NewCd(volume=iso))
    if taken in {"disk", "read"}:
        use = disk if taken == "disk" else iso
        Disk.objects.filter(guest=fleet.guest("beta"), position=0).update(source=use.path, datastore=use.datastore)
    elif taken == "below":
        add_volume(local(), "over.qcow2", path="/var/lib/libvirt/images/over.qcow2", backing=disk.path)
    else:
        disk.delete()
    ended = live(job)
    assert (ended.state, reason in ended.message) == ("failed", True), ended.message
    assert_untouched(fleet, before)


def test_a_volume_that_is_taken_while_a_file_is_sent_goes_to_no_new_guest(
    fleet: Fleet, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was free when the task began; what was sent until then goes again."""
    fate = strike_with(monkeypatch)
    with local_store(fleet.world) as store:
        store.volumes["golden.qcow2"] = FakeVolume(name="golden.qcow2", capacity_bytes=GIB)
    disk = add_volume(local(), "golden.qcow2", path="/var/lib/libvirt/images/golden.qcow2")
    before = picture(fleet)

    def take(_number: int, method: str) -> None:
        if method == "end_upload":
            Disk.objects.filter(guest=fleet.guest("beta"), position=0).update(source=disk.path, datastore=local())

    fate.before_call = take
    ended = live(create(fleet, admin, disk=NewDisk(volume=disk)))
    assert ("end_upload" in fate.calls, ended.state, "is used by" in ended.message) == (True, "failed", True)
    assert_untouched(fleet, before)


CALLS = 28


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("number", range(1, CALLS))
def test_a_worker_may_die_at_any_call_of_a_new_guest(
    fleet: Fleet, admin: User, monkeypatch: pytest.MonkeyPatch, number: int, made: bool
) -> None:
    strike_with(monkeypatch, Fate([(number, made)]))
    before = set(world(fleet).guests)
    job = live(create(fleet, admin))
    assert job.state == "succeeded", job.message
    assert len(set(world(fleet).guests) - before) == 1
    assert guest_named(fleet, "web 1").state == "running"
    assert len(stores(fleet)["local"]) == 2
    told = story(job)
    assert len(told) == len(set(told)) or told.count("Another worker goes on from here.") == 1


def test_every_call_of_a_new_guest_was_struck(fleet: Fleet, admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    fate = strike_with(monkeypatch)
    live(create(fleet, admin))
    assert len(fate.calls) < CALLS


VOLUMES = ["create_volume", "complete_volume", "start_upload", "send_upload", "end_upload"]
FAILING = ["check_guest", *VOLUMES, "define_guest"]


@pytest.mark.parametrize("at", FAILING)
def test_what_fails_leaves_nothing(fleet: Fleet, admin: User, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    strike_with(monkeypatch)
    before = picture(fleet)
    fleet.world.add_fault("alpha", at=at, do="rejected")
    job = live(create(fleet, admin))
    assert (job.state, fleet.world.fired("alpha", at=at)) == ("failed", 1)
    assert job.message.startswith("The host refused this.")
    assert_untouched(fleet, before)
    assert Upload.objects.exists()


def test_a_volume_that_somebody_else_made_is_no_guest_s_cd(
    fleet: Fleet, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is taken after the look; the host says no, and the worker dies before it can note that."""
    fate, before = strike_with(monkeypatch), picture(fleet)
    fate.before_call = lambda _n, method: method == "create_volume" and put_theirs(fleet.world, "my-debian.iso", 500)
    fate.dies_refused = lambda _method: fate.calls.count("create_volume") == 1
    job = live(create(fleet, admin))
    assert (job.state, fate.calls.count("create_volume")) == ("failed", 2)
    take_theirs(fleet, "my-debian.iso")
    assert_untouched(fleet, before)


@pytest.mark.parametrize("number", range(1, 40))
def test_a_worker_may_die_while_it_undoes(
    fleet: Fleet, admin: User, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    before = picture(fleet)
    fleet.world.add_fault("alpha", at="define_guest", do="rejected", times=-1)
    strike_with(monkeypatch, Fate([(number, bool(number % 2))]))
    job = live(create(fleet, admin))
    assert job.state == "failed", job.message
    assert_untouched(fleet, before)


def test_a_guest_that_does_not_start_is_kept_and_told(
    fleet: Fleet, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    strike_with(monkeypatch)
    fleet.world.add_fault("alpha", at="power", do="rejected")
    job = live(create(fleet, admin))
    assert job.state == "needs_attention"
    assert job.message == "The guest is created, but it was not started: The host refused this."
    assert guest_named(fleet, "web 1").state == "off"


@pytest.mark.parametrize("number", range(1, 20))
def test_cancelled_at_any_call_it_is_there_or_nothing_is(
    fleet: Fleet, admin: User, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fate = strike_with(monkeypatch)
    before = picture(fleet)
    job = create(fleet, admin)

    def cancel(call: int, _method: str) -> None:
        if call == number and Job.objects.get(pk=job.pk).is_open:
            request_cancel(job=job, by="ada")

    fate.before_call = cancel
    ended = live(job)
    if ended.state == "cancelled":
        assert_untouched(fleet, before)
    else:
        assert (ended.state, guest_named(fleet, "web 1").state) == ("succeeded", "running")


def test_one_of_fifty(fleet: Fleet, admin: User) -> None:
    new = wanted(fleet, admin, cd=None)
    submit_guest_create(new=new, by=admin)
    for _number in range(49):
        with pytest.raises(AlreadyOpen, match="alpha already has an open task: Create guest web 1"):
            submit_guest_create(new=new, by=admin)
    assert Job.objects.count() == 1


BAD = [
    ({"name": "../x"}, "name"),
    ({"name": "<b>"}, "name"),
    ({"name": ""}, "name"),
    ({"memory_bytes": 5}, "memory_bytes"),
    ({"vcpus": 0}, "vcpus"),
    ({"vcpus": 5000}, "vcpus"),
    ({"machine": "q35' x='"}, "machine"),
    ({"os": "javascript:alert(1)"}, "os"),
    ({"title": "a\nb\0"}, "title"),
    ({"notes": "a\0"}, "notes"),
    ({"disk": NewDisk()}, "disk_datastore"),
    ({"cd": NewCd()}, "cd_datastore"),
    ({"port_group": "none"}, "port_group"),
]


@pytest.mark.parametrize(("values", "field"), BAD, ids=str)
def test_what_no_guest_can_be(fleet: Fleet, admin: User, values: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        create(fleet, admin, **values)
    assert caught.value.field == field


def test_what_speaks_against_a_new_guest(fleet: Fleet, admin: User) -> None:
    here = local()
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"name": fleet.guest("alpha").name}, Invalid, "has a guest of this name"),
        ({"disk": NewDisk(datastore=local("beta"), capacity_bytes=GIB)}, Invalid, "is not started on alpha"),
        ({"disk": NewDisk(datastore=here, capacity_bytes=GIB, format="vmdk")}, Invalid, "one of these formats"),
        ({"disk": NewDisk(datastore=here, capacity_bytes=GIB, bus="x")}, Invalid, "no such bus"),
        ({"disk": NewDisk(datastore=here)}, Invalid, "not the size"),
        ({"disk": NewDisk(volume=Volume.objects.first())}, Conflict, "two guests that write to one disk"),
        ({"cd": NewCd(volume=Volume.objects.first())}, Invalid, "not an ISO"),
        ({"cd": NewCd(upload=make_upload(admin), datastore=here)}, Conflict, "not whole"),
        ({"switch": VirtualSwitch.objects.filter(host__name="beta").first()}, Invalid, "is not on alpha"),
    ]
    for values, error, words in cases:
        with pytest.raises(error, match=words):
            create(fleet, admin, **values)
    with pytest.raises(Forbidden):
        submit_guest_create(new=wanted(fleet, admin), by=make_user(Role.MIGRATION_ADMIN))
    Source.objects.update(state="paused")
    new = wanted(fleet, admin)
    new.host.source.refresh_from_db()
    with pytest.raises(Conflict, match="paused"):
        submit_guest_create(new=new, by=admin)
    assert not Job.objects.exists()


def test_hosts_with_room_come_first(fleet: Fleet, admin: User) -> None:
    Guest.objects.filter(host__name="alpha").update(memory_bytes=100 * GIB)
    found = rooms(fleet.hosts.values())
    assert [room.host.name for room in found] == ["beta", "alpha"]
    assert found[1].free_bytes == fleet.hosts["alpha"].memory_bytes - 200 * GIB
    told = warnings_for(wanted(fleet, admin, memory_bytes=999 * GIB, cd=None))
    assert "of memory that no running guest was promised" in told[0]


# -- clone


def test_a_clone(fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    strike_with(monkeypatch)
    job = live(submit_guest_clone(guest=off, name="copy", datastore=local(), by=admin))
    assert job.state == "succeeded", job.message
    original, copy = world(fleet).guests[off.uuid], guest_named(fleet, "copy")
    assert {nic.mac for nic in copy.nics}.isdisjoint(nic.mac for nic in original.nics)
    assert len(stores(fleet)["local"]) == Disk.objects.filter(guest=off, device="disk").count()
    assert {disk.source for disk in copy.disks}.isdisjoint(disk.source for disk in original.disks)


CLONE_CALLS = 26


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("number", range(1, CLONE_CALLS))
def test_a_worker_may_die_at_any_call_of_a_clone(
    fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch, number: int, made: bool
) -> None:
    strike_with(monkeypatch, Fate([(number, made)]))
    job = live(submit_guest_clone(guest=off, name="copy", datastore=local(), by=admin))
    assert job.state == "succeeded", job.message
    assert guest_named(fleet, "copy") is not None
    assert len(stores(fleet)["local"]) == Disk.objects.filter(guest=off, device="disk").count()


def test_every_call_of_a_clone_was_struck(
    fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fate = strike_with(monkeypatch)
    live(submit_guest_clone(guest=off, name="copy", datastore=local(), by=admin))
    assert len(fate.calls) < CLONE_CALLS


def is_theirs(fleet: Fleet, name: str) -> bool:
    with local_store(fleet.world) as store:
        return store.volumes[name].digest == "theirs"


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("number", range(1, CLONE_CALLS))
def test_another_s_volume_of_a_copy_s_name_is_never_deleted(
    fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch, number: int, made: bool
) -> None:
    """A worker dies, and before the next one looks somebody makes a volume like the copy under its name."""
    fate, theirs = strike_with(monkeypatch, Fate([(number, made)])), list[bool]()
    job = submit_guest_clone(guest=off, name="copy", datastore=local(), by=admin)
    copy = job.parameters["disks"][0]
    fate.at_death = lambda: theirs.append(put_theirs(fleet.world, copy["name"], int(copy["capacity_bytes"])))
    ended = live(job)
    assert (ended.state == "succeeded") is not any(theirs), ended.message
    assert is_theirs(fleet, copy["name"]) is any(theirs)


@pytest.mark.parametrize("at", ["copy_volume", "claim_volume"])
def test_what_took_the_place_of_a_claimed_name_stays(
    fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    fate = strike_with(monkeypatch)
    job = submit_guest_clone(guest=off, name="copy", datastore=local(), by=admin)
    name = job.parameters["disks"][0]["name"]

    def replace(number: int, method: str) -> None:
        if method == at and fate.calls.count(method) == 1:
            put_theirs(fleet.world, name, 7, instead=True)
            fate.kills[number] = False

    fate.before_call = replace
    ended = live(job)
    told = f"Volume {name} may be left in datastore local: look there"
    if at == "copy_volume":  # it was asked for, so what stands there may be of this task
        assert (ended.state, told in ended.message) == ("needs_attention", True), ended.message
    else:
        assert (ended.state, "something of this name" in ended.message) == ("failed", True), ended.message
    assert is_theirs(fleet, name)


@pytest.mark.parametrize("at", ["create_volume", "complete_volume"])
def test_what_a_host_that_fell_silent_may_have_made_for_a_new_guest_is_named(
    fleet: Fleet, admin: User, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    strike_with(monkeypatch)
    monkeypatch.setattr("hosts.acts.SILENCE_SECONDS", 0.0)
    fleet.world.add_fault("alpha", at=at, do="unreachable", times=-1)
    job = live(create(fleet, admin, cd=None))
    told = f"Volume {job.parameters['disk']['name']} may be left in datastore local: look there"
    assert (job.state, told in job.message) == ("needs_attention", True), job.message


@pytest.mark.parametrize("at", ["create_volume", "copy_volume"])
def test_what_a_host_that_fell_silent_may_have_copied_is_named(
    fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    strike_with(monkeypatch)
    monkeypatch.setattr("hosts.acts.SILENCE_SECONDS", 0.0)
    fleet.world.add_fault("alpha", at=at, do="unreachable", times=-1)
    job = live(submit_guest_clone(guest=off, name="copy", datastore=local(), by=admin))
    told = f"Volume {job.parameters['disks'][0]['name']} may be left in datastore local: look there"
    assert (job.state, told in job.message) == ("needs_attention", True), job.message


AT_A_CLONE = ["sight_guest", "create_volume", "copy_volume", "task", "find_volume", "clone_guest", "check_guest"]


@pytest.mark.parametrize("at", AT_A_CLONE)
def test_a_clone_that_fails_leaves_nothing(
    fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    strike_with(monkeypatch)
    before = picture(fleet)
    fleet.world.add_fault("alpha", at=at, do="rejected")
    job = live(submit_guest_clone(guest=off, name="copy", datastore=local(), by=admin))
    assert (job.state, fleet.world.fired("alpha", at=at)) == ("failed", 1)
    assert_untouched(fleet, before)


def name_a_guest(fleet: Fleet, name: str) -> None:
    """Somebody does it on the host itself."""
    with fleet.world.open() as state:
        other = list(state.hosts["alpha"].guests.values())[-1]
        other.name = name


def test_a_clone_s_name_that_is_taken_is_said_before_anything_is_copied(
    fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fate = strike_with(monkeypatch)
    job = submit_guest_clone(guest=off, name="copy", datastore=local(), by=admin)
    name_a_guest(fleet, "copy")
    before = picture(fleet)
    ended = live(job)
    told = "Another guest of this host has this name; choose another."
    assert (ended.state, ended.message) == ("failed", told)
    assert "copy_volume" not in fate.calls
    assert_untouched(fleet, before)


def test_a_clone_s_name_that_is_taken_while_disks_are_copied(
    fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fate = strike_with(monkeypatch)
    fate.before_call = lambda _n, method: name_a_guest(fleet, "copy") if method == "clone_guest" else None
    before = picture(fleet)
    ended = live(submit_guest_clone(guest=off, name="copy", datastore=local(), by=admin))
    assert (ended.state, ended.message.startswith("Another guest of this host has this name")) == ("failed", True)
    assert "copy_volume" in fate.calls
    assert_untouched(fleet, before)


def test_a_volume_that_has_a_copy_s_name_stays(
    fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    strike_with(monkeypatch)
    job = submit_guest_clone(guest=off, name="copy", datastore=local(), by=admin)
    assert put_theirs(fleet.world, job.parameters["disks"][0]["name"], GIB)
    before = picture(fleet)
    assert live(job).state == "failed"
    assert_untouched(fleet, before)


def test_a_volume_that_gets_a_copy_s_name_before_it_is_asked_for_stays(
    fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker dies right before it asks for the copy."""
    fate = strike_with(monkeypatch)
    job = submit_guest_clone(guest=off, name="copy", datastore=local(), by=admin)
    name = job.parameters["disks"][0]["name"]
    before = picture(fleet)

    def take(number: int, method: str) -> None:
        if method == "prepare_operation" and fate.calls.count(method) == 1:
            fate.kills[number] = False
            put_theirs(fleet.world, name, GIB, instead=True)

    fate.before_call = take
    ended = live(job)
    assert (ended.state, "something of this name" in ended.message) == ("failed", True)
    take_theirs(fleet, name)
    assert_untouched(fleet, before)


def test_files_are_not_cloned_into_block_devices(fleet: Fleet, admin: User, off: Guest) -> None:
    store = local()
    store.kind = "logical"
    with pytest.raises(Invalid, match="between files and block devices"):
        submit_guest_clone(guest=off, name="copy", datastore=store, by=admin)


def test_what_speaks_against_a_clone(fleet: Fleet, admin: User, off: Guest) -> None:
    with pytest.raises(Conflict, match="power it off first"):
        submit_guest_clone(guest=fleet.guest("alpha"), name="copy", by=admin)
    with pytest.raises(Invalid, match="choose another"):
        submit_guest_clone(guest=off, name=off.name, by=admin)
    with pytest.raises(Forbidden):
        submit_guest_clone(guest=off, name="copy", by=make_user(Role.OPERATOR))
    Datastore.objects.update(available_bytes=1)
    with pytest.raises(Invalid, match="free, and this needs"):
        submit_guest_clone(guest=off, name="copy", by=admin)
    Volume.objects.all().delete()
    with pytest.raises(Conflict, match="is not known; refresh"):
        submit_guest_clone(guest=off, name="copy", by=admin)


# -- delete


def delete(guest: Guest, admin: User, *disks: str, confirmation: str = "") -> Job:
    return submit_guest_delete(guest=guest, confirmation=confirmation or guest.name, disks=disks, by=admin)


def test_a_guest_is_deleted_and_its_disks_stay(
    fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    strike_with(monkeypatch)
    job = live(delete(off, admin))
    assert (job.state, job.message) == ("succeeded", "The guest is deleted; its disks stay.")
    assert off.uuid not in world(fleet).guests
    assert stores(fleet)["shared"]


def test_disks_that_a_cancel_leaves_without_their_guest_are_named(
    fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fate = strike_with(monkeypatch)
    job = delete(off, admin, *(one.disk.source for one in disks_of(off)))
    names = [disk["name"] for disk in job.parameters["disks"]]

    def cancel(_number: int, method: str) -> None:
        if method == "undefine_guest":
            request_cancel(job=job, by="ada")

    fate.before_call = cancel
    ended = live(job)
    assert (ended.state, off.uuid in world(fleet).guests) == ("cancelled", False)
    assert names
    assert all(name in ended.message for name in names)
    assert stores(fleet)["shared"] == sorted(names)


def test_disks_that_are_left_when_the_host_goes_out_of_the_inventory_are_named(
    fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its source is removed while a worker is away, and the guest is deleted already."""
    fate = strike_with(monkeypatch)
    job = delete(off, admin, *(one.disk.source for one in disks_of(off)))
    names = [disk["name"] for disk in job.parameters["disks"]]

    def leave(number: int, method: str) -> None:
        if method == "undefine_guest":
            fate.kills[number + 1] = False
        elif "undefine_guest" in fate.calls:
            Job.objects.filter(pk=job.pk).update(parameters={**job.parameters, "host": str(uuid4())})

    fate.before_call = leave
    ended = live(job)
    assert (ended.state, "not in the inventory" in ended.message) == ("needs_attention", True)
    assert names
    assert all(name in ended.message for name in names)


def test_a_cancel_after_a_disk_of_which_nobody_knows_needs_a_person(
    fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its deleting was asked for, then the host fell silent: that is no clean end."""
    monkeypatch.setattr("hosts.acts.SILENCE_SECONDS", 0.05)
    fate = strike_with(monkeypatch)
    job = delete(off, admin, *(one.disk.source for one in disks_of(off)))
    names = [disk["name"] for disk in job.parameters["disks"]]
    fleet.world.add_fault("alpha", at="delete_volume", do="unreachable", times=-1)

    def cancel(_number: int, method: str) -> None:
        if method == "delete_volume" and fate.calls.count(method) == 1:
            request_cancel(job=job, by="ada")

    fate.before_call = cancel
    ended = live(job)
    assert (ended.state, len(names) > 1) == ("needs_attention", True)
    assert all(name in ended.message for name in names)


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("number", range(1, 12))
def test_a_guest_is_deleted_with_its_disks_whoever_dies(
    fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch, number: int, made: bool
) -> None:
    strike_with(monkeypatch, Fate([(number, made)]))
    sources = [one.disk.source for one in disks_of(off)]
    job = live(delete(off, admin, *sources))
    assert (job.state, off.uuid in world(fleet).guests) == ("succeeded", False), job.message
    assert stores(fleet)["shared"] == []
    assert not Volume.objects.filter(path__contains=off.name).exists()


def test_a_disk_of_somebody_else_stays(fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever host the other guest is on."""
    strike_with(monkeypatch)
    other = fleet.guest("beta")
    mine = Disk.objects.filter(guest=off, device="disk").order_by("position").first()
    assert mine is not None
    Disk.objects.filter(guest=other, position=0).update(source=mine.source)
    shown = disks_of(off)
    assert (shown[0].own, other.name in shown[0].reason) == (False, True)
    with pytest.raises(Conflict, match=f"is used by {other.name}"):
        delete(off, admin, mine.source)
    Disk.objects.filter(guest=other, position=0).update(source="/elsewhere")
    job = delete(off, admin, mine.source)
    Disk.objects.filter(guest=other, position=0).update(
        source="/elsewhere", details={"backing": [{"source": mine.source, "format": "qcow2"}]}
    )
    ended = live(job)
    assert (ended.state, ended.message.startswith("Nothing was deleted.")) == ("failed", True)
    assert off.uuid in world(fleet).guests


def test_a_volume_that_others_rest_on_stays(fleet: Fleet, admin: User, off: Guest) -> None:
    disk = disks_of(off)[0]
    assert disk.volume is not None
    add_volume(local(), "overlay.qcow2", backing=disk.volume.path)
    with pytest.raises(Conflict, match=r"overlay\.qcow2 rests on"):
        delete(off, admin, disk.disk.source)


def test_another_volume_of_a_disks_name_stays(
    fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    strike_with(monkeypatch)
    disk = disks_of(off)[0]
    assert disk.volume is not None
    job = delete(off, admin, disk.disk.source)
    disk.volume.delete()  # a read found it gone, and what lies there now was not read yet
    ended = live(job)
    assert (ended.state, "is not in its datastore any more" in ended.message) == ("failed", True)
    assert off.uuid in world(fleet).guests


def test_a_disk_that_is_refused_is_told(fleet: Fleet, admin: User, off: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    strike_with(monkeypatch)
    fleet.world.add_fault("alpha", at="delete_volume", do="rejected")
    job = live(delete(off, admin, disks_of(off)[0].disk.source))
    assert job.state == "needs_attention"
    assert job.message.startswith("The guest is deleted. These disks were not deleted:")


def test_what_speaks_against_deleting(fleet: Fleet, admin: User, off: Guest) -> None:
    cases: list[tuple[Callable[[], Job], type[Exception], str]] = [
        (lambda: delete(off, admin, confirmation="another"), Invalid, "as it is written"),
        (lambda: delete(off, admin, "vdz"), Invalid, "no such disk"),
        (lambda: delete(fleet.guest("alpha"), admin), Conflict, "power it off first"),
        (lambda: delete(off, make_user(Role.OPERATOR)), Forbidden, "role"),
    ]
    for act, error, words in cases:
        with pytest.raises(error, match=words):
            act()
    Placement.objects.create(guest=off, host=fleet.hosts["beta"], ref="x", state="off", evidence_at=off.evidence_at)
    with pytest.raises(Conflict, match="beta has this guest, too"):
        delete(off, admin, disks_of(off)[0].disk.source)
    assert not Job.objects.exists()
    delete(off, admin)
    with pytest.raises(AlreadyOpen):
        delete(off, admin)
