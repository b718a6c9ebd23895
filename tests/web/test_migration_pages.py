"""The migrate dialog, the page of a migration, and the list of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from access.models import User
from core.ids import new_id
from hosts.models import Datacenter, Host
from inventory.models import Guest, GuestState
from migrations.models import GuestMigration
from migrations.services import submit_migration
from operations.models import Job, JobState
from tests.factories import Inventory, add_disk, make_guest, make_host, make_source, make_user
from tests.web.conftest import ANONYMOUS, ROLES, ClientAs
from tests.web.moves import make_migration

MOVERS = {"migration_admin", "admin"}


class Rack:
    """A guest that can move to kvm-02, and for a reason not to kvm-03."""

    def __init__(self) -> None:
        source = make_source("rack-1")
        self.here, self.there, self.closed = (make_host(f"kvm-0{number}", source) for number in (1, 2, 3))
        self.closed.maintenance = True
        self.closed.save()
        self.guest = make_guest("db-07", self.here)


@pytest.fixture
def rack(db: None) -> Rack:
    return Rack()


def dialog_url(guest: Guest) -> str:
    return reverse("guest_migrate", args=[guest.pk])


def form(guest: Guest, target: Host | None) -> dict[str, str]:
    return {"from_host": str(guest.host_id), "live": "true", "target_host": str(target.pk) if target else ""}


def text_of(response: Any) -> str:
    return str(response.content.decode())


# -- the dialog


@pytest.mark.parametrize("role", [*ROLES, ANONYMOUS])
def test_only_who_may_migrate_is_asked_where_to(role: str, client_as: ClientAs, rack: Rack) -> None:
    response = client_as(role).get(dialog_url(rack.guest))
    assert response.status_code == (200 if role in MOVERS else 302 if role == ANONYMOUS else 403)


@pytest.mark.parametrize("role", [*ROLES, ANONYMOUS])
def test_only_who_may_migrate_starts_a_migration(role: str, client_as: ClientAs, rack: Rack) -> None:
    response = client_as(role).post(dialog_url(rack.guest), form(rack.guest, rack.there))
    assert response.status_code == (403 if role not in {*MOVERS, ANONYMOUS} else 302)
    assert Job.objects.count() == (1 if role in MOVERS else 0)


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_the_dialog_knows_no_other_method(method: str, client_as: ClientAs, rack: Rack) -> None:
    assert getattr(client_as("admin"), method)(dialog_url(rack.guest)).status_code == 405


def test_a_guest_nobody_knows_has_no_dialog(client_as: ClientAs, rack: Rack) -> None:
    assert client_as("admin").get(reverse("guest_migrate", args=[new_id()])).status_code == 404
    assert client_as("admin").post(reverse("guest_migrate", args=[new_id()])).status_code == 404


def test_a_form_from_elsewhere_starts_nothing(rack: Rack) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("admin"))
    assert client.post(dialog_url(rack.guest), form(rack.guest, rack.there)).status_code == 403
    assert not Job.objects.exists()


def test_hosts_are_ranked_and_each_says_why_not(client_as: ClientAs, rack: Rack) -> None:
    make_guest("web-01", rack.there)
    roomy = make_host("kvm-04", rack.here.source)
    response = client_as("admin").get(dialog_url(rack.guest))
    options = response.context["options"]
    assert [option.target.host for option in options] == [roomy, rack.there, rack.closed, rack.here]
    assert [option.guests for option in options] == [0, 1, 0, 1]
    assert response.context["chosen"] == str(roomy.pk)
    page = text_of(response)
    assert "kvm-03 is in maintenance." in page
    assert "End its maintenance, or choose another host." in page
    assert page.count(" disabled ") == 2  # the closed host, and the one it is on


def test_a_retry_chooses_the_host_it_names(client_as: ClientAs, rack: Rack) -> None:
    make_host("kvm-00", rack.here.source)
    response = client_as("admin").get(dialog_url(rack.guest), {"to": str(rack.there.pk)})
    assert response.context["chosen"] == str(rack.there.pk)
    impossible = client_as("admin").get(dialog_url(rack.guest), {"to": str(rack.closed.pk)})
    assert impossible.context["chosen"] != str(rack.closed.pk)


def test_what_stands_against_every_host_is_said_once(client_as: ClientAs, rack: Rack) -> None:
    Guest.objects.update(state=GuestState.OFF)
    page = text_of(client_as("admin").get(dialog_url(rack.guest)))
    assert page.count("The guest is not running: off.") == 1
    assert "It cannot be moved anywhere now:" in page


def test_a_host_without_the_memory_warns_before_it_is_chosen(client_as: ClientAs, rack: Rack) -> None:
    make_guest("huge", rack.there, memory_bytes=rack.there.memory_bytes)
    response = client_as("admin").get(dialog_url(rack.guest))
    option = next(one for one in response.context["options"] if one.target.host == rack.there)
    assert option.full
    assert option.warnings == 1
    assert "memory-full" in text_of(response)


def test_the_dialog_asks_the_database_equally_often_for_many_hosts(
    client_as: ClientAs, rack: Rack, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = client_as("admin")
    client.get(dialog_url(rack.guest))
    for number in range(30):
        make_host(f"kvm-{number + 10}", rack.here.source)
    with django_assert_max_num_queries(18):
        response = client.get(dialog_url(rack.guest))
    assert len(response.context["options"]) == 33


# -- starting


def test_a_migration_is_queued_and_shown(client_as: ClientAs, rack: Rack) -> None:
    response = client_as("migration_admin").post(dialog_url(rack.guest), form(rack.guest, rack.there))
    migration = GuestMigration.objects.get()
    assert response.headers["Location"] == reverse("migration_page", args=[migration.pk])
    assert (migration.guest, migration.target_host, migration.live) == (rack.guest, rack.there, True)
    assert migration.job.submitted_by_name == "the-migration_admin"


def test_a_double_click_gives_one_migration(client_as: ClientAs, rack: Rack) -> None:
    client, data = client_as("admin"), form(rack.guest, rack.there)
    first, second = (client.post(dialog_url(rack.guest), data) for _click in range(2))
    assert GuestMigration.objects.count() == 1
    assert first.headers["Location"] == second.headers["Location"]


def test_what_somebody_else_started_is_said_with_the_way_there(client_as: ClientAs, rack: Rack) -> None:
    other: User = make_user("migration_admin", "nora")
    migration = submit_migration(guest=rack.guest, target_host=rack.there, by=other)
    response = client_as("admin").post(dialog_url(rack.guest), form(rack.guest, rack.there))
    assert response.status_code == 409
    page = text_of(response)
    assert "db-07 already has an open task: Migrate to kvm-02 (queued), asked by nora." in page
    assert reverse("task_page", args=[migration.pk]) in page
    assert GuestMigration.objects.count() == 1


def test_a_dialog_opened_before_the_guest_moved_is_refused(client_as: ClientAs, rack: Rack) -> None:
    data = form(rack.guest, rack.here)
    Guest.objects.update(host=rack.there)
    response = client_as("admin").post(dialog_url(rack.guest), data)
    assert response.status_code == 409
    assert "db-07 has moved to kvm-02 since you opened this; look again." in text_of(response)
    assert not Job.objects.exists()


@pytest.mark.parametrize("target", ["", "not-an-id", str(new_id())], ids=["none", "no id", "unknown id"])
def test_a_target_that_was_not_offered_is_refused(target: str, client_as: ClientAs, rack: Rack) -> None:
    response = client_as("admin").post(dialog_url(rack.guest), form(rack.guest, None) | {"target_host": target})
    assert response.status_code == 409
    assert "Choose a host to move the guest to." in text_of(response)
    assert not Job.objects.exists()


def test_a_host_of_another_datacenter_is_no_target(client_as: ClientAs, rack: Rack) -> None:
    foreign = make_host("far-01", make_source("far", datacenter=Datacenter.objects.create(name="Elsewhere")))
    response = client_as("admin").post(dialog_url(rack.guest), form(rack.guest, foreign))
    assert response.status_code == 409
    assert not Job.objects.exists()


def test_an_impossible_target_is_refused_with_its_reason(client_as: ClientAs, rack: Rack) -> None:
    response = client_as("admin").post(dialog_url(rack.guest), form(rack.guest, rack.closed))
    assert response.status_code == 409
    assert response.context["refusal"].message.startswith("kvm-03 is in maintenance.")
    assert not Job.objects.exists()


def test_a_refusal_stays_in_the_dialog_it_was_asked_from(client_as: ClientAs, rack: Rack) -> None:
    guest_page = f"http://testserver{reverse('guest_page', args=[rack.guest.pk])}"
    headers = {"HX-Request": "true", "HX-Current-URL": guest_page}
    asked = client_as("admin").post(dialog_url(rack.guest), form(rack.guest, rack.closed), headers=headers)
    assert asked.headers["HX-Retarget"] == "#dialog"
    own_page = headers | {"HX-Current-URL": f"http://testserver{dialog_url(rack.guest)}"}
    alone = client_as("admin").post(dialog_url(rack.guest), form(rack.guest, rack.closed), headers=own_page)
    assert "HX-Retarget" not in alone.headers


# -- the page


@pytest.mark.parametrize("role", [*ROLES, ANONYMOUS])
@pytest.mark.parametrize("page", ["migration_page", "migration_live"])
def test_everybody_signed_in_watches_a_migration(role: str, page: str, client_as: ClientAs, rack: Rack) -> None:
    migration = make_migration(rack.guest, rack.there)
    response = client_as(role).get(reverse(page, args=[migration.pk]))
    assert response.status_code == (302 if role == ANONYMOUS else 200)


@pytest.mark.parametrize("page", ["migration_page", "migration_live"])
def test_a_migration_nobody_knows_has_no_page(page: str, client_as: ClientAs, rack: Rack) -> None:
    assert client_as("admin").get(reverse(page, args=[new_id()])).status_code == 404
    assert client_as("admin").post(reverse(page, args=[new_id()])).status_code == 405


@pytest.mark.parametrize("state", [state.value for state in JobState if state is not JobState.RUNNING])
def test_every_state_has_a_page(state: str, client_as: ClientAs, rack: Rack) -> None:
    migration = make_migration(rack.guest, rack.there, state)
    page = text_of(client_as("viewer").get(reverse("migration_page", args=[migration.pk])))
    assert str(JobState(state).label) in page
    assert "kvm-01" in page
    assert "kvm-02" in page


def test_a_running_move_shows_its_numbers(client_as: ClientAs, rack: Rack) -> None:
    migration = make_migration(rack.guest, rack.there)
    response = client_as("viewer").get(reverse("migration_page", args=[migration.pk]))
    shown = {figure.key: figure.value for figure in response.context["figures"]}
    assert shown == {
        "sent": "1.66 GiB",
        "left": "2.34 GiB",
        "total": "4 GiB",
        "rate": "310 MiB/s",
        "dirty": "40 MiB/s",
        "iteration": "2",
        "eta": "about 9 s",
        "downtime": "300 ms",
    }
    assert 'aria-valuenow="42"' in text_of(response)


def test_a_dirty_rate_that_nobody_measured_yet_is_no_zero(client_as: ClientAs, rack: Rack) -> None:
    migration = make_migration(rack.guest, rack.there)
    migration.job.progress |= {"dirty_rate_bytes_per_s": 0, "iteration": 1}
    migration.job.save()
    response = client_as("viewer").get(reverse("migration_page", args=[migration.pk]))
    assert {figure.key: figure.value for figure in response.context["figures"]}["dirty"] == ""


def test_an_ended_move_shows_what_was_measured(client_as: ClientAs, rack: Rack) -> None:
    migration = make_migration(
        rack.guest, rack.there, "succeeded", downtime_ms=27, job={"message": "The guest runs on kvm-02."}
    )
    response = client_as("viewer").get(reverse("migration_page", args=[migration.pk]))
    figures = {figure.key: (figure.label, figure.value) for figure in response.context["figures"]}
    assert figures["downtime"] == ("Downtime", "27 ms")
    assert figures["rate"] == ("Average rate", "310 MiB/s")
    assert figures["dirty"] == ("Highest dirty rate", "40 MiB/s")
    page = text_of(response)
    assert "The guest runs on kvm-02." in page
    assert "data-open" not in page
    assert "Try again…" not in page


def test_a_move_that_fell_behind_says_what_to_do(client_as: ClientAs, rack: Rack) -> None:
    migration = make_migration(rack.guest, rack.there)
    migration.job.progress |= {"dirty_rate_bytes_per_s": 400 * 1024**2, "seconds_left": None}
    migration.job.save()
    page = text_of(client_as("viewer").get(reverse("migration_page", args=[migration.pk])))
    assert "At this pace it does not end" in page


def test_who_must_look_is_told_what_each_side_said(client_as: ClientAs, rack: Rack) -> None:
    said = "kvm-01 runs it; kvm-02 runs it. Both run it: power it off on one of them at once."
    migration = make_migration(rack.guest, rack.there, "needs_attention", job={"message": said})
    page = text_of(client_as("admin").get(reverse("migration_page", args=[migration.pk])))
    assert said in page
    assert "Nothing is tried again by itself." in page
    assert f"{dialog_url(rack.guest)}?to={rack.there.pk}" in page


def test_only_who_may_migrate_is_offered_to_try_again(client_as: ClientAs, rack: Rack) -> None:
    migration = make_migration(rack.guest, rack.there, "failed", job={"message": "The cable was cut."})
    for role in ROLES:
        page = text_of(client_as(role).get(reverse("migration_page", args=[migration.pk])))
        assert ("Try again…" in page) is (role in MOVERS)


def test_a_migration_outlives_its_guest_and_hosts(client_as: ClientAs, rack: Rack) -> None:
    migration = make_migration(rack.guest, rack.there, "failed", job={"message": "Gone."})
    rack.guest.delete()
    rack.there.delete()
    page = text_of(client_as("admin").get(reverse("migration_page", args=[migration.pk])))
    assert "db-07" in page
    assert "kvm-02" in page
    assert "Try again…" not in page


def test_the_moving_parts_come_without_the_frame(client_as: ClientAs, rack: Rack) -> None:
    migration = make_migration(rack.guest, rack.there)
    url = reverse("migration_live", args=[migration.pk])
    part = text_of(client_as("viewer").get(url))
    assert "<main" not in part
    for name in ("migration-state", "migration-actions", "migration-body"):
        assert f'id="{name}"' in part
    assert part.count(f'data-live="task:{migration.pk}"') == 3
    assert part.count(f'data-live-url="{url}"') == 3


def test_a_hostile_name_stays_text(client_as: ClientAs, rack: Rack) -> None:
    Guest.objects.update(name="<script>alert(1)</script>")
    rack.guest.refresh_from_db()
    migration = make_migration(rack.guest, rack.there)
    for url in (reverse("migration_page", args=[migration.pk]), reverse("migration_list"), dialog_url(rack.guest)):
        assert "<script>alert" not in text_of(client_as("admin").get(url))


def test_watching_costs_few_queries(
    client_as: ClientAs, rack: Rack, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    migration = make_migration(rack.guest, rack.there, "succeeded")
    client = client_as("viewer")
    client.get(reverse("migration_live", args=[migration.pk]))
    with django_assert_max_num_queries(4):
        client.get(reverse("migration_live", args=[migration.pk]))


# -- the list


@pytest.mark.parametrize("role", [*ROLES, ANONYMOUS])
def test_everybody_signed_in_sees_the_list(role: str, client_as: ClientAs, rack: Rack) -> None:
    make_migration(rack.guest, rack.there, "succeeded")
    response = client_as(role).get(reverse("migration_list"))
    assert response.status_code == (302 if role == ANONYMOUS else 200)
    if role != ANONYMOUS:
        assert "db-07" in text_of(response)


def test_the_list_is_filtered_by_state_guest_and_host(client_as: ClientAs, rack: Rack) -> None:
    make_migration(rack.guest, rack.there, "succeeded")
    make_migration(make_guest("web-01", rack.there), rack.here, "copying")
    client = client_as("viewer")
    for text, names in (
        ("state:open", {"web-01"}),
        ("state:succeeded", {"db-07"}),
        ("guest:web", {"web-01"}),
        ("host:kvm-02", {"web-01", "db-07"}),
        ("host:kvm-03", set()),
    ):
        rows = client.get(reverse("migration_list"), {"q": text}).context["list"].page.rows
        assert {row.guest_name for row in rows} == names, text


def test_the_list_is_exported_by_who_may(client_as: ClientAs, rack: Rack) -> None:
    make_migration(rack.guest, rack.there, "succeeded", downtime_ms=27)
    for role in ROLES:
        response = client_as(role).get(reverse("migration_list"), {"export": "csv"})
        assert response.status_code == (403 if role == "viewer" else 200)
    body = client_as("auditor").get(reverse("migration_list"), {"export": "csv"}).getvalue().decode()
    assert "db-07,kvm-01,kvm-02,succeeded" in body


def test_the_list_asks_the_database_equally_often_for_many_rows(
    client_as: ClientAs, rack: Rack, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = client_as("viewer")
    client.get(reverse("migration_list"))
    for number in range(40):
        make_migration(make_guest(f"g-{number}", rack.here), rack.there, "succeeded")
    with django_assert_max_num_queries(6):
        response = client.get(reverse("migration_list"))
    assert len(response.context["list"].rows) == 40


def test_a_guest_has_its_own_migrations(client_as: ClientAs, rack: Rack) -> None:
    make_migration(rack.guest, rack.there, "succeeded")
    make_migration(make_guest("web-01", rack.there), rack.here, "succeeded")
    response = client_as("viewer").get(reverse("guest_tab", args=[rack.guest.pk, "migrations"]))
    assert [row.guest_name for row in response.context["list"].page.rows] == ["db-07"]


def test_a_disk_that_is_not_shared_says_which(client_as: ClientAs) -> None:
    inventory = Inventory(hosts=2, guests=0)
    guest = make_guest("db-07", inventory.hosts[0])
    other = inventory.hosts[1]
    Host.objects.filter(pk=other.pk).update(datacenter=inventory.hosts[0].datacenter)
    add_disk(guest, inventory.local[0])
    page = text_of(client_as("admin").get(dialog_url(guest)))
    assert "vda is on the datastore local-kvm-01, which kvm-02 does not see." in page
    assert "Move the disk to shared storage first." in page


def test_time_that_ran_backwards_is_no_negative_time(client_as: ClientAs, rack: Rack) -> None:
    migration = make_migration(rack.guest, rack.there)
    Job.objects.update(started_at=timezone.now() + timedelta(hours=1))
    response = client_as("viewer").get(reverse("migration_page", args=[migration.pk]))
    assert response.context["elapsed_ms"] == 0
