"""Dialogs and endpoints that act on a guest: what they ask, what they send on, and what they say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from lxml import html as parser

from access.roles import Role
from drivers.fake.ops_model import FakeVolume
from drivers.types import GuestState
from inventory.acts.settings import edit_guest
from inventory.acts.snapshots import create_snapshot
from inventory.models import Guest, GuestDetails, Nic
from networks.models import VirtualSwitch
from operations.models import Job
from storage.models import Datastore, Volume
from tests.factories import make_guest, make_host, make_source, make_user
from tests.lives import live, strike_with
from tests.site import Site, make_site
from tests.web.conftest import ClientAs

GIB = 1 << 30


@pytest.fixture
def site(db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    strike_with(monkeypatch)
    made = make_site(tmp_path / "world.json", guests=2)
    with made.world.open() as world:
        world.hosts["alpha"].datastores[1].volumes["spare.qcow2"] = FakeVolume(name="spare.qcow2", capacity_bytes=GIB)
    made.read()
    return made


@pytest.fixture
def client(db: None) -> Client:
    return signed_in(Role.ADMIN)


def signed_in(role: str) -> Client:
    made = Client()
    made.force_login(make_user(role))
    return made


def at(site: Site, name: str) -> str:
    return reverse(name, args=[site.guest().pk])


def text_of(response: Any) -> str:
    return str(response.content.decode())


def post(client: Client, site: Site, name: str, /, **data: Any) -> Any:
    """By the form; the guest is read anew when the task has ended."""
    response = client.post(at(site, name), data)
    for job in Job.objects.filter(state="queued"):
        ended = live(job)
        assert ended.state == "succeeded", ended.message
        site.read()
    return response


def call(client: Client, site: Site, path: str, status: int = 202, /, **body: Any) -> Any:
    """By the API."""
    address = f"/api/v1/guests/{site.guest().pk}/{path}/"
    response = client.post(address, json.dumps(body), content_type="application/json")
    assert response.status_code == status, response.content
    for job in Job.objects.filter(state="queued"):
        assert live(job).state == "succeeded"
        site.read()
    return response.json()


# -- pages


def test_a_snapshot_from_the_form_to_the_tree_and_back(site: Site, client: Client) -> None:
    page = text_of(client.get(at(site, "snapshot_create")))
    assert "With its memory" in page
    assert "cannot be migrated" in page
    response = post(client, site, "snapshot_create", name="before", notes="n", memory="on")
    assert response.url == reverse("guest_tab", args=[site.guest().pk, "snapshots"])
    tree = text_of(client.get(response.url))
    assert f"{at(site, 'snapshot_revert')}?name=before&amp;created_at=" in tree
    question = text_of(client.get(f"{at(site, 'snapshot_revert')}?name=before"))
    assert "is lost" in question
    assert "Do nothing" in question
    post(client, site, "snapshot_revert", name="before")
    post(client, site, "snapshot_delete", name="before")
    assert site.really(site.guest()).snapshots == []


def test_deleting_one_with_children_asks_about_them(site: Site, client: Client) -> None:
    for name in ("a", "b"):
        post(client, site, "snapshot_create", name=name, memory="on")
    assert "Also delete what descends from it: b" in text_of(client.get(f"{at(site, 'snapshot_delete')}?name=a"))
    assert "Also delete" not in text_of(client.get(f"{at(site, 'snapshot_delete')}?name=b"))
    post(client, site, "snapshot_delete", name="a", children="on")
    assert site.really(site.guest()).snapshots == []


def test_a_guest_that_is_off_is_not_asked_about_memory(site: Site, client: Client) -> None:
    site.set_state(site.guest(), GuestState.OFF)
    assert "With its memory" not in text_of(client.get(at(site, "snapshot_create")))


def test_only_what_was_changed_in_the_form_is_changed(site: Site, client: Client) -> None:
    """Somebody else's newer notes stay, since these were not touched here."""
    Guest.objects.filter(pk=site.guest().pk).update(notes="somebody else's")
    post(
        client,
        site,
        "guest_edit",
        notes="old",
        was_notes="old",
        memory_bytes="2 GiB",
        was_memory_bytes="1 GiB",
        autostart="on",
        was_autostart="on",
    )
    assert Job.objects.get().parameters["changes"] == {"memory_bytes": 2 * GIB}


