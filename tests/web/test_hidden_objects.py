"""What a user may not see is named nowhere: neither in lists, nor below or beside what the user sees."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db.models import Q
from django.test import Client

from access.models import RestrictedQuerySet
from access.roles import Role
from console import home
from hosts.models import Cluster, Host, HostDetails, HostState
from inventory.models import Disk, Folder, FolderEntry, Guest, GuestDetails, Nic, Placement
from inventory.reindex import index_missing
from labels.models import Tag
from migrations.models import GuestMigration
from networks.models import PortGroup, VirtualSwitch
from operations.models import Job
from storage.models import Datastore, DatastoreMount, Volume
from tests.factories import (
    add_details,
    add_disk,
    add_host_details,
    add_nic,
    add_volume,
    make_cluster,
    make_datastore,
    make_folder,
    make_guest,
    make_host,
    make_job,
    make_source,
    make_switch,
    make_tag,
    set_host_load,
)
from tests.web.conftest import ClientAs

HIDDEN = (
    "hidden-cluster",
    "hidden-folder",
    "hidden-host",
    "hidden-guest",
    "guest-elsewhere",
    "hidden-store",
    "hidden-switch",
    "hidden-net",
    "hidden-tag",
)


class Estate:
    """A visible host, guest, datastore and switch, each beside hidden ones."""

    def __init__(self) -> None:
        source = make_source("rack-1")
        self.host, self.hidden_host = make_host("kvm-01", source), make_host("hidden-host", source)
        self.store = make_datastore("shared", (self.host, self.hidden_host))
        self.hidden_store = make_datastore("hidden-store", (self.host,), path="/srv/other")
        self.switch, self.hidden_switch = make_switch("prod", self.host), make_switch("hidden-switch", self.host)
        make_switch("hidden-net", self.hidden_host)
        self.guest, self.hidden_guest = make_guest("db-01", self.host), make_guest("hidden-guest", self.host)
        self.datacenter = source.datacenter
        self.cluster, self.hidden_cluster = make_cluster("compute"), make_cluster("hidden-cluster")
        Host.objects.update(cluster=self.cluster)
        self.folder, self.hidden_folder = make_folder("web"), make_folder("hidden-folder")
        for guest in (self.guest, self.hidden_guest):
            FolderEntry.objects.create(guest=guest, folder=self.folder)
        pairs = ((self.host, self.hidden_host), (self.store, self.hidden_store), (self.switch, self.hidden_switch))
        self.tag = make_tag("prod", self.guest, self.hidden_guest, *(row for pair in pairs for row in pair))
        self.hidden_tag = make_tag("hidden-tag", self.guest, self.host, self.store, self.switch)
        add_volume(self.store, "disk")
        add_volume(self.hidden_store, "hidden-volume")
        for guest in (self.guest, self.hidden_guest, make_guest("guest-elsewhere", self.hidden_host)):
            add_disk(guest, self.store, source="/srv/shared/disk")
            add_disk(guest, self.hidden_store, source="/srv/other/disk")
            add_nic(guest, self.switch)
            add_nic(guest, self.hidden_switch, network="lan")
            make_job(guest)
        self._mark()
        index_missing()

    def _mark(self) -> None:
        """What the overview would tell of them, and the sighting of a visible guest on a hidden host."""
        set_host_load(self.host, 10.0)
        set_host_load(self.hidden_host, 99.0)
        Host.objects.filter(pk=self.hidden_host.pk).update(state=HostState.NOT_RESPONDING)
        Guest.objects.filter(pk=self.hidden_guest.pk).update(conflict="It runs twice.")
        Datastore.objects.filter(pk=self.hidden_store.pk).update(available_bytes=1)
        evidence = self.guest.evidence_at
        Placement.objects.create(
            guest=self.guest, host=self.hidden_host, ref="x", state="off", evidence_at=evidence, contested=True
        )

    def rules(self) -> dict[type, Q]:
        """Which rows of each model nobody may see."""
        host, guest = self.hidden_host, self.hidden_guest
        below = Q(guest=guest) | Q(guest__host=host)
        gone = Guest.objects.filter(Q(pk=guest.pk) | Q(host=host)).values_list("pk", flat=True)
        return {
            Cluster: Q(pk=self.hidden_cluster.pk),
            Folder: Q(pk=self.hidden_folder.pk),
            Tag: Q(pk=self.hidden_tag.pk),
            Host: Q(pk=host.pk),
            HostDetails: Q(host=host),
            Guest: Q(pk=guest.pk) | Q(host=host),
            GuestDetails: below,
            Disk: below,
            Nic: below,
            Placement: below | Q(host=host),
            Volume: Q(datastore=self.hidden_store),
            PortGroup: Q(switch__host=host) | Q(switch=self.hidden_switch),
            Datastore: Q(pk=self.hidden_store.pk),
            DatastoreMount: Q(host=host) | Q(datastore=self.hidden_store),
            VirtualSwitch: Q(host=host) | Q(pk=self.hidden_switch.pk),
            Job: Q(target_id__in=[str(pk) for pk in gone]),
            GuestMigration: Q(guest__in=list(gone)),
        }


@pytest.fixture
def estate(db: None, monkeypatch: pytest.MonkeyPatch) -> Estate:
    monkeypatch.setattr(home, "BUSIEST", 1)  # the busiest of all is a hidden one
    return Estate()


@pytest.fixture
def viewer(client_as: ClientAs) -> Client:
    return client_as(Role.OPERATOR)


def hide(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on `restrict` leaves the hidden rows out, as it would for a user with fewer rights."""
    rules, by_role = estate.rules(), RestrictedQuerySet.restrict

    def restrict(rows: Any, user: Any, action: Any) -> Any:
        seen = by_role(rows, user, action)
        return seen.exclude(rules[seen.model]) if seen.model in rules else seen

    monkeypatch.setattr(RestrictedQuerySet, "restrict", restrict)


