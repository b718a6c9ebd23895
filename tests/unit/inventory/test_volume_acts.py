"""A volume grows or goes only where no guest of any host needs it as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from access.models import User
from access.roles import Role
from core.errors import Conflict, Forbidden, Invalid
from drivers.fake.ops_model import FakeVolume
from hosts.models import Source
from inventory.acts.define import NewCd, NewDisk, NewGuest, submit_guest_create
from inventory.acts.devices import add_disk, change_media
from inventory.acts.volumes import submit_volume_delete, submit_volume_grow
from inventory.models import Disk, Guest
from operations.errors import AlreadyOpen
from operations.models import Job
from storage.models import Datastore, Volume
from tests.factories import add_volume, make_guest, make_user
from tests.lives import Fate, live, strike_with
from tests.world import Fleet, make_fleet

GIB = 1 << 30


@pytest.fixture
def fleet(db: None, tmp_path: Path) -> Fleet:
    made = make_fleet(tmp_path / "world.json", "alpha", "beta", guests=1)
    with made.world.open() as state:
        for host in state.hosts.values():
            host.datastores[0].volumes["data.qcow2"] = FakeVolume(name="data.qcow2", capacity_bytes=GIB)
    return made


@pytest.fixture
def volume(fleet: Fleet) -> Volume:
    """Free, on a datastore that both hosts see."""
    shared = Datastore.objects.get(name="shared")
    return add_volume(shared, "data.qcow2", path="/var/lib/libvirt/shared/data.qcow2", capacity_bytes=GIB)


@pytest.fixture
def admin(db: None) -> User:
    return make_user(Role.ADMIN, "boss")


def there(fleet: Fleet) -> FakeVolume | None:
    with fleet.world.open() as state:
        return state.hosts["alpha"].datastores[0].volumes.get("data.qcow2")


def delete(volume: Volume, by: Any, confirmation: str = "data.qcow2") -> Job:
    return submit_volume_delete(volume=volume, confirmation=confirmation, by=by)


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("number", range(1, 5))
def test_it_is_deleted_whoever_dies(
    fleet: Fleet, volume: Volume, admin: User, monkeypatch: pytest.MonkeyPatch, number: int, made: bool
) -> None:
    strike_with(monkeypatch, Fate([(number, made)]))
    job = live(delete(volume, admin))
    assert (job.state, there(fleet)) == ("succeeded", None), job.message
    assert not Volume.objects.filter(pk=volume.pk).exists()


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("number", range(1, 5))
def test_it_grows_whoever_dies(
    fleet: Fleet, volume: Volume, admin: User, monkeypatch: pytest.MonkeyPatch, number: int, made: bool
) -> None:
    strike_with(monkeypatch, Fate([(number, made)]))
    job = live(submit_volume_grow(volume=volume, capacity_bytes=3 * GIB, by=admin))
    found = there(fleet)
    assert (job.state, job.message, found and found.capacity_bytes) == ("succeeded", "It has 3 GiB now.", 3 * GIB)


USES: list[dict[str, Any]] = [
    {"source": "/var/lib/libvirt/shared/data.qcow2"},
    {"source": "/var/lib/libvirt/shared/data.qcow2", "datastore": None},  # of a read before the datastore was known
    {"source": "shared/data.qcow2", "source_type": "volume"},
    {"source": "/x", "details": {"backing": [{"source": "/y"}, {"source": "/var/lib/libvirt/shared/data.qcow2"}]}},
]


@pytest.mark.parametrize("host", ["alpha", "beta"])
@pytest.mark.parametrize("use", USES, ids=str)
def test_a_guest_of_any_host_keeps_it(
    fleet: Fleet, volume: Volume, admin: User, monkeypatch: pytest.MonkeyPatch, host: str, use: dict[str, Any]
) -> None:
    strike_with(monkeypatch)
    free = delete(volume, admin)
    guest = fleet.guest(host)
    Disk.objects.filter(guest=guest, position=0).update(**use)
    ended = live(free)  # taken between the question and the act
    assert (ended.state, ended.message) == ("failed", f"data.qcow2 is used by {guest.name}.")
    assert there(fleet)
    with pytest.raises(Conflict, match=f"is used by {guest.name}"):
        delete(volume, admin)
    with pytest.raises(Conflict, match="power the guest off"):
        submit_volume_grow(volume=volume, capacity_bytes=2 * GIB, by=admin)
    Guest.objects.update(state="off")
    submit_volume_grow(volume=volume, capacity_bytes=2 * GIB, by=admin)


def test_an_overlay_keeps_its_base(fleet: Fleet, volume: Volume, admin: User) -> None:
    local = Datastore.objects.get(name="local", mounts__host__name="beta")
    add_volume(local, "top.qcow2", backing=volume.path)
    with pytest.raises(Conflict, match=r"top\.qcow2 rests on data\.qcow2"):
        delete(volume, admin)
    with pytest.raises(Conflict, match="rest on it"):
        submit_volume_grow(volume=volume, capacity_bytes=2 * GIB, by=admin)


def test_the_same_path_on_a_host_that_does_not_see_it_is_another(fleet: Fleet, volume: Volume, admin: User) -> None:
    volume.datastore.mounts.filter(host__name="beta").delete()
    Disk.objects.filter(guest=fleet.guest("beta"), position=0).update(source=volume.path, datastore=None)
    delete(volume, admin)


def test_what_speaks_against_it(fleet: Fleet, volume: Volume, admin: User) -> None:
    with pytest.raises(Invalid, match="as it is written"):
        delete(volume, admin, "data")
    with pytest.raises(Invalid, match="only grows"):
        submit_volume_grow(volume=volume, capacity_bytes=GIB, by=admin)
    with pytest.raises(Forbidden):
        delete(volume, make_user(Role.MIGRATION_ADMIN))
    delete(volume, admin)
    with pytest.raises(AlreadyOpen):
        delete(volume, admin)


@pytest.mark.parametrize("use", USES, ids=str)
def test_what_a_guest_of_another_host_has_is_given_to_no_second_one(
    fleet: Fleet, volume: Volume, admin: User, use: dict[str, Any]
) -> None:
    other = fleet.guest("beta")
    Disk.objects.filter(guest=other, position=0).update(**use)
    with pytest.raises(Conflict, match=f"is used by {other.name}"):
        add_disk(guest=fleet.guest("alpha"), volume=volume, by=admin)
    with pytest.raises(Conflict, match="no other guest may read it"):
        add_disk(guest=fleet.guest("alpha"), volume=volume, read_only=True, by=admin)
    Disk.objects.filter(guest=other, position=0).update(shareable=True)
    assert add_disk(guest=fleet.guest("alpha"), volume=volume, read_only=True, by=admin).state == "queued"


def test_what_is_promised_to_one_guest_is_read_by_no_other(fleet: Fleet, volume: Volume, admin: User) -> None:
    add_disk(guest=fleet.guest("alpha"), volume=volume, by=admin)
    with pytest.raises(Conflict, match="is given to"):
        add_disk(guest=fleet.guest("beta"), volume=volume, read_only=True, by=admin)


def test_what_is_promised_to_be_read_is_read_by_others_but_written_by_none(
    fleet: Fleet, volume: Volume, admin: User
) -> None:
    add_disk(guest=fleet.guest("alpha"), volume=volume, read_only=True, by=admin)
    other = make_guest("reader", fleet.guest("beta").host)
    with pytest.raises(Conflict, match="is given to"):
        add_disk(guest=other, volume=volume, by=admin)
    assert add_disk(guest=other, volume=volume, read_only=True, by=admin).is_open


@pytest.mark.parametrize("read_only", [False, True])
def test_another_guests_disk_is_not_read_through_what_rests_on_it(
    fleet: Fleet, volume: Volume, admin: User, read_only: bool
) -> None:
    middle = add_volume(
        volume.datastore, "middle.qcow2", path="/var/lib/libvirt/shared/middle.qcow2", backing=volume.path
    )
    top = add_volume(volume.datastore, "top.qcow2", path="/var/lib/libvirt/shared/top.qcow2", backing=middle.path)
    other = fleet.guest("beta")
    Disk.objects.filter(guest=other, position=0).update(source=volume.path, datastore=volume.datastore)
    with pytest.raises(Conflict, match=rf"top\.qcow2 rests on data\.qcow2, a disk of {other.name} that"):
        add_disk(guest=fleet.guest("alpha"), volume=top, read_only=read_only, by=admin)
    new = NewGuest(host=fleet.guest("alpha").host, name="thief", memory_bytes=GIB, vcpus=1, disk=NewDisk(volume=top))
    with pytest.raises(Conflict, match="rests on"):
        submit_guest_create(new=new, by=admin)
    Disk.objects.filter(guest=other, position=0).update(
        source="/elsewhere", details={"backing": [{"source": volume.path}]}
    )
    assert add_disk(guest=fleet.guest("alpha"), volume=top, read_only=read_only, by=admin).is_open, "a template"


def test_a_cd_that_became_anothers_disk_meanwhile_is_not_inserted(fleet: Fleet, volume: Volume, admin: User) -> None:
    iso = add_volume(volume.datastore, "tools.iso", path="/var/lib/libvirt/shared/tools.iso", format="iso")
    mine, other = fleet.guest("alpha"), fleet.guest("beta")
    Disk.objects.filter(guest=mine, position=0).update(device="cdrom", target="sda", source="")
    job = change_media(guest=mine, target="sda", volume=iso, by=admin)
    Disk.objects.filter(guest=other, position=0).update(source=iso.path, datastore=iso.datastore)
    ended = live(job)
    assert (ended.state, ended.message[:14]) == ("failed", "It is a disk o"), ended.message


def test_an_iso_is_no_disk_of_a_new_guest_and_a_disk_is_no_cd(fleet: Fleet, volume: Volume, admin: User) -> None:
    iso = add_volume(volume.datastore, "tools.iso", path="/var/lib/libvirt/shared/tools.iso", format="raw")
    host = fleet.guest("alpha").host
    with pytest.raises(Invalid, match="no disk"):
        submit_guest_create(
            new=NewGuest(host=host, name="a", memory_bytes=GIB, vcpus=1, disk=NewDisk(volume=iso)), by=admin
        )
    Disk.objects.filter(guest=fleet.guest("beta"), position=0).update(source=iso.path, datastore=iso.datastore)
    with pytest.raises(Conflict, match="no other guest may read it"):
        submit_guest_create(
            new=NewGuest(host=host, name="a", memory_bytes=GIB, vcpus=1, cd=NewCd(volume=iso)), by=admin
        )


def test_a_host_that_mounts_it_elsewhere_counts(fleet: Fleet, volume: Volume, admin: User) -> None:
    volume.datastore.mounts.filter(host__name="beta").update(path="/mnt/nas")
    Disk.objects.filter(guest=fleet.guest("beta"), position=0).update(source="/mnt/nas/data.qcow2", datastore=None)
    with pytest.raises(Conflict, match="two guests"):
        add_disk(guest=fleet.guest("alpha"), volume=volume, by=admin)


def test_what_others_rest_on_is_no_disk_to_write_to(fleet: Fleet, volume: Volume, admin: User) -> None:
    add_volume(volume.datastore, "top.qcow2", backing=volume.path)
    with pytest.raises(Conflict, match=r"Other volumes rest on data\.qcow2"):
        add_disk(guest=fleet.guest("alpha"), volume=volume, by=admin)


def test_another_volume_of_the_same_name_is_not_deleted(
    fleet: Fleet, volume: Volume, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    strike_with(monkeypatch)
    job = delete(volume, admin)
    values = {"path": volume.path, "capacity_bytes": GIB}
    volume.delete()  # a read found it gone, the next one found another
    add_volume(Datastore.objects.get(name="shared"), "data.qcow2", **values)
    ended = live(job)
    assert (ended.state, ended.message) == ("failed", "The volume is not in its datastore any more.")
    assert there(fleet)


def test_it_does_not_grow_below_a_guest_that_was_started_meanwhile(
    fleet: Fleet, volume: Volume, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    strike_with(monkeypatch)
    job = submit_volume_grow(volume=volume, capacity_bytes=2 * GIB, by=admin)
    guest = fleet.guest("beta")
    Disk.objects.filter(guest=guest, position=0).update(source=volume.path)
    ended = live(job)
    assert (ended.state, f"{guest.name} runs with it" in ended.message) == ("failed", True)
    found = there(fleet)
    assert found and found.capacity_bytes == GIB


def test_of_two_who_want_one_volume_one_gets_it(
    fleet: Fleet, volume: Volume, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For guests of different hosts, before the host of the first was read again."""
    strike_with(monkeypatch)
    first, second = fleet.guest("alpha"), fleet.guest("beta")
    given = add_disk(guest=first, volume=volume, by=admin)
    for ended in (False, True):
        assert not ended or live(given).state == "succeeded"
        with pytest.raises(Conflict, match=f"is given to {first.name}"):
            add_disk(guest=second, volume=volume, by=admin)
        with pytest.raises(Conflict, match=f"is given to {first.name}"):
            delete(volume, admin)
    Source.objects.update(inventory_read_at=timezone.now())
    add_disk(guest=second, volume=volume, by=admin)  # the read did not find it with the first