def test_an_unset_box_is_a_change(site: Site, client: Client) -> None:
    post(client, site, "guest_edit", was_autostart="on")
    assert Job.objects.get().parameters["changes"] == {"autostart": False}


def test_what_waits_is_on_the_page_and_in_the_form(site: Site, client: Client) -> None:
    post(client, site, "guest_edit", memory_bytes="4 GiB", was_memory_bytes="1 GiB")
    page = text_of(client.get(reverse("guest_page", args=[site.guest().pk])))
    assert "After the next start:" in page
    assert "Memory 4 GiB" in page
    form = text_of(client.get(at(site, "guest_edit")))
    assert "1 GiB now, 4 GiB after the next start." in form
    assert 'value="4 GiB"' in form


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"memory_bytes": "4"}, "Write a size with its unit"),
        ({"memory_bytes": "lots"}, "Write a size with its unit"),
        ({"vcpus": "two"}, "Write a whole number"),
        ({"vcpus": "99999"}, "between 1 and 4,096"),
        ({}, "Nothing was changed"),
    ],
)
def test_what_the_form_refuses(site: Site, client: Client, data: dict[str, str], words: str) -> None:
    response = client.post(at(site, "guest_edit"), data)
    assert response.status_code == 400
    page = text_of(response)
    assert words in page
    for value in data.values():
        assert f'value="{value}"' in page, "what was typed stands there again"
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("text", "size"), [("4 GiB", 4 * GIB), ("512m", 512 << 20), ("1.5 TB", 3 << 39), ("2,5g", 5 << 29)]
)
def test_sizes_as_people_write_them(site: Site, client: Client, text: str, size: int) -> None:
    client.post(at(site, "guest_edit"), {"memory_bytes": text})
    assert Job.objects.get().parameters["changes"] == {"memory_bytes": size}


def test_insert_and_eject(site: Site, client: Client) -> None:
    iso = Volume.objects.get(name="virtio-win.iso")
    page = text_of(client.get(f"{at(site, 'guest_media')}?target=sda"))
    assert "local: virtio-win.iso" in page
    assert "spare.qcow2" not in page
    post(client, site, "guest_media", target="sda", volume=str(iso.pk))
    hardware = text_of(client.get(reverse("guest_tab", args=[site.guest().pk, "hardware"])))
    assert "virtio-win.iso" in hardware
    assert "Eject" in hardware
    post(client, site, "guest_media", target="sda")
    assert site.really(site.guest()).disks[1].source == ""


def test_disks(site: Site, client: Client) -> None:
    page = text_of(client.get(at(site, "disk_add")))
    spare = Volume.objects.get(name="spare.qcow2")
    assert "local: spare.qcow2" in page
    taken = site.really(site.guest(1)).disks[0].source.rpartition("/")[2]
    (in_use,) = re.findall(rf"<option[^>]*>\w+: {taken}[^<]*", page)
    assert " disabled>" in in_use, "a volume that another guest has cannot be chosen"
    assert f"– used by {site.guest(1).name}" in in_use  # noqa: RUF001
    post(client, site, "disk_add", volume=str(spare.pk), bus="virtio")
    assert 'value="1 GiB"' in text_of(client.get(f"{at(site, 'disk_grow')}?target=vdb"))
    post(client, site, "disk_grow", target="vdb", capacity="2 GiB")
    assert "Its volume stays" in text_of(client.get(f"{at(site, 'disk_remove')}?target=vdb"))
    post(client, site, "disk_remove", target="vdb")
    store = Datastore.objects.get(name="local")
    post(client, site, "disk_add", volume="new", datastore=str(store.pk), capacity="3 GiB", format="raw")
    assert site.really(site.guest()).disks[-1].capacity_bytes == 3 * GIB


def test_a_disk_grows_only(site: Site, client: Client) -> None:
    response = client.post(at(site, "disk_grow"), {"target": "vda", "capacity": "1 MiB"})
    assert response.status_code == 400
    assert "A disk only grows" in text_of(response)
    assert "field-error" in text_of(response)


def test_who_may_not_make_volumes_is_offered_existing_ones(site: Site) -> None:
    client = signed_in(Role.MIGRATION_ADMIN)
    page = text_of(client.get(at(site, "disk_add")))
    assert "spare.qcow2" in page
    assert "A new, empty volume" not in page
    store = Datastore.objects.get(name="local")
    sent = {"volume": "new", "datastore": str(store.pk), "capacity": "3 GiB"}
    assert client.post(at(site, "disk_add"), sent).status_code == 403