PATHS = [
    "/",
    "/tasks/recent/",
    "/tasks/",
    "/hosts/",
    "/guests/",
    "/datastores/",
    "/switches/",
    "/sources/{source}/",
    "/clusters/",
    *(f"/clusters/{{cluster}}/{tab}" for tab in ("", "hosts/", "guests/", "datastores/", "switches/")),
    *(
        f"/datacenters/{{datacenter}}/{tab}"
        for tab in ("", "clusters/", "hosts/", "guests/", "datastores/", "switches/")
    ),
    "/folders/{folder}/",
    "/tags/",
    *(f"/tags/{{tag}}/{tab}" for tab in ("", "hosts/", "datastores/", "switches/")),
    "/api/v1/clusters/",
    "/api/v1/folders/",
    "/tree/hosts/?open=first&open=cluster:{cluster}&open=host:{host}&open=host:{hidden_host}",
    "/tree/guests/?open=first&open=folder:{folder}",
    *(f"/{page}/?q={word}" for page in ("search", "search/suggestions") for word in ("hidden", "hi", "elsewhere")),
    "/search/?q=hidden&kind=guest",
    "/api/v1/search/?q=hidden",
    *(f"/hosts/{{host}}/{tab}" for tab in ("", "guests/", "datastores/", "switches/", "tasks/")),
    "/guests/{guest}/",
    *(f"/datastores/{{store}}/{tab}" for tab in ("", "volumes/", "guests/", "hosts/")),
    *(f"/switches/{{switch}}/{tab}" for tab in ("", "guests/")),
    "/tree/hosts/?open=first&open=host:{host}&open=host:{hidden_host}",
    "/tree/guests/?open=first",
    "/tree/storage/?open=first",
    "/tree/networks/?open=first&open=host:{host}&open=host:{hidden_host}",
    *(f"/{kind}/?export=csv" for kind in ("hosts", "guests", "datastores", "switches", "tasks")),
    *(f"/api/v1/{kind}/" for kind in ("hosts", "guests", "datastores", "switches", "tasks")),
    "/api/v1/guests/{guest}/",
    "/api/v1/guests/{guest}/targets/",
    "/api/v1/datastores/{store}/",
    "/api/v1/datastores/{store}/volumes/",
]


def read(client: Client, estate: Estate, path: str) -> str:
    ids = {name: getattr(row, "pk", "") for name, row in vars(estate).items()}
    answer: Any = client.get(path.format(**ids, source=estate.host.source_id))
    assert answer.status_code == 200
    return b"".join(answer).decode()


