"""What is offered as a disk is what would be taken; what is in use says by whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser

from access.models import User
from access.roles import Role
from core.errors import Conflict, Invalid
from hosts.models import Host
from inventory.acts import offers
from inventory.acts.devices import add_disk
from inventory.acts.offers import disks_on, isos_on
from inventory.acts.volumes import is_iso, submit_volume_delete, submit_volume_grow
from inventory.models import Disk, Guest
from storage.models import Datastore, DatastoreMount, Volume
from tests import factories
from tests.factories import GIB, add_volume, make_datastore, make_guest, make_host, make_job, make_user


@dataclass
class Here:
    """Two hosts, a datastore that both see, and a guest without disks on the first."""

    user: User
    host: Host
    other: Host
    store: Datastore
    guest: Guest

    def offered(self) -> dict[str, str]:
        """Why not, by the volume's name."""
        return {one.volume.name: one.reason for one in disks_on(self.host, user=self.user)}

    def is_taken(self, volume: Volume) -> bool:
        try:
            add_disk(guest=self.guest, volume=volume, by=self.user)
        except (Conflict, Invalid):
            return False
        return True


@pytest.fixture
def here(db: None) -> Here:
    host, other = make_host("kvm-01"), make_host("kvm-02")
    store = make_datastore("shared", (host, other), technology="nfs", source="filer:/x")
    return Here(make_user(Role.ADMIN), host, other, store, make_guest("web-1", host))


def test_free_files_and_block_devices_are_offered(here: Here) -> None:
    free = add_volume(here.store, "free.qcow2")
    add_volume(here.store, "lv-1", kind="block", format="")
    assert here.offered() == {"free.qcow2": "", "lv-1": ""}
    assert here.is_taken(free)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("lost+found", {"kind": "dir", "format": "dir"}),
        ("images", {"kind": "netdir", "format": "raw"}),
        ("pool/image", {"kind": "network", "format": "raw"}),
        ("old.vmdk", {"format": "vmdk"}),
        ("unread.qcow2", {"kind": "", "format": ""}),
    ],
)
def test_what_no_guest_can_have_is_not_offered_and_refused(here: Here, name: str, values: dict[str, str]) -> None:
    volume = add_volume(here.store, name, **values)
    assert here.offered() == {}
    assert not here.is_taken(volume)


def test_isos_are_no_disks_and_directories_no_isos(here: Here) -> None:
    add_volume(here.store, "debian.iso", format="iso")
    add_volume(here.store, "raw.ISO", format="raw")
    folder = add_volume(here.store, "folder.iso", kind="dir", format="dir")
    assert here.offered() == {}
    assert [one.volume.name for one in isos_on(here.host, user=here.user)] == ["debian.iso", "raw.ISO"]
    assert not is_iso(folder)


def test_a_datastore_that_the_host_does_not_see_or_has_stopped_is_none_of_it(here: Here) -> None:
    elsewhere = make_datastore("elsewhere", (here.other,))
    volume = add_volume(elsewhere, "far.qcow2")
    add_volume(here.store, "near.qcow2")
    assert set(here.offered()) == {"near.qcow2"}
    assert not here.is_taken(volume)
    DatastoreMount.objects.filter(host=here.host).update(active=False)
    assert here.offered() == {}


def test_what_is_in_use_says_by_whom_and_comes_last(here: Here) -> None:
    used = add_volume(here.store, "a.qcow2")
    factories.add_disk(make_guest("db-07", here.other), here.store, source="/srv/shared/a.qcow2")
    add_volume(here.store, "b.qcow2")
    assert list(here.offered().items()) == [("b.qcow2", ""), ("a.qcow2", "used by db-07")]
    assert not here.is_taken(used)


def test_a_guest_of_a_host_that_calls_it_otherwise_is_found(here: Here) -> None:
    DatastoreMount.objects.filter(host=here.other).update(path="/mnt/b")
    used = add_volume(here.store, "a.qcow2")
    factories.add_disk(make_guest("db-07", here.other), None, source="/mnt/b/a.qcow2")
    assert here.offered() == {"a.qcow2": "used by db-07"}
    assert not here.is_taken(used)


def test_what_disks_or_volumes_rest_on_is_in_use(here: Here) -> None:
    base = add_volume(here.store, "base.qcow2")
    golden = add_volume(here.store, "golden.qcow2")
    add_volume(here.store, "child.qcow2", backing="/srv/shared/golden.qcow2")
    details = {"backing": [{"source": "/srv/shared/base.qcow2"}]}
    factories.add_disk(make_guest("db-07", here.host), None, source="/tmp/x.qcow2", details=details)
    expected = {"child.qcow2": "", "base.qcow2": "used by db-07", "golden.qcow2": "others rest on it"}
    assert here.offered() == expected
    assert not here.is_taken(base)
    assert not here.is_taken(golden)


