"""Two administrators want the same volume at the same moment: one of them gets it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from access.roles import Role
from core.errors import Conflict, Refused
from inventory.acts import define, devices, volumes
from inventory.acts.define import NewCd, NewDisk, NewGuest, submit_guest_create
from inventory.acts.devices import add_disk, change_media
from inventory.acts.volumes import lock_volume, submit_volume_delete, submit_volume_grow
from operations.errors import AlreadyOpen
from operations.models import Job
from storage.models import Volume
from tests import factories
from tests.factories import GIB, add_volume, make_datastore, make_guest, make_host, make_user
from tests.together import Meeting, database_for_threads, together

pytestmark = pytest.mark.django_db(transaction=True)

Wish = Callable[["Place", int], Job]


class Place:
    """Two hosts, each with a guest, that share a datastore with one free volume."""

    def __init__(self) -> None:
        self.hosts = (make_host("kvm-01"), make_host("kvm-02"))
        store = make_datastore("shared", self.hosts, technology="nfs", source="filer:/x", kind="netfs")
        self.volume = add_volume(store, "free.qcow2")
        self.iso = add_volume(store, "debian.iso", format="iso")
        self.guests = [make_guest(f"web-{number}", host) for number, host in enumerate(self.hosts)]
        for guest in self.guests:
            factories.add_disk(guest, None, device="cdrom", target="sda", source="")
        self.users = [make_user(Role.ADMIN, f"boss-{number}") for number in range(2)]


def give(place: Place, number: int) -> Job:
    return add_disk(guest=place.guests[number], volume=place.volume, by=place.users[number])


def build(place: Place, number: int) -> Job:
    new = NewGuest(
        host=place.hosts[number],
        name=f"new-{number}",
        memory_bytes=GIB,
        vcpus=1,
        disk=NewDisk(volume=place.volume),
    )
    return submit_guest_create(new=new, by=place.users[number])


def delete(place: Place, number: int) -> Job:
    return submit_volume_delete(volume=place.volume, confirmation=place.volume.name, by=place.users[number])


def grow(place: Place, number: int) -> Job:
    return submit_volume_grow(volume=place.volume, capacity_bytes=80 * GIB, by=place.users[number])


def insert(place: Place, number: int) -> Job:
    return change_media(guest=place.guests[number], target="sda", volume=place.iso, by=place.users[number])


def build_from_iso(place: Place, number: int) -> Job:
    new = NewGuest(
        host=place.hosts[number], name=f"new-{number}", memory_bytes=GIB, vcpus=1, cd=NewCd(volume=place.iso)
    )
    return submit_guest_create(new=new, by=place.users[number])


def delete_iso(place: Place, number: int) -> Job:
    return submit_volume_delete(volume=place.iso, confirmation=place.iso.name, by=place.users[number])


WISHES = [(give, give), (give, build), (build, build), (give, delete), (build, delete), (give, grow), (build, grow)]
WISHES += [(insert, delete_iso), (build_from_iso, delete_iso)]


@pytest.mark.parametrize("wishes", WISHES, ids=lambda wishes: " and ".join(wish.__name__ for wish in wishes))
def test_one_gets_it(wishes: tuple[Wish, Wish], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place, meeting = Place(), Meeting()
    for module in (devices, define, volumes):
        monkeypatch.setattr(module, "lock_volume", meeting.after(lock_volume))
    with database_for_threads(tmp_path):
        both = together(2, lambda number: wishes[number](place, number))
        assert sorted(isinstance(one, Job) for one in both) == [False, True], both
        assert all(isinstance(one, Job | Refused) for one in both), both
        assert Job.objects.count() == 1


@pytest.mark.parametrize("first", [give, build, delete, grow], ids=lambda wish: wish.__name__)
@pytest.mark.parametrize("second", [give, build, delete, grow], ids=lambda wish: wish.__name__)
def test_nor_does_the_next_one_a_moment_later(first: Wish, second: Wish) -> None:
    place = Place()
    assert first(place, 0).is_open
    with pytest.raises(Refused):
        second(place, 1)
    assert Job.objects.count() == 1


@pytest.mark.parametrize("reader", [insert, build_from_iso], ids=lambda wish: wish.__name__)
def test_an_iso_is_read_by_many_and_not_deleted_meanwhile(reader: Wish) -> None:
    place = Place()
    assert reader(place, 0).is_open
    with pytest.raises(Conflict, match=r"debian\.iso is put into a drive of"):
        delete_iso(place, 1)
    assert reader(place, 1).is_open
    assert Job.objects.count() == 2


@pytest.mark.parametrize("reader", [insert, build_from_iso], ids=lambda wish: wish.__name__)
def test_an_iso_that_is_being_deleted_is_read_by_nobody(reader: Wish) -> None:
    place = Place()
    assert delete_iso(place, 0).is_open
    with pytest.raises(AlreadyOpen):
        reader(place, 1)
    assert Job.objects.count() == 1


@pytest.mark.parametrize("second", [give, build, delete], ids=lambda wish: wish.__name__)
def test_what_was_given_and_read_while_one_looked_at_it_is_seen(second: Wish, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one's task has ended, and its host is read, before this one's wish has the volume's row."""
    place = Place()

    def late(volume: Volume) -> Volume:
        factories.add_disk(place.guests[0], volume.datastore, source=volume.path)
        return lock_volume(volume)

    for module in (devices, define, volumes):
        monkeypatch.setattr(module, "lock_volume", late)
    with pytest.raises(Conflict):
        second(place, 1)
    assert not Job.objects.exists()


@pytest.mark.parametrize("wish", [give, build, delete, grow], ids=lambda wish: wish.__name__)
def test_a_volume_that_is_gone_is_nobodys(wish: Wish) -> None:
    place = Place()
    Volume.objects.all().delete()
    with pytest.raises(Conflict, match="not in its datastore any more"):
        wish(place, 0)
    assert not Job.objects.exists()