@pytest.mark.parametrize("path", PATHS)
def test_the_hidden_are_not_named(viewer: Client, estate: Estate, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    assert any(name in read(viewer, estate, path) for name in HIDDEN)
    hide(estate, monkeypatch)
    text = read(viewer, estate, path)
    assert [name for name in HIDDEN if name in text] == []


def test_a_filter_finds_nothing_by_the_hidden(viewer: Client, estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/datastores/?q=host:hidden-host&export=csv"
    assert "shared" in read(viewer, estate, path)
    hide(estate, monkeypatch)
    assert "shared" not in read(viewer, estate, path)


@pytest.mark.parametrize(
    ("path", "values", "none"),
    [
        ("/{kind}/?export=csv&q={minus}tag:{value}", ["hidden-tag"], '""'),
        ("/api/v1/{kind}/?{minus}tag={value}", ["hidden-tag", "{hidden_tag}"], ""),
    ],
)
@pytest.mark.parametrize("kind", ["hosts", "guests", "datastores", "switches"])
def test_a_filter_finds_nothing_by_a_hidden_tag(
    viewer: Client, estate: Estate, monkeypatch: pytest.MonkeyPatch, kind: str, path: str, values: list[str], none: str
) -> None:
    estate.tag.delete()
    row = {"hosts": estate.host, "guests": estate.guest, "datastores": estate.store, "switches": estate.switch}[kind]

    def found(value: str) -> list[bool]:
        """By it, and among those without it."""
        asked = [path.replace("{kind}", kind).replace("{minus}", minus) for minus in ("", "-")]
        return [str(row.pk) in read(viewer, estate, one.replace("{value}", value)) for one in asked]

    assert [found(value) for value in [*values, none]] == [*([True, False] for _ in values), [False, True]]
    hide(estate, monkeypatch)
    assert [found(value) for value in [*values, none]] == [*([False, True] for _ in values), [True, False]]


@pytest.mark.parametrize(
    "path",
    [
        "/clusters/{hidden_cluster}/",
        "/clusters/{hidden_cluster}/hosts/",
        "/folders/{hidden_folder}/",
        "/tags/{hidden_tag}/",
        "/api/v1/clusters/{hidden_cluster}/",
        "/api/v1/folders/{hidden_folder}/",
        "/hosts/{hidden_host}/",
        "/hosts/{hidden_host}/hardware/",
        "/guests/{hidden_guest}/",
        "/guests/{hidden_guest}/hardware/",
        "/guests/{hidden_guest}/snapshots/",
        "/datastores/{hidden_store}/",
        "/switches/{hidden_switch}/",
        "/api/v1/hosts/{hidden_host}/",
        "/api/v1/guests/{hidden_guest}/",
        "/api/v1/datastores/{hidden_store}/",
        "/api/v1/datastores/{hidden_store}/volumes/",
        "/datastores/{hidden_store}/volumes/",
        "/api/v1/switches/{hidden_switch}/",
    ],
)
def test_the_hidden_are_not_found(viewer: Client, estate: Estate, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    assert read(viewer, estate, path)
    hide(estate, monkeypatch)
    ids = {name: getattr(row, "pk", "") for name, row in vars(estate).items()}
    assert viewer.get(path.format(**ids)).status_code == 404


def test_the_hidden_are_not_counted(viewer: Client, estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    def numbers() -> dict[str, Any]:
        shown = {}
        for name, column in (("hosts", "Guests"), ("datastores", "Hosts"), ("switches", "NICs")):
            head, *rows = (line.split(",") for line in read(viewer, estate, f"/{name}/?export=csv").splitlines())
            shown[name] = {row[0]: row[head.index(column)] for row in rows}
        return shown

    assert numbers() == {
        "hosts": {"kvm-01": "2", "hidden-host": "1"},
        "datastores": {"shared": "2", "hidden-store": "1"},
        "switches": {"prod": "3", "hidden-switch": "3", "hidden-net": "0"},
    }
    hide(estate, monkeypatch)
    assert numbers() == {"hosts": {"kvm-01": "1"}, "datastores": {"shared": "1"}, "switches": {"prod": "1"}}
    assert "1 / 1" in read(viewer, estate, "/hosts/")


def test_branches_count_what_they_show(viewer: Client, estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    def counts(tree: str) -> list[int | None]:
        from console.tree import TREES

        user = viewer.get("/").wsgi_request.user
        (root,), _label = TREES[tree](user, ["first"])
        return [root.count, *(node.count for node in root.children or [])]

    assert [counts(name)[0] for name in ("hosts", "guests", "storage")] == [2, 3, 2]
    hide(estate, monkeypatch)
    assert counts("hosts") == [1, 1]
    assert counts("guests")[0] == 1
    assert counts("storage")[0] == 1
    assert counts("networks") == [1, 1]


def test_a_device_stays_when_what_it_leads_to_is_hidden(
    viewer: Client, estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(estate, monkeypatch)
    told = json.loads(read(viewer, estate, "/api/v1/guests/{guest}/"))
    assert [disk["datastore"] and disk["datastore"]["name"] for disk in told["disks"]] == ["shared", None]
    assert [nic["switch"] and nic["switch"]["name"] for nic in told["nics"]] == ["prod", None]
    assert read(viewer, estate, "/guests/{guest}/").count("/srv/other/disk") > 0


def test_the_busiest_host_shown_is_a_visible_one(
    viewer: Client, estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    Host.objects.filter(pk=estate.hidden_host.pk).update(state=HostState.CONNECTED)  # a silent one is never listed
    link = f'href="/hosts/{estate.host.pk}/"'
    assert link not in read(viewer, estate, "/")
    hide(estate, monkeypatch)
    assert link in read(viewer, estate, "/")


@pytest.mark.parametrize("path", ["/hosts/{host}/", "/guests/{guest}/"])
def test_the_source_is_one_click_away(viewer: Client, estate: Estate, path: str) -> None:
    assert f'href="/sources/{estate.host.source_id}/"' in read(viewer, estate, path)


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/hosts/{host}/hardware/", "Example Boards B2"),
        ("/api/v1/hosts/{host}/", "Example Boards B2"),
        ("/guests/{guest}/hardware/", "secret tpm"),
        ("/api/v1/guests/{guest}/", "secret tpm"),
    ],
)
def test_details_are_hidden_by_themselves_too(
    viewer: Client, estate: Estate, monkeypatch: pytest.MonkeyPatch, path: str, word: str
) -> None:
    hardware = add_host_details(estate.host)
    HostDetails.objects.update(facts={**hardware.facts, "board": "Example Boards B2"})
    add_details(estate.guest, "secret tpm")
    assert word in read(viewer, estate, path)
    rules = {HostDetails: Q(host=estate.host), GuestDetails: Q(guest=estate.guest)}
    monkeypatch.setattr(estate, "rules", lambda: rules)
    hide(estate, monkeypatch)
    assert word not in read(viewer, estate, path)