def test_what_a_task_is_giving_to_a_guest_is_in_use(here: Here) -> None:
    first, second = add_volume(here.store, "1.qcow2"), add_volume(here.store, "2.qcow2")
    make_job(make_guest("a", here.host), kind="disk_add", parameters={"volume": str(first.pk)})
    wanted = {"name": "new", "disk": {"volume": str(second.pk)}}
    make_job(make_guest("b", here.host), kind="guest_create", parameters=wanted)
    assert here.offered() == {"1.qcow2": "given to a just now", "2.qcow2": "given to new just now"}
    assert not here.is_taken(first)
    assert not here.is_taken(second)


def test_what_is_free_is_found_behind_thousands_that_are_not(here: Here) -> None:
    use_many(here, 5010, lambda name: f"/srv/shared/{name}")
    assert list(here.offered().items())[:2] == [("z-free.qcow2", ""), ("used-0000.qcow2", "used by busy")]


@pytest.mark.parametrize(
    "called",
    [
        pytest.param(lambda name: f"/mnt/b/{name}", id="another host calls it otherwise"),
        pytest.param(lambda name: f"pool-b/{name}", id="by the pool of another host"),
    ],
)
def test_what_is_free_is_found_whatever_others_call_the_rest(
    here: Here, called: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "OFFERED", 5)
    monkeypatch.setattr(offers, "CANDIDATES", 5)
    DatastoreMount.objects.filter(host=here.other).update(path="/mnt/b/", name="pool-b")
    use_many(here, 30, called)
    assert next(iter(here.offered().items())) == ("z-free.qcow2", "")
    assert len(here.offered()) == 5


def test_what_is_free_is_found_behind_what_others_rest_on(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers, "OFFERED", 5)
    monkeypatch.setattr(offers, "CANDIDATES", 5)
    for number in range(20):
        base = add_volume(here.store, f"base-{number:02}.qcow2")
        add_volume(here.store, f"top-{number:02}.vmdk", format="vmdk", backing=base.path)
    add_volume(here.store, "z-free.qcow2")
    assert next(iter(here.offered().items())) == ("z-free.qcow2", "")


def test_the_same_path_in_another_datastore_takes_nothing(here: Here) -> None:
    """Of a host that this one shares no such place with."""
    local = make_datastore("local", (here.other,), path="/srv/shared")
    factories.add_disk(make_guest("db-07", here.other), local, source="/srv/shared/a.qcow2")
    DatastoreMount.objects.filter(host=here.other, datastore=here.store).update(path="/mnt/b", name="b")
    add_volume(here.store, "a.qcow2")
    assert here.offered() == {"a.qcow2": ""}


def test_however_many_there_are_it_is_the_same_few_queries(
    here: Here, django_assert_num_queries: Callable[[int], Any]
) -> None:
    add_volume(here.store, "free.qcow2")
    for number in (2, 40):
        with django_assert_num_queries(8):
            assert here.offered() is not None
        use_many(here, number, lambda name: f"/srv/shared/{name}", prefix=f"n{number}")


def test_whoever_may_see_no_datastore_is_offered_nothing(here: Here) -> None:
    add_volume(here.store, "free.qcow2")
    assert disks_on(here.host, user=AnonymousUser()) == []


def use_many(here: Here, number: int, called: Callable[[str], str], prefix: str = "used") -> None:
    """So many volumes, each a disk of one guest of the other host, and one that is free and last by its name."""
    names = [f"{prefix}-{one:04}.qcow2" for one in range(number)]
    guest, mount = make_guest(f"busy{prefix.removeprefix('used')}", here.other), here.store.mounts.first()
    common = {"datastore": here.store, "kind": "file", "format": "qcow2", "told_by": mount.pk if mount else None}
    rows = [Volume(name=name, key=name, path=f"/srv/shared/{name}", **common) for name in names]
    Volume.objects.bulk_create(rows)
    Disk.objects.bulk_create(
        Disk(guest=guest, datastore=here.store, position=place, target=f"d{place}", device="disk", source=called(name))
        for place, name in enumerate(names)
    )
    add_volume(here.store, f"z-free{prefix.removeprefix('used')}.qcow2")


def test_a_directory_neither_grows_nor_is_deleted(here: Here) -> None:
    folder = add_volume(here.store, "lost+found", kind="dir", format="dir", capacity_bytes=0)
    sentence = r"lost\+found is a directory and no disk: it can neither grow nor be deleted here\."
    with pytest.raises(Conflict, match=sentence):
        submit_volume_grow(volume=folder, capacity_bytes=GIB, by=here.user)
    with pytest.raises(Conflict, match=sentence):
        submit_volume_delete(volume=folder, confirmation="lost+found", by=here.user)
