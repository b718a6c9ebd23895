"""The REST API: shapes that scripts rely on, filters, paging, errors, tokens. Who may: test_access_routes.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from access.models import ApiToken, User
from access.roles import Role
from access.services import create_token
from audit.models import AuditRow
from core.ids import new_id
from drivers.types import HostBusAdapterFact, HostHardware, HostNicFact, HugepagesFact, NumaCellFact, PciFact
from hosts.models import Source
from migrations.models import GuestMigration
from operations.models import Job, JobState, JobStep
from tests.factories import (
    Inventory,
    add_details,
    add_disk,
    add_host_details,
    add_nic,
    add_port_group,
    add_volume,
    make_datastore,
    make_guest,
    make_host,
    make_source,
    make_switch,
    make_user,
)

pytestmark = pytest.mark.django_db

LISTS = ["sources", "hosts", "guests", "datastores", "switches", "tasks", "migrations"]
HOST_STATES = {"connected", "not_responding", "missing"}
GUEST_STATES = {"running", "paused", "suspended", "off", "crashed", "unknown"}
ACTIVE_STATES = {"active", "inactive", "missing"}


class Script:
    """A client with a token."""

    def __init__(self, role: str = Role.ADMIN) -> None:
        self.user = make_user(role)
        self.text = create_token(user=self.user, by=self.user)[1]
        self.client = Client(headers={"authorization": f"Bearer {self.text}"})

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(f"/api/v1/{path}", query)

    def ok(self, path: str, **query: Any) -> Any:
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.content
        return answer.json()

    def names(self, path: str, **query: Any) -> list[str]:
        return [row["name"] for row in self.ok(path, **query)["results"]]

    def post(self, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        data = body if isinstance(body, str | bytes) else json.dumps(body)
        return self.client.post(f"/api/v1/{path}", data if body is not None else b"", content_type=content_type)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def script_as() -> Callable[[str], Script]:
    return Script


def make_migration(guest: Any, host: Any, **values: Any) -> GuestMigration:
    job = Job.objects.create(
        **{
            "kind": "migration",
            "target_kind": "guest",
            "target_id": str(guest.pk),
            "target_name": guest.name,
            "parameters": {"target_host_name": host.name},
            "submitted_by_name": "ann",
            "submitted_at": timezone.now(),
            **values,
        }
    )
    JobStep.objects.create(job=job, at=job.submitted_at, state=job.state)
    return GuestMigration.objects.create(
        job=job,
        guest=guest,
        guest_uuid=guest.uuid,
        guest_name=guest.name,
        source_host=guest.host,
        source_host_name=guest.host.name,
        target_host=host,
        target_host_name=host.name,
        stamp=str(job.pk),
        findings=[{"check": "memory", "severity": "warning", "message": "m", "fix": "f"}],
    )


class TestShapes:
    @pytest.fixture
    def world(self) -> Inventory:
        made = Inventory(hosts=2, guests=3)
        make_migration(made.guests[0], made.hosts[1])
        return made

    @pytest.mark.parametrize("name", LISTS)
    def test_lists_and_details_agree(self, script, world, name):
        answer = script.ok(f"{name}/")
        assert set(answer) == {"results", "next"}
        assert answer["next"] is None
        assert answer["results"]
        for row in answer["results"]:
            assert UUID(row["id"])
            assert row["name"]
            assert row["state"]
            assert row["seen_at"] is None or datetime.fromisoformat(row["seen_at"]).tzinfo
            detail = script.ok(f"{name}/{row['id']}/")
            volatile = {"seen_at"}
            assert {k: v for k, v in detail.items() if k in row and k not in volatile} == {
                k: v for k, v in row.items() if k not in volatile
            }

    @pytest.mark.parametrize(
        ("name", "states"),
        [
            ("hosts", HOST_STATES),
            ("guests", GUEST_STATES),
            ("datastores", ACTIVE_STATES),
            ("switches", ACTIVE_STATES),
            ("tasks", set(JobState.values)),
            ("migrations", set(JobState.values)),
        ],
    )
    def test_states_are_those_that_are_documented(self, script, world, name, states):
        assert {row["state"] for row in script.ok(f"{name}/")["results"]} <= states

    def test_a_guest_names_its_host(self, script, world):
        guest = world.guests[0]
        row = script.ok(f"guests/{guest.pk}/")
        assert row["host"] == {"id": str(guest.host_id), "name": guest.host.name}

    def test_a_guest_with_its_hardware_and_snapshots(self, script):
        guest = make_guest()
        add_details(guest)
        told = script.ok(f"guests/{guest.pk}/")
        assert told["hardware"]["most_vcpus"] == 8
        assert "snapshots" not in told["hardware"]
        assert [one["name"] for one in told["snapshots"]] == ["installed", "patched", "tried"]
        assert told["agent"]["os"].startswith("Debian")

    def test_a_host_with_its_hardware(self, script):
        host = make_host()
        details = add_host_details(host)
        host.refresh_from_db()
        row = script.ok(f"hosts/{host.pk}/")
        assert (row["serial"], row["white_box"]) == (host.serial, host.white_box)
        assert row["hardware"] == {**details.facts, "pci": details.pci}
        assert {nic["name"] for nic in row["hardware"]["nics"]} >= {"bond0", "br0", "eno1"}
        assert row["hardware"]["virtualization_enabled"] is True

    def test_a_host_that_was_not_read_has_no_hardware_yet(self, script):
        row = script.ok(f"hosts/{make_host().pk}/")
        assert (row["serial"], row["white_box"], row["hardware"]) == ("", None, {"pci": []})

    def test_the_list_of_hosts_is_lean(self, script, world):
        for row in script.ok("hosts/")["results"]:
            assert "serial" in row
            assert "hardware" not in row

    def test_every_field_of_a_hosts_hardware_is_documented(self):
        text = (Path(__file__).resolve().parents[3] / "docs" / "api.md").read_text()
        kinds = (HostHardware, HostNicFact, HostBusAdapterFact, PciFact, NumaCellFact, HugepagesFact)
        named = {field.name for kind in kinds for field in msgspec.structs.fields(kind)}
        assert {name for name in named if f"`{name}`" not in text} == set()

    def test_a_guest_with_its_disks_and_nics(self, script):
        host = make_host()
        guest, store, switch = make_guest("db-07", host), make_datastore("fast", (host,)), make_switch("prod", host)
        add_disk(guest, store)
        add_nic(guest, switch)
        row = script.ok(f"guests/{guest.pk}/")
        assert row["disks"][0]["datastore"] == {"id": str(store.pk), "name": "fast"}
        assert row["nics"][0]["switch"] == {"id": str(switch.pk), "name": "prod"}

    def test_a_migration_is_listed_among_the_tasks(self, script, world):
        task = next(row for row in script.ok("tasks/")["results"] if row["kind"] == "migration")
        migration = script.ok(f"migrations/{task['id']}/")
        assert migration["state"] == task["state"] == "queued"
        assert migration["findings"][0]["check"] == "memory"
        assert migration["guest"]["name"] == world.guests[0].name
        assert "progress" in migration

    def test_missing_and_inactive(self, script):
        host, now = make_host(), timezone.now()
        make_switch("gone", host, missing_since=now)
        make_switch("still", host, active=False)
        make_datastore("lost", (host,), missing_since=now)
        assert {row["name"]: row["state"] for row in script.ok("switches/")["results"]} == {
            "gone": "missing",
            "still": "inactive",
        }
        assert script.ok("datastores/")["results"][0]["state"] == "missing"

    def test_no_secrets(self, script):
        make_source(
            transport="ssh",
            username="root",
            password_encrypted="CIPHERTEXT",
            private_key_encrypted="CIPHERKEY",
            host_key="ssh-ed25519 KEYDATA",
        )
        for path in ("sources/", f"sources/{Source.objects.get().pk}/"):
            text = json.dumps(script.ok(path))
            assert not any(word in text for word in ("CIPHER", "KEYDATA", "password", "private_key", "encrypted"))


class TestTargets:
    def test_each_host_with_whether_and_why_not(self, script):
        source = make_source()
        here, there, busy = (make_host(name, source) for name in ("h1", "h2", "h3"))
        type(busy).objects.filter(pk=busy.pk).update(maintenance=True)
        guest = make_guest("db-07", here)
        rows = {row["host"]["name"]: row for row in script.ok(f"guests/{guest.pk}/targets/")["results"]}
        assert set(rows) == {"h1", "h2", "h3"}
        assert rows["h2"]["host"]["id"] == str(there.pk)
        assert not rows["h1"]["possible"]
        assert not rows["h3"]["possible"]
        for row in rows.values():
            assert set(row) == {"host", "possible", "findings"}
            for finding in row["findings"]:
                assert set(finding) == {"check", "severity", "message", "fix"}
            assert row["possible"] is not any(finding["severity"] == "error" for finding in row["findings"])


class TestPower:
    def test_answers_with_the_task(self, script):
        guest = make_guest()
        answer = script.post(f"guests/{guest.pk}/power/", {"action": "shutdown"})
        assert answer.status_code == 202
        task = answer.json()
        assert (task["state"], task["kind"], task["target"]["id"]) == ("queued", "power", str(guest.pk))
        assert script.ok(f"tasks/{task['id']}/")["steps"][0]["state"] == "queued"

    def test_twice_is_a_conflict_that_names_the_task(self, script):
        guest = make_guest()
        first = script.post(f"guests/{guest.pk}/power/", {"action": "shutdown"}).json()
        second = script.post(f"guests/{guest.pk}/power/", {"action": "suspend"})
        assert second.status_code == 409
        assert second.json()["error"]["task"] == first["id"]

    def test_what_makes_no_sense_now(self, script):
        answer = script.post(f"guests/{make_guest(state='off').pk}/power/", {"action": "shutdown"})
        assert answer.status_code == 409
        assert not Job.objects.exists()

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"action": "explode"},
            {"action": None},
            {"action": ["off"]},
            {"action": "off", "force": True},
            [],
            "x",
            None,
            {"action": "shutdown", "submitted_by_name": "somebody else"},
        ],
    )
    def test_bodies_that_do_not_fit(self, script, body):
        """Unknown fields, too: nothing is assigned that was not asked for."""
        answer = script.post(f"guests/{make_guest().pk}/power/", json.dumps(body))
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid"
        assert not Job.objects.exists()


class TestMaintenance:
    def test_on_and_off_say_so_and_twice_changes_nothing(self, script):
        host = make_host("h1")
        for on in (True, True, False):
            answer = script.post(f"hosts/{host.pk}/maintenance/", {"on": on})
            assert (answer.status_code, answer.json()["id"], answer.json()["maintenance"]) == (200, str(host.pk), on)
            host.refresh_from_db()
            assert host.maintenance is on
        assert [entry.action for entry in AuditRow.objects.filter(target_id=str(host.pk)).order_by("pk")] == [
            "host.maintenance_entered",
            "host.maintenance_left",
        ]

    @pytest.mark.parametrize("body", [{}, {"on": "yes"}, {"on": 1}, {"on": True, "host": "other"}])
    def test_bodies_that_do_not_fit(self, script, body):
        assert script.post(f"hosts/{make_host('h1').pk}/maintenance/", body).status_code == 400


class TestMigrations:
    @pytest.fixture
    def pair(self):
        source = make_source()
        return make_guest("db-07", make_host("h1", source)), make_host("h2", source)

    def test_answers_with_the_migration(self, script, pair):
        guest, host = pair
        answer = script.post("migrations/", {"guest": str(guest.pk), "target_host": str(host.pk), "live": True})
        assert answer.status_code == 202, answer.content
        row = answer.json()
        assert (row["state"], row["guest"]["id"], row["target_host"]["id"]) == ("queued", str(guest.pk), str(host.pk))
        assert script.ok(f"migrations/{row['id']}/")["state"] == "queued"
        again = script.post("migrations/", {"guest": str(guest.pk), "target_host": str(host.pk), "live": True})
        assert again.status_code == 409

    def test_cancel(self, script, pair):
        migration = make_migration(*pair)
        answer = script.post(f"migrations/{migration.pk}/cancel/")
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
        late = script.post(f"migrations/{migration.pk}/cancel/")
        assert (late.status_code, late.json()["error"]["code"]) == (409, "cannot_cancel")

    def test_a_task_is_cancelled_the_same_way(self, script, pair):
        migration = make_migration(*pair)
        answer = script.post(f"tasks/{migration.pk}/cancel/")
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")

    def test_what_a_pre_check_forbids_is_a_conflict_with_findings(self, script, pair):
        guest, _host = pair
        answer = script.post("migrations/", {"guest": str(guest.pk), "target_host": str(guest.host_id), "live": True})
        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "not_possible"
        assert answer.json()["error"]["findings"]

    def test_unknown_objects(self, script, pair):
        guest, host = pair
        for body in (
            {"guest": str(new_id()), "target_host": str(host.pk)},
            {"guest": str(guest.pk), "target_host": str(new_id())},
        ):
            assert script.post("migrations/", body).status_code == 404
        assert not GuestMigration.objects.exists()

    def test_cold_moves_are_refused_not_done_live(self, script, pair):
        guest, host = pair
        answer = script.post("migrations/", {"guest": str(guest.pk), "target_host": str(host.pk), "live": False})
        assert answer.status_code == 400


class TestPaging:
    def test_every_row_once_in_order(self, script):
        host = make_host()
        for number in range(25):
            make_guest(f"Guest-{number % 5}" if number % 2 else f"guest-{number % 5}", host, uuid=str(new_id()))
        seen, address, pages = [], "/api/v1/guests/?limit=4", 0
        while address:
            answer = script.client.get(address).json()
            seen += answer["results"]
            address, pages = answer["next"], pages + 1
        assert pages == 7
        assert len({row["id"] for row in seen}) == len(seen) == 25
        assert [row["name"].lower() for row in seen] == sorted(row["name"].lower() for row in seen)

    def test_the_next_page_keeps_filters_and_order(self, script):
        host = make_host()
        for number in range(3):
            make_guest(f"a-{number}", host, vcpus=number + 1)
        make_guest("b", host, vcpus=9, state="off")
        first = script.ok("guests/", state="running", sort="-vcpus", limit=1)
        second = script.client.get(first["next"]).json()
        assert [first["results"][0]["vcpus"], second["results"][0]["vcpus"]] == [3, 2]

    @pytest.mark.parametrize(
        "limit", ["0", "-1", "1001", "x", "", "1.5", "9" * 400, "٣", "00010099", "000100" + "0" * 4400]
    )
    def test_limits(self, script, limit):
        assert script.get("guests/", limit=limit).status_code == 400

    def test_a_forged_cursor(self, script):
        for cursor in ("x", "a.b.c", "W10:abc", "\0", "x" * 5000):
            assert script.get("guests/", cursor=cursor).status_code == 400

    def test_a_cursor_of_another_order(self, script):
        make_guest("a", make_host())
        make_guest("b", make_host("other"))
        following = script.ok("guests/", limit=1)["next"]
        assert script.client.get(f"{following}&sort=-vcpus").status_code == 400

    @pytest.mark.parametrize("name", LISTS)
    def test_as_many_queries_for_many_rows_as_for_few(self, script, name):
        Inventory(hosts=2, guests=2)
        few = self.queries(script, name)
        source = make_source("rack-9")
        for number in range(8):
            host = make_host(f"more-{number}", source)
            guest = make_guest(f"more-{number}", host)
            make_datastore(f"more-{number}", (host,))
            make_switch(f"more-{number}", host)
            make_migration(guest, host)
        assert self.queries(script, name) <= max(few, 6)

    def queries(self, script: Script, name: str) -> int:
        script.ok(f"{name}/")
        with CaptureQueriesContext(connection) as captured:
            script.ok(f"{name}/")
        return len(captured)


class TestStorageAndNetworks:
    def test_a_datastore_says_what_it_is_made_of(self, script):
        hosts = make_host("kvm-01"), make_host("kvm-02")
        store = make_datastore("shared", hosts, kind="netfs", details={"format": "nfs", "servers": ["filer"]})
        store.mounts.filter(host=hosts[0]).update(details={"autostart": True}, volumes_cut=True)
        told = script.ok(f"datastores/{store.pk}/")
        assert (told["kind"], told["details"]) == ("netfs", {"format": "nfs", "servers": ["filer"]})
        mount = next(one for one in told["mounts"] if one["host"]["name"] == "kvm-01")
        assert mount == {
            "host": {"id": str(hosts[0].pk), "name": "kvm-01"},
            "name": "shared",
            "path": "/srv/shared",
            "active": True,
            "details": {"autostart": True},
            "volumes_cut": True,
        }
        (row,) = script.ok("datastores/")["results"]
        assert {"kind", "details", "mounts"} & set(row) == set()

    def test_volumes_name_their_guests(self, script):
        host = make_host("kvm-01")
        store = make_datastore("local", (host,))
        guest = make_guest("db-07", host)
        add_disk(guest, store, source="/srv/local/db.qcow2")
        volume = add_volume(store, "db.qcow2")
        add_volume(store, "overlay.qcow2", backing="/srv/local/db.qcow2")
        assert script.ok(f"datastores/{store.pk}/volumes/")["results"][0] == {
            "id": str(volume.pk),
            "name": "db.qcow2",
            "path": "/srv/local/db.qcow2",
            "kind": "file",
            "format": "qcow2",
            "capacity_bytes": volume.capacity_bytes,
            "allocated_bytes": volume.allocated_bytes,
            "backing": "",
            "base_of": 1,
            "guests": [{"id": str(guest.pk), "name": "db-07"}],
        }

    @pytest.fixture
    def volumes(self):
        store = make_datastore("local", (make_host("kvm-01"),))
        for number, name in enumerate(["b.iso", "A.qcow2", "c.qcow2"]):
            add_volume(store, name, format=name.partition(".")[2], capacity_bytes=number, allocated_bytes=9 - number)
        add_volume(make_datastore("other", (make_host("kvm-02"),)), "elsewhere")
        return f"datastores/{store.pk}/volumes/"

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ({}, ["A.qcow2", "b.iso", "c.qcow2"]),
            ({"sort": "-capacity_bytes"}, ["c.qcow2", "A.qcow2", "b.iso"]),
            ({"sort": "allocated_bytes"}, ["c.qcow2", "A.qcow2", "b.iso"]),
            ({"format": "iso"}, ["b.iso"]),
            ({"kind": "block"}, []),
            ({"name": "a.qcow2"}, ["A.qcow2"]),
            ({"q": "qcow"}, ["A.qcow2", "c.qcow2"]),
        ],
    )
    def test_volumes_are_filtered_and_sorted(self, script, volumes, query, names):
        assert script.names(volumes, **query) == names

    def test_volumes_come_in_pages(self, script, volumes):
        first = script.ok(volumes, limit=2)
        rest = script.client.get(first["next"]).json()
        assert [row["name"] for row in first["results"] + rest["results"]] == ["A.qcow2", "b.iso", "c.qcow2"]
        assert rest["next"] is None

    @pytest.mark.parametrize("query", [{"sort": "path"}, {"host": "kvm-01"}, {"limit": "0"}, {"cursor": "x"}])
    def test_what_does_not_fit_is_refused(self, script, volumes, query):
        assert script.get(volumes, **query).status_code == 400

    def test_more_volumes_ask_no_more(self, script):
        store = make_datastore("local", (make_host("kvm-01"),))

        def queries() -> int:
            with CaptureQueriesContext(connection) as captured:
                script.ok(f"datastores/{store.pk}/volumes/")
            return len(captured)

        add_volume(store, "a")
        queries()  # notes that the token was used
        few = queries()
        for number in range(30):
            add_volume(store, f"b-{number}")
        assert queries() == few

    def test_a_switch_tells_of_its_port_groups(self, script):
        switch = make_switch("lan", mode="bridge", virtual_port="openvswitch", details={"mtu": 9000})
        add_port_group(switch, "office", default=True, native_vlan=20)
        told = script.ok(f"switches/{switch.pk}/")
        assert (told["mode"], told["managed"], told["virtual_port"]) == ("bridge", True, "openvswitch")
        assert told["details"] == {"mtu": 9000}
        assert told["port_groups"] == [
            {"name": "office", "default": True, "vlans": [20], "native_vlan": 20, "trunk": False, "virtual_port": ""}
        ]
        (row,) = script.ok("switches/")["results"]
        assert {"details", "port_groups"} & set(row) == set()


class TestFilters:
    @pytest.fixture
    def world(self) -> None:
        source, other = make_source("rack-1"), make_source("rack-2")
        first, second = make_host("kvm-01", source), make_host("kvm-02", other)
        make_guest("db-07", first)
        make_guest("Web-01", second, state="off")
        make_guest("100%_sure", second, state="paused")
        make_datastore("shared", (first, second))
        make_switch("default", first, active=False)

    @pytest.mark.parametrize(
        ("path", "query", "names"),
        [
            ("guests/", {"state": "running"}, ["db-07"]),
            ("guests/", {"state": ["off", "paused"]}, ["100%_sure", "Web-01"]),
            ("guests/", {"host": "kvm-02"}, ["100%_sure", "Web-01"]),
            ("guests/", {"host": "KVM-01"}, ["db-07"]),
            ("guests/", {"source": "rack-1"}, ["db-07"]),
            ("guests/", {"name": "web-01"}, ["Web-01"]),
            ("guests/", {"name": "web"}, []),
            ("guests/", {"q": "eb"}, ["Web-01"]),
            ("guests/", {"q": "%"}, ["100%_sure"]),
            ("guests/", {"q": "_"}, ["100%_sure"]),
            ("guests/", {"missing": "true"}, []),
            ("hosts/", {"source": "rack-2"}, ["kvm-02"]),
            ("hosts/", {"maintenance": "true"}, []),
            ("hosts/", {"state": "connected", "name": "kvm-01"}, ["kvm-01"]),
            ("datastores/", {"shared": "true"}, ["shared"]),
            ("datastores/", {"state": "missing"}, []),
            ("switches/", {"state": "inactive"}, ["default"]),
            ("switches/", {"host": "kvm-02"}, []),
            ("sources/", {"name": "RACK-1"}, ["rack-1"]),
        ],
    )
    def test_narrow(self, script, world, path, query, names):
        assert script.names(path, **query) == names

    @pytest.mark.parametrize(
        "query",
        [
            {"password_encrypted": "x"},
            {"source__password_encrypted__startswith": "g"},
            {"host__source__password_encrypted__regex": ".*"},
            {"id__in": "x"},
            {"state": "x"},
            {"missing": "maybe"},
            {"name": "\0"},
            {"name": "x" * 400},
            {"sort": "host__source__password_encrypted"},
            {"sort": "-id;drop table"},
            {"sort": "?"},
            {"format": "api"},
        ],
    )
    def test_what_is_not_offered_is_refused(self, script, world, query):
        """No ORM lookups, no orders by hidden columns."""
        answer = script.get("guests/", **query)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid"


class TestErrors:
    def error(self, answer: Any) -> tuple[int, str]:
        body = answer.json()
        assert set(body) == {"error"}
        assert body["error"]["message"]
        assert answer["Content-Type"] == "application/json"
        return answer.status_code, body["error"]["code"]

    def test_without_a_token(self):
        answer = Client().get("/api/v1/hosts/")
        assert self.error(answer) == (401, "unauthorized")
        assert answer["WWW-Authenticate"].startswith("Bearer")

    @pytest.mark.parametrize("header", ["Bearer", "Bearer x", "Bearer \xff", "bearer gst_x", "Bearer a b c"])
    def test_with_a_wrong_token(self, header):
        assert self.error(Client(headers={"authorization": header}).get("/api/v1/hosts/"))[0] == 401

    def test_basic_is_no_way_in(self):
        make_user(Role.ADMIN, "ann")
        assert Client(headers={"authorization": "Basic YW5uOngK"}).get("/api/v1/hosts/").status_code == 401

    def test_a_role_that_may_not(self, script_as):
        viewer = script_as(Role.VIEWER)
        guest = make_guest()
        assert self.error(viewer.post(f"guests/{guest.pk}/power/", {"action": "off"})) == (403, "forbidden")
        assert self.error(viewer.post("migrations/", {})) == (403, "forbidden")

    @pytest.mark.parametrize("path", ["nope/", "guests/x/", "guests/0/", "guests/../hosts/", "hosts/1/2/3/", ""])
    def test_unknown_addresses(self, script, path):
        assert self.error(script.get(path)) == (404, "not_found")
        assert self.error(script.post(path, {})) == (404, "not_found")

    def test_methods(self, script):
        assert self.error(script.client.delete("/api/v1/hosts/")) == (405, "method_not_allowed")
        assert self.error(script.post("hosts/", {})) == (405, "method_not_allowed")

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "x"])
    def test_media_types(self, script, kind):
        answer = script.post("migrations/", "guest=x", content_type=kind)
        assert self.error(answer) == (415, "unsupported_media_type")

    @pytest.mark.parametrize("body", ["{", "\xff", '{"guest": NaN}', "[" * 50_000, '"' + "x" * 60_000])
    def test_broken_json(self, script, body):
        assert script.post("migrations/", body).status_code == 400

    def test_endless_bodies(self, script):
        assert self.error(script.post("migrations/", "x" * 100_000)) == (413, "too_large")

    def test_our_own_mistakes_tell_nothing(self, script, monkeypatch, caplog):
        def broken(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError("secret detail")

        monkeypatch.setattr("api.views.read_page", broken)
        answer = script.get("hosts/")
        assert self.error(answer) == (500, "internal")
        assert b"secret detail" not in answer.content
        assert "secret detail" in caplog.text

    def test_other_formats_are_not_offered(self, script):
        answer = script.client.get("/api/v1/hosts/", headers={"accept": "text/html"})
        assert answer.status_code == 406

    def test_nothing_is_kept_in_a_cache(self, script):
        for path in ("hosts/", "nope/"):
            assert script.get(path)["Cache-Control"] == "no-store"


class TestTokens:
    def test_use_is_remembered_now_and_then(self, script):
        script.ok("hosts/")
        first = ApiToken.objects.get().last_used_at
        assert first is not None
        script.ok("hosts/")
        assert ApiToken.objects.get().last_used_at == first

    def test_revoked(self, script):
        ApiToken.objects.all().delete()
        assert script.get("hosts/").status_code == 401

    def test_of_a_disabled_user(self, script):
        User.objects.update(is_active=False)
        assert script.get("hosts/").status_code == 401

    def test_the_stored_hash_opens_nothing(self, script):
        token = ApiToken.objects.get()
        for text in (token.digest, token.prefix, str(token.pk)):
            assert Client(headers={"authorization": f"Bearer {text}"}).get("/api/v1/hosts/").status_code == 401

    def test_a_token_needs_no_csrf_and_a_session_does(self, script):
        guest = make_guest()
        strict = Client(enforce_csrf_checks=True, headers={"authorization": f"Bearer {script.text}"})
        path = f"/api/v1/guests/{guest.pk}/power/"
        assert strict.post(path, {"action": "shutdown"}, content_type="application/json").status_code == 202
        session = Client(enforce_csrf_checks=True)
        session.force_login(script.user)
        assert session.post(path, {"action": "off"}, content_type="application/json").status_code == 403
