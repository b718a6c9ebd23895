"""The list of tasks, the page of one, and cancelling it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from core.ids import new_id
from inventory.models import Guest
from operations.models import Job, JobState
from tests.factories import make_guest, make_host, make_job, make_user
from tests.web.conftest import ANONYMOUS, ROLES, ClientAs
from tests.web.moves import add_steps, make_migration

CANCELLERS = {"migration_admin", "admin"}


@pytest.fixture
def guest(db: None) -> Guest:
    return make_guest("db-07")


def text_of(response: Any) -> str:
    return str(response.content.decode())


@pytest.mark.parametrize("role", [*ROLES, ANONYMOUS])
@pytest.mark.parametrize("page", ["task_page", "task_live"])
def test_everybody_signed_in_sees_a_task(role: str, page: str, client_as: ClientAs, guest: Guest) -> None:
    response = client_as(role).get(reverse(page, args=[make_job(guest).pk]))
    assert response.status_code == (302 if role == ANONYMOUS else 200)


@pytest.mark.parametrize("page", ["task_page", "task_live", "task_cancel"])
def test_a_task_nobody_knows_has_no_page(page: str, client_as: ClientAs, guest: Guest) -> None:
    assert client_as("admin").get(reverse(page, args=[new_id()])).status_code == 404


@pytest.mark.parametrize("page", ["task_list", "task_page", "task_live"])
def test_reading_pages_take_no_posts(page: str, client_as: ClientAs, guest: Guest) -> None:
    arguments = [] if page == "task_list" else [make_job(guest).pk]
    assert client_as("admin").post(reverse(page, args=arguments)).status_code == 405


@pytest.mark.parametrize("state", ["queued", "running", "cancelling", "succeeded", "failed", "needs_attention"])
def test_a_task_tells_its_story(state: str, client_as: ClientAs, guest: Guest) -> None:
    job = make_job(guest, state=state, message="What came of it.")
    add_steps(job, [JobState.QUEUED, JobState.RUNNING])
    page = text_of(client_as("viewer").get(reverse("task_page", args=[job.pk])))
    for words in ("Start", "db-07", "operator", "What came of it.", str(JobState(state).label)):
        assert words in page


def test_a_kind_that_is_gone_keeps_its_tasks_readable(client_as: ClientAs, guest: Guest) -> None:
    job = make_job(guest, kind="defragment", state="queued", parameters={"depth": 3})
    page = text_of(client_as("admin").get(reverse("task_page", args=[job.pk])))
    assert "defragment" in page
    assert "defragment" in text_of(client_as("admin").get(reverse("task_list")))


def test_a_migration_is_shown_on_its_own_page(client_as: ClientAs, guest: Guest) -> None:
    migration = make_migration(guest, make_host("kvm-02", guest.host.source))
    response = client_as("viewer").get(reverse("task_page", args=[migration.pk]))
    assert response.headers["Location"] == reverse("migration_page", args=[migration.pk])


# -- the list


@pytest.mark.parametrize("role", [*ROLES, ANONYMOUS])
def test_everybody_signed_in_sees_the_list(role: str, client_as: ClientAs, guest: Guest) -> None:
    make_job(guest)
    response = client_as(role).get(reverse("task_list"))
    assert response.status_code == (302 if role == ANONYMOUS else 200)
    if role != ANONYMOUS:
        assert "db-07" in text_of(response)


def test_the_list_is_filtered(client_as: ClientAs, guest: Guest) -> None:
    running = make_job(guest)
    ended = make_job(make_guest("web-01", guest.host), state="failed", submitted_by_name="nora")
    move = make_migration(make_guest("app-1", guest.host), make_host("kvm-02", guest.host.source))
    client = client_as("viewer")
    for text, found in (
        ("state:open", {running.pk, move.pk}),
        ("state:failed", {ended.pk}),
        ("kind:migration", {move.pk}),
        ("by:nora", {ended.pk}),
        ("target:web", {ended.pk}),
        ("web", {ended.pk}),
    ):
        rows = client.get(reverse("task_list"), {"q": text}).context["list"].page.rows
        assert {row.pk for row in rows} == found, text


def test_the_list_asks_the_database_equally_often_for_many_rows(
    client_as: ClientAs, guest: Guest, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = client_as("viewer")
    client.get(reverse("task_list"))
    for _number in range(40):
        make_job(guest, state="succeeded")
    with django_assert_max_num_queries(6):
        response = client.get(reverse("task_list"))
    assert len(response.context["list"].rows) == 40


# -- cancel


@pytest.mark.parametrize("role", [*ROLES, ANONYMOUS])
@pytest.mark.parametrize("method", ["get", "post"])
def test_only_who_may_cancel_is_asked_and_heard(role: str, method: str, client_as: ClientAs, guest: Guest) -> None:
    job = make_job(guest, state="queued", started_at=None)
    response = getattr(client_as(role), method)(reverse("task_cancel", args=[job.pk]))
    job.refresh_from_db()
    allowed = role in CANCELLERS
    expected = 302 if role == ANONYMOUS or (allowed and method == "post") else 200 if allowed else 403
    assert response.status_code == expected
    assert job.state == ("cancelled" if allowed and method == "post" else "queued")


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_cancelling_knows_no_other_method(method: str, client_as: ClientAs, guest: Guest) -> None:
    url = reverse("task_cancel", args=[make_job(guest).pk])
    assert getattr(client_as("admin"), method)(url).status_code == 405


def test_a_form_from_elsewhere_cancels_nothing(guest: Guest) -> None:
    client, job = Client(enforce_csrf_checks=True), make_job(guest, state="queued")
    client.force_login(make_user("admin"))
    assert client.post(reverse("task_cancel", args=[job.pk])).status_code == 403
    assert Job.objects.get().state == "queued"


def test_cancelling_twice_is_once(client_as: ClientAs, guest: Guest) -> None:
    job = make_job(guest)
    for _click in range(2):
        response = client_as("admin").post(reverse("task_cancel", args=[job.pk]), follow=True)
        assert response.status_code == 200
    job.refresh_from_db()
    assert job.state == "cancelling"
    assert job.steps.count() == 1
    assert "Cancel was asked by the-admin." in text_of(response)


def test_a_task_that_has_ended_says_so(client_as: ClientAs, guest: Guest) -> None:
    job = make_job(guest, state="succeeded")
    url = reverse("task_cancel", args=[job.pk])
    assert "This task has ended already." in text_of(client_as("admin").get(url))
    response = client_as("admin").post(url, follow=True)
    assert "This task has ended already: succeeded." in text_of(response)
    assert response.redirect_chain[-1][0] == reverse("task_page", args=[job.pk])


def test_a_move_that_is_switching_cannot_be_cancelled_and_says_why(client_as: ClientAs, guest: Guest) -> None:
    migration = make_migration(guest, make_host("kvm-02", guest.host.source), "switching")
    page = text_of(client_as("admin").get(reverse("migration_page", args=[migration.pk])))
    assert "Too late to cancel: the guest is already changing hosts." in page
    assert reverse("task_cancel", args=[migration.pk]) not in page
    response = client_as("admin").post(reverse("task_cancel", args=[migration.pk]), follow=True)
    assert "It is too late to cancel" in text_of(response)
    assert Job.objects.get(pk=migration.pk).state == "switching"


def test_what_cancelling_means_is_said_before(client_as: ClientAs, guest: Guest) -> None:
    migration = make_migration(guest, make_host("kvm-02", guest.host.source))
    page = text_of(client_as("admin").get(reverse("task_cancel", args=[migration.pk])))
    assert "db-07 goes on running where it is" in page


@pytest.mark.parametrize("role", ROLES)
def test_the_button_is_there_for_who_may_and_grey_for_others(role: str, client_as: ClientAs, guest: Guest) -> None:
    job = make_job(guest)
    page = text_of(client_as(role).get(reverse("task_page", args=[job.pk])))
    assert (reverse("task_cancel", args=[job.pk]) in page) is (role in CANCELLERS)
    assert ("Your role does not allow this: cancel tasks." in page) is (role not in CANCELLERS)