def test_network_adapters(site: Site, client: Client) -> None:
    mac = Nic.objects.get(guest=site.guest()).mac
    vlans = VirtualSwitch.objects.get(name="vlans")
    page = text_of(client.get(f"{at(site, 'nic_change')}?mac={mac}"))
    assert "vlans · backup" in page
    post(client, site, "nic_change", mac=mac, plug=f"{vlans.pk}/backup", link_up="on")
    post(client, site, "nic_change", mac=mac, link="down")
    nic = Nic.objects.get(guest=site.guest())
    assert (nic.switch, nic.port_group, nic.link_up) == (vlans, "backup", False)
    post(client, site, "nic_add", plug=f"{vlans.pk}/", model="e1000e")
    assert Nic.objects.filter(guest=site.guest(), model="e1000e").exists()
    post(client, site, "nic_remove", mac=mac)
    assert not Nic.objects.filter(guest=site.guest(), mac=mac).exists()


@pytest.mark.parametrize("plug", ["", "x", "01a206a1-18e5-734e-92ae-2fdf96d8c631/"])
def test_a_switch_that_is_none(site: Site, client: Client, plug: str) -> None:
    response = client.post(at(site, "nic_add"), {"plug": plug})
    assert response.status_code == 400
    assert "Choose a virtual switch" in text_of(response)


def test_the_second_of_two_is_told_of_the_first(site: Site, client: Client) -> None:
    first = create_snapshot(guest=site.guest(), name="a", by="test")
    response = client.post(at(site, "snapshot_create"), {"name": "b"})
    assert response.status_code == 409
    assert reverse("task_page", args=[first.pk]) in text_of(response)
    assert Job.objects.count() == 1
    question = text_of(client.get(at(site, "guest_edit")))
    assert "already has an open task" in question
    assert "disabled" in question


def test_undo_where_it_was_done_and_on_the_task(site: Site, client: Client) -> None:
    post(client, site, "guest_edit", notes="x")
    job = Job.objects.get()
    undo = reverse("task_undo", args=[job.pk])
    for address in (reverse("guest_page", args=[site.guest().pk]), reverse("task_page", args=[job.pk])):
        assert undo in text_of(client.get(address))
    viewer = signed_in(Role.VIEWER)
    assert undo not in text_of(viewer.get(reverse("guest_page", args=[site.guest().pk])))
    assert client.get(undo).status_code == 405
    assert client.post(undo).status_code == 302
    for again in Job.objects.filter(state="queued"):
        live(again)
    site.read()
    assert site.guest().notes == ""
    refused = client.post(undo, follow=True)
    assert "It was changed again since" in text_of(refused)


def test_a_task_says_what_was_asked(site: Site, client: Client) -> None:
    job = edit_guest(guest=site.guest(), changes={"memory_bytes": 2 * GIB}, by="test")
    page = text_of(client.get(reverse("task_page", args=[job.pk])))
    assert "2 GiB (was 1 GiB)" in page


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.AUDITOR])
def test_buttons_are_grey_with_the_sentence_why(site: Site, role: str) -> None:
    client = signed_in(role)
    for tab in ("hardware", "snapshots"):
        page = text_of(client.get(reverse("guest_tab", args=[site.guest().pk, tab])))
        assert "Your role does not allow this: change guests." in page
        assert "snapshots/take" not in page
        assert "disks/add" not in page


HOSTILE = '"><script>alert(1)</script>\u202e'


def test_hostile_names_in_dialogs(site: Site, client: Client) -> None:
    guest = site.guest()
    Guest.objects.filter(pk=guest.pk).update(name=HOSTILE, title=HOSTILE, notes=HOSTILE)
    details = GuestDetails.objects.get(guest=guest)
    details.facts["snapshots"] = [{"name": HOSTILE, "created_at": "2026-01-01T00:00:00+00:00"}]
    details.save()
    Volume.objects.update(name=f"{HOSTILE}.iso")
    VirtualSwitch.objects.update(name=HOSTILE)
    addresses = [at(site, name) for name in ("snapshot_create", "guest_edit", "guest_media", "disk_add", "nic_add")]
    addresses += [reverse("guest_tab", args=[guest.pk, tab]) for tab in ("hardware", "snapshots")]
    for name in ("snapshot_revert", "snapshot_delete"):
        response = client.get(at(site, name), {"name": HOSTILE})
        assert response.status_code == 200
        assert "<script>alert" not in text_of(response)
    for address in addresses:
        response = client.get(address)
        assert response.status_code == 200
        assert "<script>alert" not in text_of(response)


