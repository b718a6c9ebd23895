"""Pages of new guests, volumes and networks: what they ask for, what they say, what comes of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from access.models import User
from console.network_acts import read_port_groups
from core.errors import Invalid
from core.ids import new_id
from hosts.models import Host
from inventory.models import Disk, Guest
from networks.models import PortGroup, VirtualSwitch
from operations.models import Job
from storage import staging
from storage.models import Datastore
from tests.factories import (
    add_disk,
    add_port_group,
    add_volume,
    make_datastore,
    make_guest,
    make_host,
    make_switch,
    make_upload,
)
from tests.web.conftest import ClientAs

GIB = 1 << 30
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def host(db: None) -> Host:
    return make_host("kvm-01")


@pytest.fixture
def store(host: Host) -> Datastore:
    return make_datastore("fast", (host,))


@pytest.fixture
def client(client_as: ClientAs) -> Client:
    return client_as("admin")


def text_of(answer: Any) -> str:
    return str(answer.content.decode())


def form(**values: str) -> dict[str, str]:
    usual = {"name": "web-1", "vcpus": "2", "memory": "2 GiB", "firmware": "uefi", "disk": "none", "cd": "none"}
    return usual | {"disk_bus": "virtio", "disk_format": "qcow2"} | values


def test_the_host_with_most_room_is_chosen(client: Client, host: Host) -> None:
    make_guest("big", host, memory_bytes=200 * GIB)
    make_host("kvm-02")
    page = text_of(client.get(reverse("guest_new")))
    assert page.index("kvm-02") < page.rindex("kvm-01")
    answer = client.get(reverse("guest_new"), {"host": str(host.pk)})
    assert answer.headers["Location"] == reverse("host_new_guest", args=[host.pk])
    assert client.get(reverse("guest_new"), {"host": "x", "cluster": "y"}).status_code == 200


def test_a_guest_with_everything(client: Client, host: Host, store: Datastore, settings: Any, tmp_path: Path) -> None:
    settings.UPLOAD_DIR = tmp_path
    switch = make_switch("vlans", host)
    group = add_port_group(switch, "office")
    client.get("/")
    upload = make_upload(User.objects.get(), "my debian.iso", size_bytes=3)
    staging.write_piece(upload.pk, 0, b"iso")
    answer = client.post(
        reverse("host_new_guest", args=[host.pk]),
        form(
            disk="new", disk_datastore=str(store.pk), disk_size="20 GiB", cd="upload", upload=str(upload.pk),
            cd_datastore=str(store.pk), network=f"{switch.pk}/{group.pk}", start="on",
        ),
    )  # fmt: skip
    job = Job.objects.get()
    assert answer.headers["Location"] == reverse("task_page", args=[job.pk])
    assert (job.kind, job.target_id, job.parameters["uefi"], job.parameters["start"]) == (
        "guest_create", str(host.pk), True, True,
    )  # fmt: skip
    assert job.parameters["disk"]["capacity_bytes"] == 20 * GIB
    assert job.parameters["cd"]["name"] == "my-debian.iso"
    assert (job.parameters["nic"]["network"], job.parameters["nic"]["port_group"]) == ("vlans", "office")
    page = text_of(client.get(answer.headers["Location"]))
    for words in ("2 GiB", "UEFI", "my-debian.iso", "vlans / office"):
        assert words in page


def test_a_guest_from_a_volume_and_an_iso(client: Client, host: Host, store: Datastore) -> None:
    disk, iso = add_volume(store, "golden.qcow2"), add_volume(store, "debian.iso")
    page = text_of(client.get(reverse("host_new_guest", args=[host.pk])))
    assert page.count("golden.qcow2") == page.count("debian.iso") == 1
    answer = client.post(
        reverse("host_new_guest", args=[host.pk]),
        form(disk="volume", disk_volume=str(disk.pk), cd="volume", cd_volume=str(iso.pk)),
    )
    assert answer.status_code == 302, text_of(answer)
    parameters = Job.objects.get().parameters
    assert (parameters["disk"]["path"], parameters["cd"]["path"]) == (disk.path, iso.path)


WRONG = [
    ({"name": ""}, "A name begins with"),
    ({"name": SCRIPT}, "A name begins with"),
    ({"memory": "2"}, "Write a size with its unit"),
    ({"vcpus": "many"}, "Write a whole number"),
    ({"disk": "new"}, "Choose a datastore."),
    ({"disk": "volume", "disk_volume": "x"}, "Choose a volume."),
    ({"cd": "volume"}, "Choose a volume."),
    ({"cd": "upload"}, "wait until it is sent"),
    ({"network": "x/y"}, "Choose a network."),
    ({"machine": SCRIPT}, "This is not the name of a machine"),
    ({"os": "javascript:alert(1)"}, "named as libosinfo does"),
]


@pytest.mark.parametrize(("values", "words"), WRONG, ids=str)
def test_what_is_wrong_stands_beside_its_field(client: Client, host: Host, values: dict[str, str], words: str) -> None:
    answer = client.post(reverse("host_new_guest", args=[host.pk]), form(**values))
    page = text_of(answer)
    assert (answer.status_code, words in page) == (400, True)
    assert SCRIPT not in page
    assert not Job.objects.exists()


def test_another_s_upload_and_another_host_s_network_are_not_taken(client: Client, host: Host) -> None:
    from tests.factories import make_user

    foreign = make_upload(make_user("admin", "other"))
    far = make_switch("far", make_host("kvm-02"))
    for values in ({"cd": "upload", "upload": str(foreign.pk)}, {"network": str(far.pk)}):
        assert client.post(reverse("host_new_guest", args=[host.pk]), form(**values)).status_code == 400
    assert not Job.objects.exists()
    assert VirtualSwitch.objects.filter(pk=far.pk).exists()
    assert not PortGroup.objects.exists()


def test_deleting_ticks_what_is_the_guest_s_own(client: Client, host: Host, store: Datastore) -> None:
    guest, other = make_guest("db-07", host, state="off"), make_guest("db-08", host)
    names = []
    for number in (0, 1):
        disk = add_disk(guest, store, source=f"/srv/fast/{number}.qcow2", target=f"vd{number}")
        names.append(f"disk_{add_volume(store, f'{number}.qcow2', path=disk.source).pk}")
    add_disk(other, store, source="/srv/fast/1.qcow2", target="vda")
    url = reverse("guest_delete", args=[guest.pk])
    page = text_of(client.get(url))
    assert page.count("checked") == 1
    assert "1.qcow2 is used by db-08." in page
    assert client.post(url, {"confirmation": "db-08", names[0]: "on"}).status_code == 400
    assert client.post(url, {"confirmation": "db-07", names[1]: "on"}).status_code == 409
    assert client.post(url, {"confirmation": "db-07", names[0]: "on"}).status_code == 302
    assert [one["name"] for one in Job.objects.get().parameters["disks"]] == ["0.qcow2"]
    assert Guest.objects.count() == 2


def test_a_page_older_than_a_change_of_disks_never_means_the_new_one(
    client: Client, host: Host, store: Datastore
) -> None:
    guest = make_guest("db-07", host, state="off")
    disk = add_disk(guest, store, source="/srv/fast/old.qcow2", target="vda")
    add_volume(store, "old.qcow2", path=disk.source)
    url = reverse("guest_delete", args=[guest.pk])
    ticked = re.findall(r'name="(disk_[^"]+)"', text_of(client.get(url)))
    Disk.objects.update(source=add_volume(store, "new.qcow2", path="/srv/fast/new.qcow2").path)
    answer = client.post(url, {"confirmation": "db-07", **dict.fromkeys(ticked, "on")})
    assert (len(ticked), answer.status_code) == (1, 400)
    assert not Job.objects.exists()


def test_volumes_by_their_dialogs(client: Client, store: Datastore) -> None:
    volume = add_volume(store, "free.qcow2")
    new = reverse("volume_new", args=[store.pk])
    assert client.post(new, {"name": "a/b", "capacity_bytes": "1 GiB", "format": "raw"}).status_code == 400
    assert client.post(new, {"name": "a.img", "capacity_bytes": "1 GiB", "format": "raw"}).status_code == 302
    assert client.post(reverse("volume_grow", args=[volume.pk]), {"capacity_bytes": "1 TiB"}).status_code == 302
    delete = reverse("volume_delete", args=[volume.pk])
    assert client.post(delete, {"confirmation": "free.qcow2"}).status_code == 409  # it grows just now
    assert set(Job.objects.values_list("kind", flat=True)) == {"volume_create", "volume_grow"}
    assert text_of(client.get(reverse("datastore_tab", args=[store.pk, "volumes"]))).count("Delete free.qcow2") == 2


def test_who_may_not_is_offered_nothing(client_as: ClientAs, host: Host, store: Datastore) -> None:
    add_volume(store, "free.qcow2")
    guest, switch = make_guest("db-07", host), make_switch("net", host)
    pages = [
        reverse("guest_list"),
        reverse("guest_page", args=[guest.pk]),
        reverse("host_page", args=[host.pk]),
        reverse("datastore_page", args=[store.pk]),
        reverse("datastore_tab", args=[store.pk, "volumes"]),
        reverse("switch_page", args=[switch.pk]),
    ]
    marks = ("new-guest", "guests/new", "/clone/", "/delete/", "/mounts/", "new-volume", "/acts/", "new-network")
    for path in pages:
        assert [mark for mark in marks if mark in text_of(client_as("migration_admin").get(path))] == []
        assert [mark for mark in marks if mark in text_of(client_as("admin").get(path))], path


GROUPS = "office: 20\n*routers: 20, 30\nplain"


@pytest.mark.parametrize("line", [" " * 10_000 + ":x", "a" + " " * 10_000 + "::", "*", "*:1", "a:12345"])
def test_a_line_that_is_no_port_group_is_told_at_once(line: str) -> None:
    with pytest.raises(Invalid):
        read_port_groups(line)


def test_a_network_with_port_groups(client: Client, host: Host) -> None:
    url = reverse("host_new_network", args=[host.pk])
    values = {"name": "lab", "mode": "open_vswitch", "bridge": "ovs0", "autostart": "on"}
    assert client.post(url, values | {"port_groups": "a:b:c"}).status_code == 400
    assert client.post(url, values | {"port_groups": GROUPS}).status_code == 302
    assert Job.objects.get().parameters["port_groups"] == [
        {"name": "office", "vlans": [20], "default": False},
        {"name": "routers", "vlans": [20, 30], "default": True},
        {"name": "plain", "vlans": [], "default": False},
    ]


def test_unknown_acts_and_objects_are_not_found(client: Client, host: Host, store: Datastore) -> None:
    mount, switch = store.mounts.get(), make_switch("net", host)
    for name, args in (
        ("datastore_switch", [mount.pk, "explode"]),
        ("switch_act", [switch.pk, "explode"]),
        ("volume_delete", [new_id()]),
    ):
        assert client.get(reverse(name, args=args)).status_code == 404
        assert client.post(reverse(name, args=args)).status_code == 404
