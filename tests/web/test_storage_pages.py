"""A datastore's page: what it is made of, and the tab of its volumes."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from django.test import Client
from lxml import html as parser

from access.roles import Role
from hosts.models import Host
from storage.models import Datastore, DatastoreMount
from tests.factories import GIB, add_disk, add_volume, make_datastore, make_guest, make_host, make_source
from tests.web.conftest import ClientAs


@pytest.fixture
def hosts(db: None) -> tuple[Host, Host]:
    source = make_source("rack-1")
    return make_host("kvm-01", source), make_host("kvm-02", source)


@pytest.fixture
def store(hosts: tuple[Host, Host]) -> Datastore:
    return make_datastore("shared", hosts, technology="nfs", source="filer:/x")


@pytest.fixture
def viewer(client_as: ClientAs) -> Client:
    return client_as(Role.VIEWER)


@pytest.fixture
def operator(client_as: ClientAs) -> Client:
    return client_as(Role.OPERATOR)


def words(node: Any) -> str:
    return " ".join(" ".join(node.itertext()).split())


def document(client: Client, path: str) -> Any:
    answer = client.get(path)
    assert answer.status_code == 200
    return parser.document_fromstring(answer.content.decode())


def rows(client: Client, store: Datastore, query: str = "") -> list[dict[str, str]]:
    """The list's rows, by their columns' heads."""
    page = document(client, f"/datastores/{store.pk}/volumes/{query}")
    heads = [words(head) for head in page.xpath("//table[@id='list-table']/thead//th")]
    lines = page.xpath("//table[@id='list-table']/tbody/tr")
    return [dict(zip(heads, map(words, line.xpath("td")), strict=True)) for line in lines]


def names(client: Client, store: Datastore, query: str = "") -> list[str]:
    return [row["Name"] for row in rows(client, store, query)]


def exported(client: Client, store: Datastore, query: str = "") -> list[dict[str, str]]:
    answer: Any = client.get(f"/datastores/{store.pk}/volumes/?export=csv{query}")
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(b"".join(answer).decode().lstrip("\ufeff"))))


def test_a_volume_is_shown_with_the_guest_that_uses_it(viewer: Client, store: Datastore, hosts: Any) -> None:
    guest = make_guest("db-07", hosts[0])
    add_disk(guest, store, source="/srv/shared/db.qcow2")
    add_volume(store, "db.qcow2", capacity_bytes=40 * GIB, allocated_bytes=10 * GIB)
    assert rows(viewer, store) == [
        {
            "Name": "db.qcow2",
            "Kind": "file",
            "Format": "qcow2",
            "Capacity": "40 GiB",
            "Allocated": "10 GiB",
            "Used by": "db-07",
            "Path": "/srv/shared/db.qcow2",
        }
    ]
    page = document(viewer, f"/datastores/{store.pk}/volumes/")
    assert page.xpath(f"//table//a[@href='/guests/{guest.pk}/']")


def test_a_disk_of_pool_and_volume_is_found(viewer: Client, store: Datastore, hosts: Any) -> None:
    add_disk(make_guest("db-07", hosts[0]), store, source="shared/db.qcow2", source_type="volume")
    add_volume(store, "db.qcow2")
    assert rows(viewer, store)[0]["Used by"] == "db-07"


def test_a_disk_on_a_host_that_mounts_it_elsewhere_is_found(viewer: Client, store: Datastore, hosts: Any) -> None:
    DatastoreMount.objects.filter(host=hosts[1]).update(path="/mnt/b")
    add_disk(make_guest("db-07", hosts[1]), store, source="/mnt/b/db.qcow2")
    add_volume(store, "db.qcow2")
    assert rows(viewer, store)[0]["Used by"] == "db-07"


def test_a_disk_of_the_same_path_elsewhere_is_not_meant(viewer: Client, store: Datastore, hosts: Any) -> None:
    other = make_datastore("other", (hosts[1],), path="/srv/shared")
    add_disk(make_guest("db-07", hosts[1]), other, source="/srv/shared/db.qcow2")
    add_volume(store, "db.qcow2")
    assert rows(viewer, store)[0]["Used by"] == "–"  # noqa: RUF001


def test_a_volume_of_many_guests_names_some(viewer: Client, store: Datastore, hosts: Any) -> None:
    for number in range(5):
        add_disk(make_guest(f"web-{number}", hosts[0]), store, source="/srv/shared/cd.iso", device="cdrom")
    add_volume(store, "cd.iso", format="iso")
    assert rows(viewer, store)[0]["Used by"] == "web-0 , web-1 , web-2 , 2 more"


def test_a_base_of_others_does_not_look_unused(viewer: Client, store: Datastore) -> None:
    add_volume(store, "base.qcow2")
    add_volume(store, "overlay.qcow2", backing="/srv/shared/base.qcow2")
    assert [row["Used by"] for row in rows(viewer, store)] == ["base of 1 volume", "–"]  # noqa: RUF001


def test_a_volume_that_could_not_be_read_says_no_size(viewer: Client, store: Datastore) -> None:
    add_volume(store, "odd", kind="", format="", path="", capacity_bytes=0, allocated_bytes=0)
    (row,) = rows(viewer, store)
    assert {row["Kind"], row["Format"], row["Capacity"], row["Allocated"], row["Path"]} <= {"", "–"}  # noqa: RUF001


@pytest.fixture
def three(store: Datastore) -> Datastore:
    add_volume(store, "b.qcow2", capacity_bytes=1 * GIB, allocated_bytes=1)
    add_volume(store, "A.iso", format="iso", capacity_bytes=2 * GIB, allocated_bytes=3)
    add_volume(store, "c", kind="block", format="raw", capacity_bytes=3 * GIB, allocated_bytes=2)
    return store


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["A.iso", "b.qcow2", "c"]),
        ("?sort=-name", ["c", "b.qcow2", "A.iso"]),
        ("?sort=-capacity", ["c", "A.iso", "b.qcow2"]),
        ("?sort=-allocated", ["A.iso", "c", "b.qcow2"]),
        ("?sort=format", ["A.iso", "b.qcow2", "c"]),
        ("?sort=kind", ["c", "A.iso", "b.qcow2"]),
        ("?q=iso", ["A.iso"]),
        ("?q=kind:block", ["c"]),
        ("?q=format:qcow2", ["b.qcow2"]),
        ("?q=path:srv", ["A.iso", "b.qcow2", "c"]),
    ],
)
def test_volumes_are_sorted_and_filtered(viewer: Client, three: Datastore, query: str, expected: list[str]) -> None:
    assert names(viewer, three, query) == expected


def test_volumes_are_exported_as_they_are_filtered(operator: Client, three: Datastore) -> None:
    (row,) = exported(operator, three, "&q=iso")
    assert (row["Name"], row["Capacity"], row["Base of"]) == ("A.iso", str(2 * GIB), "0")
    assert operator.get(f"/datastores/{three.pk}/volumes/?export=xlsx").status_code == 200


def test_a_viewer_may_not_export(viewer: Client, three: Datastore) -> None:
    assert viewer.get(f"/datastores/{three.pk}/volumes/?export=csv").status_code == 403


def test_a_datastore_without_volumes_says_so(viewer: Client, store: Datastore) -> None:
    assert "No volumes here." in words(document(viewer, f"/datastores/{store.pk}/volumes/"))


def test_an_inactive_datastore_says_why_nothing_is_listed(viewer: Client, store: Datastore) -> None:
    Datastore.objects.update(active=False)
    assert "when the datastore is active" in words(document(viewer, f"/datastores/{store.pk}/volumes/"))


@pytest.mark.parametrize("cut", [True, False])
def test_a_part_of_the_volumes_is_told_as_such(viewer: Client, three: Datastore, cut: bool) -> None:
    DatastoreMount.objects.update(volumes_cut=cut)
    text = words(document(viewer, f"/datastores/{three.pk}/volumes/"))
    assert ("a part of them only" in text) == cut


def test_the_summary_says_what_it_is_made_of(viewer: Client, three: Datastore, hosts: Any) -> None:
    Datastore.objects.update(kind="netfs", details={"format": "nfs", "servers": ["filer-1", "filer-2"]})
    DatastoreMount.objects.filter(host=hosts[0]).update(
        details={"autostart": True, "adapter": "2100f4e9d4eb02c9", "initiator": "iqn.2026-01.net.example:kvm-01"}
    )
    page = document(viewer, f"/datastores/{three.pk}/")
    (facts,) = page.xpath("//section[header/h2[normalize-space()='Datastore']]//dl")
    shown = dict(zip(map(words, facts.xpath("dt")), map(words, facts.xpath("dd")), strict=True))
    assert shown["Kind of pool"] == "netfs nfs"
    assert shown["Servers"] == "filer-1, filer-2"
    assert "Devices" not in shown
    (seen_by,) = page.xpath("//section[header/h2[normalize-space()='Hosts that see it']]")
    first, second = (words(line) for line in seen_by.xpath(".//li"))
    assert "2100f4e9d4eb02c9 iqn.2026-01.net.example:kvm-01 autostart" in first
    assert "autostart" not in second
    assert "3 · 6 B of 6 GiB allocated" in words(page)


SENTENCE = "lost+found is a directory and no disk: it can neither grow nor be deleted here."


def test_a_directory_is_no_disk(client_as: ClientAs, store: Datastore) -> None:
    """Such as lost+found: neither act is offered, and asked for all the same, each is refused with one sentence."""
    client = client_as(Role.ADMIN)
    disk, folder = add_volume(store), add_volume(store, "lost+found", kind="dir", format="dir", capacity_bytes=0)
    page = document(client, f"/datastores/{store.pk}/volumes/")
    linked = set(page.xpath("//td[contains(@class, 'act-cell')]//a/@href"))
    assert linked == {f"/volumes/{disk.pk}/grow/", f"/volumes/{disk.pk}/delete/"}
    for act, sent in (("grow", {"capacity_bytes": "1 TiB"}), ("delete", {"confirmation": "lost+found"})):
        place = f"/volumes/{folder.pk}/{act}/"
        asked = document(client, place)
        assert words(asked.xpath("//*[@role='alert']")[0]) == SENTENCE
        assert asked.xpath("//button[@type='submit' and @disabled]")
        assert SENTENCE in client.post(place, sent).content.decode()


@pytest.mark.parametrize(("act", "sent"), [("grow", {"capacity_bytes": 1 << 40}), ("delete", {"confirmation": "dir"})])
def test_scripts_are_told_that_a_directory_is_no_disk(
    client_as: ClientAs, store: Datastore, act: str, sent: dict[str, Any]
) -> None:
    folder = add_volume(store, "lost+found", kind="netdir", format="dir")
    place = f"/api/v1/volumes/{folder.pk}/{act}/"
    answer = client_as(Role.ADMIN).post(place, sent, content_type="application/json")
    assert answer.status_code == 409
    assert answer.json()["error"]["message"] == SENTENCE
