"""The power menu of a guest and what it does."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from core.ids import new_id
from drivers.types import PowerAction
from inventory.models import Guest, GuestState
from inventory.power import submit_power
from operations.models import Job
from tests.factories import make_guest, make_job, make_user
from tests.web.conftest import ANONYMOUS, ROLES, ClientAs

POWERFUL = {"operator", "migration_admin", "admin"}
MOVERS = {"migration_admin", "admin"}
# What makes sense for a running guest.
SENSIBLE = {"shutdown", "reset", "off", "suspend"}


@pytest.fixture
def guest(db: None) -> Guest:
    return make_guest("db-07")


def url(guest: Guest, action: str) -> str:
    return reverse("guest_power", args=[guest.pk, action])


def text_of(response: Any) -> str:
    return str(response.content.decode())


@pytest.mark.parametrize("role", [*ROLES, ANONYMOUS])
@pytest.mark.parametrize("action", [action.value for action in PowerAction])
def test_only_who_may_changes_power(role: str, action: str, client_as: ClientAs, guest: Guest) -> None:
    if action not in SENSIBLE:
        Guest.objects.update(state=GuestState.OFF if action == "start" else GuestState.PAUSED)
    response = client_as(role).post(url(guest, action))
    assert response.status_code == (302 if role in {*POWERFUL, ANONYMOUS} else 403)
    jobs = list(Job.objects.values_list("parameters", "submitted_by_name"))
    assert jobs == ([({"action": action}, f"the-{role}")] if role in POWERFUL else [])


@pytest.mark.parametrize("role", [*ROLES, ANONYMOUS])
def test_only_who_may_is_asked_to_confirm(role: str, client_as: ClientAs, guest: Guest) -> None:
    response = client_as(role).get(url(guest, "off"))
    assert response.status_code == (200 if role in POWERFUL else 302 if role == ANONYMOUS else 403)
    assert not Job.objects.exists()


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_power_knows_no_other_method(method: str, client_as: ClientAs, guest: Guest) -> None:
    assert getattr(client_as("admin"), method)(url(guest, "off")).status_code == 405


def test_unknown_guests_and_actions_are_not_found(client_as: ClientAs, guest: Guest) -> None:
    client = client_as("admin")
    for method in (client.get, client.post):
        assert method(url(guest, "explode")).status_code == 404
        assert method(reverse("guest_power", args=[new_id(), "off"])).status_code == 404
    assert client.get(reverse("guest_actions", args=[new_id()])).status_code == 404


def test_a_form_from_elsewhere_changes_nothing(guest: Guest) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("admin"))
    assert client.post(url(guest, "off")).status_code == 403
    assert not Job.objects.exists()


@pytest.mark.parametrize(("action", "words"), [("reset", "pressing the reset button"), ("off", "pulling the plug")])
def test_what_is_risky_is_named_and_explained(action: str, words: str, client_as: ClientAs, guest: Guest) -> None:
    page = text_of(client_as("operator").get(url(guest, action)))
    assert "db-07" in page
    assert words in page


def test_a_double_click_asks_once(client_as: ClientAs, guest: Guest) -> None:
    for _click in range(2):
        response = client_as("operator").post(url(guest, "reset"), follow=True)
        assert "Reset of db-07 was asked for." in text_of(response)
    assert Job.objects.count() == 1


def test_what_stands_against_it_is_one_clear_sentence(client_as: ClientAs, guest: Guest) -> None:
    response = client_as("operator").post(url(guest, "start"), follow=True)
    assert "db-07: The guest is running." in text_of(response)
    assert not Job.objects.exists()


def test_what_somebody_else_asked_is_said(client_as: ClientAs, guest: Guest) -> None:
    submit_power(guest=guest, action="suspend", by=make_user("operator", "nora"))
    response = client_as("operator").post(url(guest, "off"), follow=True)
    assert "db-07 already has an open task: Suspend (queued), asked by nora." in text_of(response)
    assert Job.objects.count() == 1


def test_one_goes_back_to_where_the_button_was(client_as: ClientAs, guest: Guest) -> None:
    client = client_as("operator")
    there = reverse("guest_list") + "?q=db"
    assert client.post(url(guest, "suspend"), {"next": there}).headers["Location"] == there
    for elsewhere in ("https://example.net/", "//example.net", "javascript:alert(1)", ""):
        response = client.post(url(guest, "suspend"), {"next": elsewhere})
        assert response.headers["Location"] == reverse("guest_page", args=[guest.pk])


# -- the menu


@pytest.mark.parametrize("state", [state.value for state in GuestState])
def test_the_menu_offers_what_makes_sense(state: str, client_as: ClientAs, guest: Guest) -> None:
    Guest.objects.update(state=state)
    page = text_of(client_as("operator").get(reverse("guest_actions", args=[guest.pk])))
    offered = {action.value for action in PowerAction if url(guest, action.value) in page}
    assert (
        offered
        == {
            "running": SENSIBLE,
            "paused": {"off", "resume"},
            "suspended": {"off"},
            "off": {"start"},
            "crashed": {"off"},
            "unknown": set(),
        }[state]
    )
    assert f"The guest is {GuestState(state).label}." in page


@pytest.mark.parametrize("role", ROLES)
def test_buttons_are_there_for_who_may_and_grey_for_others(role: str, client_as: ClientAs, guest: Guest) -> None:
    page = text_of(client_as(role).get(reverse("guest_actions", args=[guest.pk])))
    assert (url(guest, "off") in page) is (role in POWERFUL)
    assert ("Your role does not allow this: change power." in page) is (role not in POWERFUL)
    assert (reverse("guest_migrate", args=[guest.pk]) in page) is (role in MOVERS)
    assert ("Your role does not allow this: migrate guests." in page) is (role not in MOVERS)


def test_an_open_task_greys_the_menu_and_says_which(client_as: ClientAs, guest: Guest) -> None:
    make_job(guest, exclusive=f"guest:{guest.pk}", parameters={"action": "suspend"})
    page = text_of(client_as("operator").get(reverse("guest_actions", args=[guest.pk])))
    assert url(guest, "off") not in page
    assert "already has an open task: Suspend" in page


def test_the_guest_page_has_the_menu(client_as: ClientAs, guest: Guest) -> None:
    page = text_of(client_as("operator").get(reverse("guest_page", args=[guest.pk])))
    assert url(guest, "shutdown") in page


def test_the_menu_costs_few_queries(
    client_as: ClientAs, guest: Guest, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = client_as("operator")
    client.get(reverse("guest_actions", args=[guest.pk]))
    with django_assert_max_num_queries(4):
        client.get(reverse("guest_actions", args=[guest.pk]))
