"""Folders of guests: names, depth, who is where, and many people at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from access.models import User
from access.roles import Role
from audit.models import AuditRow
from core.errors import Conflict, Forbidden, Invalid
from core.ids import new_id
from hosts import organization
from hosts.models import Datacenter
from inventory import folders
from inventory.models import Folder, FolderEntry, Guest
from tests.factories import make_folder, make_guest, make_host, make_source, make_user
from tests.together import database_for_threads, together

pytestmark = pytest.mark.django_db
AT_ONCE = 12


@pytest.fixture
def boss() -> User:
    return make_user(Role.ADMIN)


@pytest.fixture
def berlin() -> Datacenter:
    return Datacenter.objects.create(name="Berlin")


def acts() -> list[str]:
    return list(AuditRow.objects.order_by("at").values_list("action", flat=True))


@pytest.mark.parametrize("role", [role for role in Role if role != Role.ADMIN])
def test_only_administrators_of_sources_may(role: str) -> None:
    user, folder = make_user(role), make_folder()
    for act in (
        lambda: folders.create_folder(datacenter=folder.datacenter, parent=None, name="x", by=user),
        lambda: folders.rename_folder(folder=folder, name="x", by=user),
        lambda: folders.delete_folder(folder=folder, by=user),
        lambda: folders.assign_guests(guests=[new_id()], folder=folder, by=user),
        lambda: folders.release_guests(guests=[new_id()], folder=folder, by=user),
    ):
        with pytest.raises(Forbidden):
            act()
    assert acts() == []


def test_names_are_unique_beside_each_other_only(boss, berlin):
    web = folders.create_folder(datacenter=berlin, parent=None, name=" web ", by=boss)
    folders.create_folder(datacenter=berlin, parent=web, name="web", by=boss)
    for parent in (None, web):
        with pytest.raises(Invalid, match="already a folder named WEB here"):
            folders.create_folder(datacenter=berlin, parent=parent, name="WEB", by=boss)
    other = folders.create_folder(datacenter=berlin, parent=None, name="db", by=boss)
    with pytest.raises(Invalid, match="already a folder"):
        folders.rename_folder(folder=other, name="Web", by=boss)
    assert folders.rename_folder(folder=other, name="DB", by=boss).name == "DB"
    elsewhere = Datacenter.objects.create(name="Hamburg")
    folders.create_folder(datacenter=elsewhere, parent=None, name="web", by=boss)
    with pytest.raises(Invalid, match="another datacenter"):
        folders.create_folder(datacenter=elsewhere, parent=web, name="x", by=boss)


def test_folders_are_neither_endless_nor_bottomless(boss, berlin, monkeypatch):
    parent: Folder | None = None
    for number in range(folders.DEEPEST):
        parent = folders.create_folder(datacenter=berlin, parent=parent, name=str(number), by=boss)
    with pytest.raises(Conflict, match="at most 10 deep"):
        folders.create_folder(datacenter=berlin, parent=parent, name="x", by=boss)
    assert [one.name for one in folders.path_of(Folder.objects.get(name="9"))] == [str(n) for n in range(10)]
    monkeypatch.setattr(folders, "MOST_FOLDERS", 10)
    with pytest.raises(Conflict, match="at most 10 folders"):
        folders.create_folder(datacenter=berlin, parent=None, name="x", by=boss)


def test_guests_go_in_from_one_to_another_and_out(boss, berlin):
    host = make_host("kvm-1", make_source("s", datacenter=berlin))
    guests = [make_guest(f"g{number}", host) for number in range(3)]
    ids, web, db = [guest.pk for guest in guests], make_folder("web"), make_folder("db")
    assert len(folders.assign_guests(guests=ids, folder=web, by=boss)) == 3
    assert folders.assign_guests(guests=ids, folder=web, by=boss) == []
    assert [one.name for one in folders.assign_guests(guests=ids[:1], folder=db, by=boss)] == ["g0"]
    assert len(folders.release_guests(guests=ids, folder=web, by=boss)) == 2
    assert list(FolderEntry.objects.values_list("guest__name", "folder__name")) == [("g0", "db")]
    assert acts() == ["folder.guests_assigned", "folder.guests_assigned", "folder.guests_released"]


def test_what_cannot_be_put_there_is_refused_by_name(boss, berlin):
    web = make_folder("web")
    near = make_guest("near", make_host("h1", make_source("s1", datacenter=berlin)))
    far = make_guest("far", make_host("h2", make_source("s2", datacenter=Datacenter.objects.create(name="Hamburg"))))
    with pytest.raises(Invalid, match="far is in another datacenter"):
        folders.assign_guests(guests=[near.pk, far.pk], folder=web, by=boss)
    for guests, error in (([], Invalid), ([new_id() for _ in range(1001)], Invalid), ([new_id()], Conflict)):
        with pytest.raises(error):
            folders.assign_guests(guests=guests, folder=web, by=boss)
    assert not FolderEntry.objects.exists()


def test_deleting_one_gives_its_guests_to_the_one_above(boss, berlin):
    guest = make_guest("g", make_host("h", make_source("s", datacenter=berlin)))
    outer = make_folder("outer")
    inner = make_folder("inner", outer)
    folders.assign_guests(guests=[guest.pk], folder=inner, by=boss)
    with pytest.raises(Conflict, match="the folder inner is in it"):
        folders.delete_folder(folder=outer, by=boss)
    folders.delete_folder(folder=inner, by=boss)
    assert FolderEntry.objects.get().folder == outer
    folders.delete_folder(folder=outer, by=boss)
    folders.delete_folder(folder=outer, by=boss)
    assert not FolderEntry.objects.exists()
    assert Guest.objects.exists()


def test_a_guest_that_is_removed_leaves_its_folder(boss, berlin):
    guest = make_guest("g", make_host("h", make_source("s", datacenter=berlin)))
    folders.assign_guests(guests=[guest.pk], folder=make_folder("web"), by=boss)
    guest.delete()
    assert not FolderEntry.objects.exists()


def test_a_datacenter_with_folders_is_not_empty(boss, berlin):
    make_folder("web", None, berlin)
    with pytest.raises(Conflict, match="not empty"):
        organization.delete_datacenter(datacenter=berlin, by=boss)


@pytest.mark.django_db(transaction=True)
def test_one_name_at_once_and_guests_put_into_what_is_deleted(tmp_path: Path) -> None:
    with database_for_threads(tmp_path):
        boss, berlin = make_user(Role.ADMIN), Datacenter.objects.create(name="Berlin")
        guest = make_guest("g", make_host("h", make_source("s", datacenter=berlin)))

        def create(_number: int) -> Any:
            return folders.create_folder(datacenter=berlin, parent=None, name="web", by=boss)

        made = together(AT_ONCE, create)
        assert [type(one) for one in made].count(Invalid) == AT_ONCE - 1
        folder = Folder.objects.get()

        def act(number: int) -> Any:
            if number == 0:
                return folders.delete_folder(folder=folder, by=boss)
            return folders.assign_guests(guests=[guest.pk], folder=folder, by=boss)

        results = together(AT_ONCE, act)
        assert {type(one) for one in results if isinstance(one, Exception)} <= {Conflict}
        assert not Folder.objects.exists()
        assert not FolderEntry.objects.exists()