# -- the API


def test_everything_by_the_api(site: Site, client: Client) -> None:
    task = call(client, site, "snapshots", name="a", memory=True)
    assert task["name"].startswith("Take snapshot a")
    call(client, site, "snapshots/revert", name="a")
    call(client, site, "snapshots/delete", name="a", children=True)
    call(client, site, "settings", notes="x", vcpus=1)
    iso, spare = (str(Volume.objects.get(name=name).pk) for name in ("virtio-win.iso", "spare.qcow2"))
    call(client, site, "media", target="sda", volume=iso)
    call(client, site, "media", target="sda")
    call(client, site, "disks", volume=spare)
    call(client, site, "disks/grow", target="vdb", capacity_bytes=2 * GIB)
    call(client, site, "disks/remove", target="vdb")
    store, vlans = Datastore.objects.get(name="local").pk, VirtualSwitch.objects.get(name="vlans").pk
    call(client, site, "disks", datastore=str(store), capacity_bytes=GIB)
    call(client, site, "nics", switch=str(vlans), port_group="office")
    mac = site.really(site.guest()).nics[-1].mac
    call(client, site, "nics/change", mac=mac, link_up=False)
    call(client, site, "nics/remove", mac=mac)
    undo = Job.objects.get(kind="guest_settings")
    answer = client.post(f"/api/v1/tasks/{undo.pk}/undo/")
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("snapshots", {"name": "../x"}, 400, "name"),
        ("snapshots", {}, 400, None),
        ("snapshots", {"name": "a", "state": "x"}, 400, None),
        ("snapshots/revert", {"name": "b"}, 409, None),
        ("settings", {}, 400, None),
        ("settings", {"vcpus": "2"}, 400, None),
        ("settings", {"vcpus": 0}, 400, "vcpus"),
        ("settings", {"uuid": "x"}, 400, None),
        ("media", {"target": "sda", "volume": "01a206a1-18e5-734e-92ae-2fdf96d8c631"}, 404, None),
        ("disks", {}, 400, "volume"),
        ("disks/grow", {"target": "vda", "capacity_bytes": 1}, 400, "capacity_bytes"),
        ("nics", {"switch": "01a206a1-18e5-734e-92ae-2fdf96d8c631"}, 404, None),
        ("nics/remove", {"mac": "x"}, 409, None),
    ],
)
def test_what_the_api_refuses(
    site: Site, client: Client, path: str, body: dict[str, Any], status: int, field: str | None
) -> None:
    error = call(client, site, path, status, **body)["error"]
    assert error["message"]
    assert error.get("field") == field
    assert not Job.objects.exists()


def test_the_api_names_the_open_task(site: Site, client: Client) -> None:
    first = create_snapshot(guest=site.guest(), name="a", by="test")
    body = json.dumps({"name": "b"})
    address = f"/api/v1/guests/{site.guest().pk}/snapshots/"
    response = client.post(address, body, content_type="application/json")
    assert response.status_code == 409
    assert response.json()["error"]["task"] == str(first.pk)


def test_what_containers_cannot_have_is_grey_with_the_sentence(client_as: ClientAs) -> None:
    guest = make_guest("box-01", make_host("lxc-01", make_source("lxc-01", hypervisor="lxc")), state="off")
    client = client_as(Role.ADMIN)
    page: Any = parser.document_fromstring(client.get(reverse("guest_edit", args=[guest.pk])).content.decode())
    for name, sentence in {
        "name": "libvirt cannot rename a container.",
        "vcpus": "libvirt gives containers no other number of virtual CPUs.",
        "most_vcpus": "libvirt gives containers no other number of virtual CPUs.",
    }.items():
        (field,) = page.xpath(f"//input[@id='f-{name}']")
        assert field.get("readonly") is not None
        (hint,) = page.xpath(f"//*[@id='{field.get('aria-describedby')}']")
        assert hint.text_content() == sentence
    assert [one.get("id") for one in page.xpath("//input[@readonly]")] == ["f-name", "f-vcpus", "f-most_vcpus"]
