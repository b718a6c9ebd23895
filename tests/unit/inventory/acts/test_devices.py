"""Disks, CDs and network adapters of a guest: added, changed and removed, each once; and the way back."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from access.models import User
from access.roles import Role
from core.errors import Conflict, Forbidden, Invalid
from drivers.fake.ops_model import FakeVolume
from drivers.types import GuestState
from inventory.acts.devices import (
    add_disk,
    add_nic,
    change_media,
    change_nic,
    create_disk,
    grow_disk,
    remove_disk,
    remove_nic,
)
from inventory.acts.pending import waiting_for_start
from inventory.acts.undo import undo_act, undo_reason
from inventory.acts.volumes import path_on
from inventory.models import Disk, Nic
from networks.models import VirtualSwitch
from operations.models import Job
from operations.selectors import job_title
from storage.models import Datastore, DatastoreMount, Volume
from tests.lives import Fate, live, strike_with
from tests.site import Site
from tests.world import local_store, put_theirs

GIB = 1 << 30
LOCAL = "/var/lib/libvirt/images"


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create(username="ada", role=Role.ADMIN)


@pytest.fixture
def stocked(site: Site) -> Site:
    """With a free volume in the local datastore."""
    with local_store(site.world) as local:
        local.volumes["spare.qcow2"] = FakeVolume(name="spare.qcow2", capacity_bytes=GIB)
    site.read()
    return site


def volume(name: str) -> Volume:
    return Volume.objects.get(name=name)


def switch(name: str) -> VirtualSwitch:
    return VirtualSwitch.objects.get(name=name)


def nic(site: Site) -> Nic:
    return Nic.objects.get(guest=site.guest())


def done(site: Site, job: Job) -> Job:
    ended = live(job)
    assert ended.state == "succeeded", ended.message
    site.read()
    return ended


def drive(site: Site) -> str:
    return next(disk.source for disk in site.really(site.guest()).disks if disk.device == "cdrom")


# -- CDs


@pytest.mark.usefixtures("fate")
def test_insert_eject_and_back_again(site: Site, ada: User) -> None:
    inserted = done(site, change_media(guest=site.guest(), target="sda", volume=volume("virtio-win.iso"), by=ada))
    assert drive(site) == f"{LOCAL}/virtio-win.iso"
    assert job_title(inserted) == "Insert virtio-win.iso into sda"
    ejected = done(site, change_media(guest=site.guest(), target="sda", volume=None, by=ada))
    assert drive(site) == ""
    assert job_title(ejected) == "Eject sda"
    assert "changed again" in undo_reason(inserted, user=ada)
    done(site, undo_act(job=ejected, by=ada))
    assert drive(site) == f"{LOCAL}/virtio-win.iso"
    assert undo_reason(inserted, user=ada) == "", "it is again as that task left it"
    done(site, undo_act(job=inserted, by=ada))
    assert drive(site) == ""


@pytest.mark.usefixtures("fate")
def test_a_locked_drive_is_forced_only_when_asked(site: Site) -> None:
    done(site, change_media(guest=site.guest(), target="sda", volume=volume("virtio-win.iso"), by="test"))
    with site.world.open() as world:
        world.hosts["alpha"].guests[site.guest().uuid].disks[1].locked = True
    job = live(change_media(guest=site.guest(), target="sda", volume=None, by="test"))
    assert job.state == "failed"
    assert "locked" in job.message
    done(site, change_media(guest=site.guest(), target="sda", volume=None, force=True, by="test"))
    assert drive(site) == ""


@pytest.mark.usefixtures("fate")
def test_what_was_in_the_drive_may_be_gone(site: Site, ada: User) -> None:
    done(site, change_media(guest=site.guest(), target="sda", volume=volume("virtio-win.iso"), by=ada))
    ejected = done(site, change_media(guest=site.guest(), target="sda", volume=None, by=ada))
    Volume.objects.filter(name="virtio-win.iso").delete()
    with pytest.raises(Conflict, match="not on the guest's host any more"):
        undo_act(job=ejected, by=ada)


def test_media_that_make_no_sense(stocked: Site) -> None:
    guest = stocked.guest()
    with pytest.raises(Invalid, match="not an ISO"):
        change_media(guest=guest, target="sda", volume=volume("spare.qcow2"), by="test")
    with pytest.raises(Conflict, match="empty already"):
        change_media(guest=guest, target="sda", volume=None, by="test")
    with pytest.raises(Conflict, match="no such device"):
        change_media(guest=guest, target="vda", volume=None, by="test")
    DatastoreMount.objects.filter(datastore__name="local").update(active=False)
    with pytest.raises(Conflict, match="not started"):
        change_media(guest=guest, target="sda", volume=volume("virtio-win.iso"), by="test")


# -- disks


@pytest.mark.usefixtures("fate")
def test_add_grow_and_remove(stocked: Site, ada: User) -> None:
    done(stocked, add_disk(guest=stocked.guest(), volume=volume("spare.qcow2"), by="test"))
    added = stocked.really(stocked.guest()).disks[-1]
    assert (added.target, added.source, added.bus) == ("vdb", f"{LOCAL}/spare.qcow2", "virtio")
    grown = done(stocked, grow_disk(guest=stocked.guest(), target="vdb", capacity_bytes=2 * GIB, by="test"))
    assert job_title(grown) == "Grow disk vdb to 2 GiB"
    assert volume("spare.qcow2").capacity_bytes == 2 * GIB
    done(stocked, remove_disk(guest=stocked.guest(), target="vdb", by="test"))
    assert {disk.target for disk in stocked.really(stocked.guest()).disks} == {"vda", "sda"}
    assert volume("spare.qcow2"), "the volume stays"


@pytest.mark.usefixtures("fate")
def test_what_cannot_be_plugged_while_it_runs_waits(stocked: Site, ada: User) -> None:
    job = done(stocked, add_disk(guest=stocked.guest(), volume=volume("spare.qcow2"), bus="sata", by="test"))
    assert "after the next start" in job.message
    assert [one.words for one in waiting_for_start(stocked.guest(), user=ada)] == ["disk spare.qcow2 is added"]
    stocked.set_state(stocked.guest(), GuestState.OFF)
    assert waiting_for_start(stocked.guest(), user=ada) == []


@pytest.mark.usefixtures("fate")
def test_a_cd_drive_of_a_running_guest_goes_at_its_next_start(site: Site, ada: User) -> None:
    done(site, remove_disk(guest=site.guest(), target="sda", by="test"))
    assert [one.words for one in waiting_for_start(site.guest(), user=ada)] == ["disk sda is removed"]


@pytest.mark.usefixtures("fate")
def test_a_disk_that_came_into_the_place_of_another_does_not_grow(stocked: Site) -> None:
    """Somebody changed the guest on its host after it was asked for: what grows never shrinks again."""
    job = grow_disk(guest=stocked.guest(), target="vda", capacity_bytes=500 * GIB, by="test")
    with stocked.world.open() as world:
        disk = world.hosts["alpha"].guests[stocked.guest().uuid].disks[0]
        disk.source = f"{LOCAL}/another.qcow2"
    ended = live(job)
    assert (ended.state, "another volume in this place" in ended.message) == ("failed", True)
    assert stocked.really(stocked.guest()).disks[0].capacity_bytes != 500 * GIB


@pytest.mark.usefixtures("fate")
def test_a_new_disk_is_made_and_added(site: Site, ada: User) -> None:
    shared = Datastore.objects.get(name="local")
    job = done(site, create_disk(guest=site.guest(), datastore=shared, capacity_bytes=3 * GIB, by=ada))
    added = site.really(site.guest()).disks[-1]
    assert added.source == f"{LOCAL}/{job.parameters['volume_name']}"
    assert volume(job.parameters["volume_name"]).capacity_bytes == 3 * GIB
    assert job_title(job) == "Add a new disk of 3 GiB"


@pytest.mark.parametrize("name", ["a" * 250, "../../x", "ä", "-rf"])
def test_a_new_disk_has_a_name_of_its_own_however_the_guest_is_called(site: Site, name: str) -> None:
    """A host may call its guests what it likes."""
    store, guest = Datastore.objects.get(name="local"), site.guest()
    type(guest).objects.filter(pk=guest.pk).update(name=name)
    job = create_disk(guest=guest, datastore=store, capacity_bytes=GIB, by="test")
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+@-]*-[0-9a-f]{8}\.qcow2", job.parameters["volume_name"])
    assert len(job.parameters["volume_name"]) < 200


@pytest.mark.usefixtures("fate")
def test_a_new_disk_that_the_guest_does_not_get_is_not_left_over(site: Site) -> None:
    site.world.add_fault("alpha", at="add_disk", do="rejected")
    store = Datastore.objects.get(name="local")
    job = live(create_disk(guest=site.guest(), datastore=store, capacity_bytes=GIB, by="test"))
    assert (job.state, job.message) == ("failed", "The host refused this.")
    with local_store(site.world) as local:
        assert local.volumes == {}


@pytest.mark.usefixtures("fate")
def test_a_new_disk_that_cannot_be_taken_away_again_is_named(site: Site) -> None:
    for at in ("add_disk", "delete_volume"):
        site.world.add_fault("alpha", at=at, do="rejected")
    store = Datastore.objects.get(name="local")
    job = live(create_disk(guest=site.guest(), datastore=store, capacity_bytes=GIB, by="test"))
    told = f"{job.parameters['volume_name']} is left over: The host refused this."
    assert (job.state, told in [step.message for step in job.steps.all()]) == ("failed", True)


@pytest.mark.usefixtures("fate")
@pytest.mark.parametrize("at", ["create_volume", "complete_volume", "add_disk"])
def test_a_new_disk_of_a_host_that_fell_silent_is_named(site: Site, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    monkeypatch.setattr("hosts.acts.SILENCE_SECONDS", 0.0)
    site.world.add_fault("alpha", at=at, do="unreachable", times=-1)
    store = Datastore.objects.get(name="local")
    job = live(create_disk(guest=site.guest(), datastore=store, capacity_bytes=GIB, by="test"))
    told = f"Volume {job.parameters['volume_name']} may be left in datastore local: look there, and delete it if"
    assert (job.state, told in job.message) == ("needs_attention", True), job.message


@pytest.mark.parametrize("number", range(2, 9))
@pytest.mark.parametrize("made", [False, True])
def test_a_volume_that_somebody_else_makes_under_the_name_is_neither_added_nor_deleted(
    site: Site, monkeypatch: pytest.MonkeyPatch, number: int, made: bool
) -> None:
    """A worker dies, and before the next one looks the name is taken by one that looks like what was asked for."""
    fate, theirs = strike_with(monkeypatch, Fate([(number, made)])), list[bool]()
    store = Datastore.objects.get(name="local")
    job = create_disk(guest=site.guest(), datastore=store, capacity_bytes=GIB, by="test")
    name = job.parameters["volume_name"]
    fate.at_death = lambda: theirs.append(put_theirs(site.world, name, GIB))
    ended = live(job)
    has_it = any(disk.source.endswith(name) for disk in site.really(site.guest()).disks)
    assert (ended.state, has_it) == (("failed", False) if any(theirs) else ("succeeded", True)), ended.message
    with local_store(site.world) as local:
        assert (local.volumes[name].digest == "theirs") == any(theirs)


def test_a_new_disk_needs_the_right_to_make_volumes(site: Site) -> None:
    user = User.objects.create(username="mig", role=Role.MIGRATION_ADMIN)
    with pytest.raises(Forbidden):
        create_disk(guest=site.guest(), datastore=Datastore.objects.get(name="local"), capacity_bytes=GIB, by=user)


def test_a_volume_of_another_guest_is_added_only_to_be_read_and_when_that_shares_it(site: Site, mig: User) -> None:
    """What a guest writes for itself is not for another to see, whoever may configure both."""
    disk = site.really(site.guest(1)).disks[0]
    other = volume(disk.source.rpartition("/")[2])
    with pytest.raises(Conflict, match="two guests"):
        add_disk(guest=site.guest(), volume=other, by=mig)
    with pytest.raises(Conflict, match="not shareable"):
        add_disk(guest=site.guest(), volume=other, read_only=True, by=mig)
    Disk.objects.filter(source=disk.source).update(shareable=True)
    with pytest.raises(Conflict, match="two guests"):
        add_disk(guest=site.guest(), volume=other, by=mig)
    assert add_disk(guest=site.guest(), volume=other, read_only=True, by=mig).state == "queued"


@pytest.fixture
def mig(db: None) -> User:
    return User.objects.create(username="mig", role=Role.MIGRATION_ADMIN)


def test_an_image_that_a_guest_s_disk_rests_on_is_not_read_by_another(site: Site, mig: User) -> None:
    other = volume(site.really(site.guest(1)).disks[0].source.rpartition("/")[2])
    rows = Disk.objects.filter(source=other.path)
    rows.update(source="/elsewhere", details={"backing": [{"source": other.path, "format": "qcow2"}]})
    with pytest.raises(Conflict, match="not shareable"):
        add_disk(guest=site.guest(), volume=other, read_only=True, by=mig)


@pytest.mark.parametrize("read_only", [False, True])
def test_an_iso_is_no_disk(site: Site, mig: User, read_only: bool) -> None:
    Volume.objects.filter(name="virtio-win.iso").update(format="raw")  # as hosts say that do not look into it
    with pytest.raises(Invalid, match="CD drive"):
        add_disk(guest=site.guest(), volume=volume("virtio-win.iso"), read_only=read_only, by=mig)


def test_a_disk_of_another_guest_is_no_cd_whatever_its_name(site: Site, mig: User) -> None:
    disk = site.really(site.guest(1)).disks[0]
    Volume.objects.filter(path=disk.source).update(name="x.iso")
    with pytest.raises(Conflict, match="not shareable"):
        change_media(guest=site.guest(), target="sda", volume=volume("x.iso"), by=mig)


@pytest.mark.usefixtures("fate")
@pytest.mark.parametrize("read_only", [False, True])
def test_a_volume_that_a_guest_got_since_it_was_asked_for_is_not_added(stocked: Site, read_only: bool) -> None:
    spare = volume("spare.qcow2")
    job = add_disk(guest=stocked.guest(), volume=spare, read_only=read_only, by="test")
    Disk.objects.filter(guest=stocked.guest(1), position=0).update(source=spare.path, datastore=spare.datastore)
    ended = live(job)
    assert (ended.state, f"is {'a disk of' if read_only else 'used by'}" in ended.message) == ("failed", True)
    assert all(disk.source != spare.path for disk in stocked.really(stocked.guest()).disks)


@pytest.mark.usefixtures("fate")
def test_a_volume_that_is_gone_since_it_was_asked_for_is_not_added(stocked: Site) -> None:
    """What has its name on the host by now is another one."""
    job = add_disk(guest=stocked.guest(), volume=volume("spare.qcow2"), by="test")
    volume("spare.qcow2").delete()
    ended = live(job)
    assert (ended.state, ended.message) == ("failed", "The volume is not in its datastore any more.")


@pytest.mark.parametrize(
    ("act", "options", "error"),
    [
        (add_disk, {"bus": "floppy"}, Invalid),
        (add_disk, {"cache": "fast"}, Invalid),
        (grow_disk, {"target": "vda", "capacity_bytes": 1}, Invalid),
        (grow_disk, {"target": "vda", "capacity_bytes": -1}, Invalid),
        (grow_disk, {"target": "sda", "capacity_bytes": GIB}, Conflict),
        (grow_disk, {"target": "vdz", "capacity_bytes": GIB}, Conflict),
        (remove_disk, {"target": "vdz"}, Conflict),
        (create_disk, {"capacity_bytes": 0}, Invalid),
        (create_disk, {"capacity_bytes": GIB, "format": "vmdk"}, Invalid),
    ],
)
def test_disks_that_make_no_sense(
    stocked: Site, act: Callable[..., Job], options: dict[str, Any], error: type[Exception]
) -> None:
    given: dict[str, dict[str, Any]] = {
        "add_disk": {"volume": volume("spare.qcow2")},
        "create_disk": {"datastore": Datastore.objects.first()},
    }
    with pytest.raises(error):
        act(guest=stocked.guest(), by="test", **given.get(act.__name__, {}), **options)
    assert not Job.objects.exists()


def test_a_volume_is_named_as_the_guests_host_sees_it(stocked: Site) -> None:
    mount = DatastoreMount.objects.get(datastore__name="local")
    mount.path = "/mnt/elsewhere/"
    assert path_on(mount, volume("spare.qcow2")) == "/mnt/elsewhere/spare.qcow2"


# -- network adapters


@pytest.mark.usefixtures("fate")
def test_add_plug_elsewhere_switch_the_link_and_remove(site: Site, ada: User) -> None:
    mac = nic(site).mac
    moved = done(
        site, change_nic(guest=site.guest(), mac=mac.upper(), switch=switch("vlans"), port_group="backup", by=ada)
    )
    assert job_title(moved) == f"Plug NIC {mac} into vlans"
    really = site.really(site.guest()).nics[0]
    assert (really.network, really.port_group, really.link_up) == ("vlans", "backup", True)
    down = done(site, change_nic(guest=site.guest(), mac=mac, link_up=False, by=ada))
    assert job_title(down) == f"Link down: NIC {mac}"
    assert not nic(site).link_up
    assert nic(site).port_group == "backup", "it is plugged in where it was"
    done(site, undo_act(job=down, by=ada))
    assert nic(site).link_up
    added = done(site, add_nic(guest=site.guest(), switch=switch("default"), by=ada))
    assert added.parameters["mac"] in {one.mac for one in Nic.objects.filter(guest=site.guest())}
    done(site, remove_nic(guest=site.guest(), mac=added.parameters["mac"], by=ada))
    assert Nic.objects.get(guest=site.guest()).mac == mac


@pytest.mark.usefixtures("fate")
def test_back_to_where_it_was_plugged_in(site: Site, ada: User) -> None:
    mac = nic(site).mac
    done(site, change_nic(guest=site.guest(), mac=mac, switch=switch("vlans"), port_group="office", by=ada))
    moved = done(site, change_nic(guest=site.guest(), mac=mac, switch=switch("default"), by=ada))
    done(site, undo_act(job=moved, by=ada))
    assert (nic(site).network, nic(site).port_group) == ("vlans", "office")


@pytest.mark.usefixtures("fate")
def test_a_new_adapter_has_a_mac_address_of_its_own(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    Nic.objects.update(mac="52:54:00:01:02:03")
    tails = iter([b"\x01\x02\x03", b"\x01\x02\x04"])
    monkeypatch.setattr(secrets, "token_bytes", lambda _count: next(tails))
    job = add_nic(guest=site.guest(), switch=switch("default"), by="test")
    assert job.parameters["mac"] == "52:54:00:01:02:04"


def test_adapters_that_make_no_sense(site: Site) -> None:
    guest, mac = site.guest(), nic(site).mac
    with pytest.raises(Invalid, match="port group"):
        add_nic(guest=guest, switch=switch("default"), port_group="office", by="test")
    with pytest.raises(Invalid, match="model"):
        add_nic(guest=guest, switch=switch("default"), model="<ne2k>", by="test")
    with pytest.raises(Conflict, match="no such network adapter"):
        change_nic(guest=guest, mac="52:54:00:ff:ff:ff", link_up=False, by="test")
    with pytest.raises(Invalid, match="Nothing"):
        change_nic(guest=guest, mac=mac, link_up=True, by="test")
    VirtualSwitch.objects.filter(name="default").update(missing_since="2026-01-01T00:00Z")
    with pytest.raises(Conflict, match="not on the guest's host"):
        add_nic(guest=guest, switch=switch("default"), by="test")
    Nic.objects.update(kind="hostdev")
    with pytest.raises(Conflict, match="virtual switch"):
        remove_nic(guest=guest, mac=mac, by="test")


# -- workers that die

ACTS: dict[str, Callable[[Site], Job]] = {
    "insert": lambda site: change_media(guest=site.guest(), target="sda", volume=volume("virtio-win.iso"), by="test"),
    "add": lambda site: add_disk(guest=site.guest(), volume=volume("spare.qcow2"), by="test"),
    "create": lambda site: create_disk(
        guest=site.guest(), datastore=Datastore.objects.get(name="local"), capacity_bytes=GIB, by="test"
    ),
    "grow": lambda site: grow_disk(guest=site.guest(), target="vda", capacity_bytes=500 * GIB, by="test"),
    "remove": lambda site: remove_disk(guest=site.guest(), target="vda", by="test"),
    "nic_add": lambda site: add_nic(guest=site.guest(), switch=switch("default"), by="test"),
    "nic_change": lambda site: change_nic(guest=site.guest(), mac=nic(site).mac, switch=switch("default"), by="test"),
    "nic_remove": lambda site: remove_nic(guest=site.guest(), mac=nic(site).mac, by="test"),
}


def shape(site: Site) -> tuple[Any, ...]:
    guest = site.really(site.guest())
    return (
        [(disk.target, disk.source[:20], disk.capacity_bytes) for disk in guest.disks],
        [(one.network, one.link_up) for one in guest.nics],
    )


@pytest.mark.parametrize("act", ACTS)
def test_a_kill_at_every_call(stocked: Site, monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    """The guest ends as it does when nobody dies."""
    as_it_was = stocked.world.path.read_bytes()
    wanted: tuple[Any, ...] | None = None
    number, struck = 0, True
    while struck:
        for made in (False, True):
            stocked.world.path.write_bytes(as_it_was)
            with transaction.atomic():
                fate = strike_with(monkeypatch, Fate([(number, made)]))
                job = live(ACTS[act](stocked))
                struck = not fate.kills or number == 0
                assert job.state == "succeeded", (fate.calls, job.message)
                wanted = wanted or shape(stocked)
                assert shape(stocked) == wanted, fate.calls
                transaction.set_rollback(True)
        number += 1
    assert number > 3
