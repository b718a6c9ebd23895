"""Folders of guests on the pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from access.roles import Role
from console import tree
from inventory.models import Folder, FolderEntry
from tests.factories import Inventory, make_folder
from tests.web.conftest import ClientAs


@pytest.fixture
def boss(client_as: ClientAs) -> Client:
    return client_as(Role.ADMIN)


@pytest.fixture
def web(inventory: Inventory) -> Folder:
    """With the first guest, and a folder in it that has the second."""
    outer = make_folder("web")
    inner = make_folder("shop", outer)
    for guest, folder in zip(inventory.guests, (outer, inner), strict=False):
        FolderEntry.objects.create(guest=guest, folder=folder)
    return outer


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer.content
    return str(answer.content.decode())


def test_the_tree_shows_folders_in_folders(boss, inventory, web):
    first, second, third = inventory.guests[:3]
    inner = Folder.objects.get(name="shop")
    closed = text(boss.get("/tree/guests/?open=first"))
    assert ">web</a>" in closed
    assert ">shop</a>" not in closed
    assert f">{first.name}</a>" not in closed
    assert f">{third.name}</a>" in closed
    opened = text(boss.get(f"/tree/guests/?open=first&open=folder:{web.pk}&open=folder:{inner.pk}"))
    for name in (first.name, second.name, third.name, "shop"):
        assert opened.count(f">{name}</a>") == 1
    assert 'aria-level="4"' in opened
    hidden = text(boss.get(f"/tree/guests/?open=first&open=folder:{inner.pk}"))
    assert second.name not in hidden, "the folder around it is closed"


def test_what_does_not_fit_is_a_link(boss, inventory, web, monkeypatch):
    for guest in inventory.guests[2:6]:
        FolderEntry.objects.create(guest=guest, folder=web)
    monkeypatch.setattr(tree, "MOST_CHILDREN", 2)
    html = text(boss.get(f"/tree/guests/?open=first&open=folder:{web.pk}"))
    assert "3 more…" in html  # of five
    assert "4 more…" in html  # of six in none
    assert "/guests/?q=datacenter%3ABerlin+folder%3A%22%22" in html


def test_guests_are_found_by_their_folder(boss, inventory, web):
    assert text(boss.get("/guests/?q=folder:WEB")).count('id="row-') == 1
    assert text(boss.get('/guests/?q=folder:""')).count('id="row-') == 10


def test_from_a_new_folder_to_guests_and_back(boss, inventory):
    host, guests = inventory.hosts[0], [str(guest.pk) for guest in inventory.guests[:2]]
    made = boss.post(reverse("datacenter_folder_add", args=[host.datacenter_id]), {"name": "web"})
    folder = Folder.objects.get()
    assert made.url == reverse("folder_page", args=[folder.pk])
    boss.post(reverse("folder_add", args=[folder.pk]), {"name": "shop"})
    assert Folder.objects.get(name="shop").parent == folder
    boss.post(reverse("folder_assign", args=[folder.pk]), {"guests": guests})
    assert FolderEntry.objects.filter(folder=folder).count() == 2
    page = text(boss.get(reverse("folder_page", args=[folder.pk])))
    assert page.count('id="row-') == 2
    assert "shop" in page
    offered = text(boss.get(reverse("folder_assign", args=[folder.pk])))
    assert guests[0] not in offered
    assert reverse("folder_page", args=[folder.pk]) in text(boss.get(reverse("guest_page", args=[guests[0]])))
    boss.post(reverse("folder_release", args=[folder.pk]), {"guests": guests[:1]})
    assert FolderEntry.objects.count() == 1
    boss.post(reverse("folder_rename", args=[folder.pk]), {"name": "front"})
    refused = boss.post(reverse("folder_delete", args=[folder.pk]))
    assert refused.status_code == 400
    assert "the folder shop is in it" in refused.content.decode()
    boss.post(reverse("folder_delete", args=[Folder.objects.get(name="shop").pk]))
    boss.post(reverse("folder_delete", args=[folder.pk]))
    assert not Folder.objects.exists()
