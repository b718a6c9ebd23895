"""Hosts that several sources show, and guests that have the same UUID, on pages and by the API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from access.roles import Role
from history.models import How
from hosts.models import Datacenter, Host, HostSighting, Source
from inventory.models import Guest
from tests.factories import add_disk, add_move, make_datastore, make_guest, make_host, make_source
from tests.web.conftest import ClientAs
from tests.web.moves import make_migration

pytestmark = pytest.mark.django_db

CONFLICT = "2 guests with the UUID x are there at once."


@pytest.fixture
def seen() -> Host:
    """A host that `by-tcp` reads and `by-ssh` sees, too."""
    host = make_host("kvm-01", make_source("by-tcp"))
    ssh = make_source("by-ssh", findings=[{"about": "x", "message": "The host kvm-01 is left out."}])
    HostSighting.objects.create(host=host, source=ssh, ref="kvm-01")
    return host


@pytest.fixture
def twins() -> list[Guest]:
    """Two that run at once and write to one disk; a third lies in another datacenter."""
    hosts = make_host("kvm-01"), make_host("kvm-02")
    first = make_guest("db-07", hosts[0], conflict=CONFLICT)
    second = make_guest("db-07-copy", hosts[1], uuid=first.uuid, twin=1, conflict=CONFLICT)
    store = make_datastore("shared", hosts)
    for guest in (first, second):
        add_disk(guest, store, source="/srv/shared/db-07.qcow2")
        add_disk(guest, store, source=f"/srv/shared/{guest.name}-own.qcow2")
    return [first, second]


def page(client_as: ClientAs, path: str) -> str:
    answer = client_as(Role.VIEWER).get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def told(client_as: ClientAs, path: str) -> Any:
    return json.loads(client_as(Role.VIEWER).get(f"/api/v1/{path}").content)


def test_a_host_says_who_sees_it_too(client_as: ClientAs, seen: Host) -> None:
    text = page(client_as, f"/hosts/{seen.pk}/")
    assert "Also seen by" in text
    assert "by-ssh" in text
    (other,) = told(client_as, f"hosts/{seen.pk}/")["also_seen_by"]
    assert other["name"] == "by-ssh"


def test_a_source_says_what_it_sees_and_what_it_met(client_as: ClientAs, seen: Host) -> None:
    ssh = Source.objects.get(name="by-ssh")
    text = page(client_as, f"/sources/{ssh.pk}/")
    assert "Also seen, and read by another source" in text
    assert "The host kvm-01 is left out." in text
    row = told(client_as, f"sources/{ssh.pk}/")
    assert row["findings"] == ["The host kvm-01 is left out."]
    ((host, source),) = [(one["name"], one["source"]["name"]) for one in row["also_sees"]]
    assert (host, source) == ("kvm-01", "by-tcp")


def test_a_host_of_one_source_says_nothing_of_it(client_as: ClientAs) -> None:
    host = make_host()
    assert "Also seen" not in page(client_as, f"/hosts/{host.pk}/")
    assert "Also seen" not in page(client_as, f"/sources/{host.source_id}/")
    assert told(client_as, f"hosts/{host.pk}/")["also_seen_by"] == []


def test_a_conflict_names_the_other_and_the_disk_of_both(client_as: ClientAs, twins: list[Guest]) -> None:
    text = page(client_as, f"/guests/{twins[0].pk}/")
    notice = text[text.index('role="alert"') : text.index('<div class="cards">')]
    for word in (CONFLICT, "db-07-copy", "kvm-02", "/srv/shared/db-07.qcow2", "power it off"):
        assert word in notice
    assert "-own.qcow2" not in notice
    (other,) = told(client_as, f"guests/{twins[0].pk}/")["conflict_with"]
    assert (other["name"], other["host"]["name"]) == ("db-07-copy", "kvm-02")


def test_disks_that_may_be_shared_are_not_warned_of(client_as: ClientAs, twins: list[Guest]) -> None:
    for guest in twins:
        guest.disks.update(shareable=True)
    assert "write to the same disk" not in page(client_as, f"/guests/{twins[0].pk}/")


def test_a_guest_of_another_datacenter_is_no_twin(client_as: ClientAs, twins: list[Guest]) -> None:
    elsewhere = make_source("far", datacenter=type(twins[0].datacenter).objects.create(name="Far"))
    make_guest("stranger", make_host("kvm-99", elsewhere), uuid=twins[0].uuid)
    assert "stranger" not in page(client_as, f"/guests/{twins[0].pk}/")
    assert len(told(client_as, f"guests/{twins[0].pk}/")["conflict_with"]) == 1


def test_without_a_conflict_nobody_is_looked_for(client_as: ClientAs) -> None:
    guest = make_guest()
    assert 'role="alert"' not in page(client_as, f"/guests/{guest.pk}/")
    assert told(client_as, f"guests/{guest.pk}/")["conflict_with"] == []


# -- a source that goes to another datacenter


def relocate(client_as: ClientAs, source: Source, role: str = Role.ADMIN, **data: Any) -> Any:
    return client_as(role).post(f"/sources/{source.pk}/datacenter/", data)


def test_first_a_plan_then_the_act(client_as: ClientAs) -> None:
    host = make_host("kvm-01", make_source("rack-1"))
    make_guest("db-07", host)
    north = Datacenter.objects.create(name="North")
    page_of = f"/sources/{host.source_id}/datacenter/"
    asked = client_as(Role.ADMIN).get(page_of)
    assert "North" in asked.content.decode()
    assert "Type the source" not in asked.content.decode()
    shown = client_as(Role.ADMIN).get(page_of, {"datacenter": str(north.pk)}).content.decode()
    assert "1 host goes along, with 1 guest" in shown
    assert "Type the source" in shown
    refused = relocate(client_as, host.source, datacenter=north.pk, confirmation="yes")
    assert (refused.status_code, Source.objects.get().datacenter.name) == (400, "Berlin")
    done = relocate(client_as, host.source, datacenter=north.pk, confirmation="rack-1")
    assert (done.status_code, done["Location"]) == (302, f"/sources/{host.source_id}/")
    assert Guest.objects.get().datacenter == north


def test_a_blocker_leaves_nothing_to_confirm(client_as: ClientAs, twins: list[Guest]) -> None:
    north = Datacenter.objects.create(name="North")
    source = twins[0].host.source
    shown = (
        client_as(Role.ADMIN).get(f"/sources/{source.pk}/datacenter/", {"datacenter": str(north.pk)}).content.decode()
    )
    assert "Solve it first" in shown
    assert "Type the source" not in shown
    assert relocate(client_as, source, datacenter=north.pk, confirmation=source.name).status_code == 400
    source.refresh_from_db()
    assert source.datacenter.name == "Berlin"


@pytest.mark.parametrize("datacenter", ["", "nonsense", "00000000-0000-0000-0000-000000000000", "own"])
def test_a_datacenter_that_is_none(client_as: ClientAs, datacenter: str) -> None:
    source = make_source()
    chosen = str(source.datacenter_id) if datacenter == "own" else datacenter
    assert relocate(client_as, source, datacenter=chosen, confirmation=source.name).status_code == 400


def test_by_the_api(client_as: ClientAs) -> None:
    host = make_host("kvm-01", make_source("rack-1"))
    make_guest("db-07", host)
    north = Datacenter.objects.create(name="North")

    def post(act: str, **body: Any) -> Any:
        return client_as(Role.ADMIN).post(
            f"/api/v1/sources/{host.source_id}/{act}/", {"datacenter": str(north.pk), **body}, "application/json"
        )

    plan = post("relocation").json()
    assert (plan["possible"], plan["hosts"], plan["guests"], plan["blockers"]) == (True, 1, 1, [])
    assert Guest.objects.get().datacenter.name == "Berlin"
    assert post("relocate", confirmation="x").status_code == 400
    assert post("relocate", confirmation="rack-1").json()["datacenter"]["name"] == "North"
    assert post("relocate", confirmation="rack-1").status_code == 409


# -- moves, whoever made them


def test_a_move_by_somebody_else_is_listed_for_its_guest_and_among_all(client_as: ClientAs) -> None:
    guest, far = make_guest("db-07", make_host("kvm-01")), make_host("kvm-02")
    add_move(guest, far, how=How.EVENT)
    add_move(make_guest("other", far), guest.host, how=How.POLL)
    of_guest = page(client_as, f"/guests/{guest.pk}/moves/")
    assert "by somebody else; the hosts told of it" in of_guest
    assert ("kvm-02" in of_guest, "a read found it there" in of_guest) == (True, False)
    assert "a read found it there" in page(client_as, "/moves/")
    assert "/moves/" in page(client_as, "/migrations/")


def test_what_is_gone_is_named_and_leads_nowhere(client_as: ClientAs) -> None:
    guest, far = make_guest("db-07", make_host("kvm-01")), make_host("kvm-02")
    add_move(guest, far)
    far.source.delete()
    Guest.objects.all().delete()
    text = page(client_as, "/moves/")
    assert "db-07" in text
    assert f"/guests/{guest.pk}/" not in text
    assert (f"/hosts/{far.pk}/" in text, f"/hosts/{guest.host_id}/" in text) == (False, True)


def test_a_move_by_a_task_here_leads_to_it(client_as: ClientAs) -> None:
    guest, far = make_guest("db-07", make_host("kvm-01")), make_host("kvm-02")
    migration = make_migration(guest, far, "succeeded")
    add_move(guest, far, how=How.MIGRATION, migration_id=migration.pk, downtime_ms=12)
    add_move(guest, far)
    text = page(client_as, "/moves/")
    assert f"/migrations/{migration.pk}/" in text
    assert "by a task here" in page(client_as, "/moves/?q=how:here")
    assert f"/migrations/{migration.pk}/" not in page(client_as, "/moves/?q=how:elsewhere")


def test_moves_by_the_api(client_as: ClientAs) -> None:
    guest, far = make_guest("db-07", make_host("kvm-01")), make_host("kvm-02")
    add_move(guest, far, how=How.EVENT)
    add_move(make_guest("other", far), guest.host)
    (row,) = told(client_as, f"moves/?guest={guest.pk}")["results"]
    assert (row["guest"]["name"], row["from_host"]["name"], row["to_host"]["name"]) == ("db-07", "kvm-01", "kvm-02")
    assert (row["how"], row["migration"]) == ("event", None)
    assert len(told(client_as, "moves/?how=poll")["results"]) == 1
