"""Disks, CDs and network adapters of a guest: added, changed and removed, each once; and the way back."""

from __future__ import annotations

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
    path_at,
    remove_disk,
    remove_nic,
)
from inventory.acts.pending import waiting_for_start
from inventory.acts.undo import undo_act, undo_reason
from inventory.models import Nic
from networks.models import VirtualSwitch
from operations.models import Job
from operations.selectors import job_title
from storage.models import Datastore, DatastoreMount, Volume
from tests.lives import Fate, live, strike_with
from tests.site import Site

GIB = 1 << 30
LOCAL = "/var/lib/libvirt/images"


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create(username="ada", role=Role.ADMIN)


@pytest.fixture
def stocked(site: Site) -> Site:
    """With a free volume in the local datastore."""
    with site.world.open() as world:
        local = world.hosts["alpha"].datastores[1]
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
def test_a_new_disk_is_made_and_added(site: Site, ada: User) -> None:
    shared = Datastore.objects.get(name="local")
    job = done(site, create_disk(guest=site.guest(), datastore=shared, capacity_bytes=3 * GIB, by=ada))
    added = site.really(site.guest()).disks[-1]
    assert added.source == f"{LOCAL}/{job.parameters['volume_name']}"
    assert volume(job.parameters["volume_name"]).capacity_bytes == 3 * GIB
    assert job_title(job) == "Add a new disk of 3 GiB"


@pytest.mark.usefixtures("fate")
def test_a_new_disk_that_the_guest_does_not_get_is_not_left_over(site: Site) -> None:
    site.world.add_fault("alpha", at="add_disk", do="rejected")
    store = Datastore.objects.get(name="local")
    job = live(create_disk(guest=site.guest(), datastore=store, capacity_bytes=GIB, by="test"))
    assert (job.state, job.message) == ("failed", "The host refused this.")
    with site.world.open() as world:
        assert world.hosts["alpha"].datastores[1].volumes == {}


def test_a_new_disk_needs_the_right_to_make_volumes(site: Site) -> None:
    user = User.objects.create(username="mig", role=Role.MIGRATION_ADMIN)
    with pytest.raises(Forbidden):
        create_disk(guest=site.guest(), datastore=Datastore.objects.get(name="local"), capacity_bytes=GIB, by=user)


def test_a_volume_of_another_guest_is_added_only_to_be_read(site: Site) -> None:
    other = volume(site.really(site.guest(1)).disks[0].source.rpartition("/")[2])
    with pytest.raises(Conflict, match="Two guests"):
        add_disk(guest=site.guest(), volume=other, by="test")
    assert add_disk(guest=site.guest(), volume=other, read_only=True, by="test").state == "queued"


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
    assert path_at(volume("spare.qcow2"), mount) == "/mnt/elsewhere/spare.qcow2"


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
