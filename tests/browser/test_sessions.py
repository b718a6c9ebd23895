"""A password that must be changed, and a session that ended while its page was open."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from playwright.sync_api import Page, Route, expect

from access.roles import Role
from hosts.models import Source, SourceState
from tests.browser.conftest import Complaints, PageAs, accessibility_findings, sign_in
from tests.factories import PASSWORD, Inventory, make_user

NEW = "another long enough secret"


def _sign_in(page: Page, username: str, password: str = PASSWORD) -> None:
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()


def _change_password(page: Page) -> None:
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_label("New password", exact=True).fill(NEW)
    page.get_by_label("New password again").fill(NEW)
    page.get_by_role("button", name="Change password").click()


def _send_to_sign_in(route: Route) -> None:
    route.fulfill(status=302, headers={"Location": "/login/?next=/users/add/"})


def _send_late_to_sign_in(route: Route) -> None:
    assert route.request.headers["x-live"] == "true"
    _send_to_sign_in(route)


def _sign_out(page: Page, username: str) -> None:
    page.get_by_role("button", name=username).click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_first_sign_in_with_a_one_time_password(page_as: PageAs, inventory: Inventory, theme: str) -> None:
    make_user(Role.OPERATOR, "kim", must_change_password=True)
    page = page_as("", theme=theme)
    page.goto("/guests/")
    _sign_in(page, "kim")
    expect(page.get_by_text("Somebody else chose your password.")).to_be_visible()
    assert accessibility_findings(page) == []
    _change_password(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    expect(page.get_by_text("Your password is changed.")).to_be_visible()
    expect(page.get_by_role("treeitem", name="Berlin")).to_be_visible()
    expect(page.locator("#recent-tasks")).to_contain_text("No tasks yet.")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    _sign_out(page, "kim")


def test_an_ordinary_change_of_the_password(page_as: PageAs, inventory: Inventory) -> None:
    make_user(Role.OPERATOR, "kim")
    page = page_as("")
    page.goto("/account/password/")
    _sign_in(page, "kim")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    _change_password(page)
    expect(page.get_by_text("Your password is changed.")).to_be_visible()
    expect(page.get_by_role("treeitem", name="Berlin")).to_be_visible()
    _sign_out(page, "kim")


@pytest.mark.parametrize("asked", ["after the new session came", "before the new session came"])
def test_what_is_typed_in_another_tab_outlives_a_changed_password(page_as: PageAs, site: str, asked: str) -> None:
    page = page_as(Role.ADMIN)
    page.goto("/account/password/")
    other = page.context.new_page()
    other.goto("/users/add/")
    expect(other.locator("#live")).to_have_attribute("data-state", "live")
    other.get_by_label("User name").fill("kim")
    token = other.locator("main [name=csrfmiddlewaretoken]")
    before = token.input_value()
    if asked == "before the new session came":
        other.route("**/users/add/", _send_late_to_sign_in, times=1)
    _change_password(page)
    expect(page.get_by_text("Your password is changed.")).to_be_visible()
    expect(token).not_to_have_value(before)
    expect(other.get_by_label("User name")).to_have_value("kim")
    other.get_by_role("button", name="Add user").click()
    expect(other.locator("#one-time-password")).to_be_visible()
    expect(other.locator("#live")).to_have_attribute("data-state", "live")


def test_what_was_asked_for_while_the_session_changed_is_asked_for_again(page_as: PageAs, inventory: Inventory) -> None:
    page = page_as(Role.ADMIN)
    page.route("**/tree/hosts/**", _send_to_sign_in, times=1)
    page.goto("/account/tokens/")
    expect(page.get_by_role("treeitem", name="Berlin")).to_be_visible()


def test_a_page_does_not_stay_when_somebody_else_signs_in(page_as: PageAs, site: str, complaints: Complaints) -> None:
    complaints.expected += ["403"]
    page = page_as(Role.ADMIN)
    page.goto("/users/add/")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    old = Session.objects.get()
    page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": sign_in(Role.VIEWER), "url": site}])
    old.delete()
    expect(page.locator(".user-name")).to_have_text(f"the-{Role.VIEWER}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not allowed")


def test_a_button_pressed_after_the_session_ended(
    page_as: PageAs, inventory: Inventory, complaints: Complaints
) -> None:
    source = Source.objects.get(name=inventory.hosts[0].source.name)
    page = page_as(Role.ADMIN)
    page.goto(f"/sources/{source.pk}/")
    expect(page.get_by_role("treeitem", name="Berlin")).to_be_visible()
    page.route("**/events/**", lambda route: route.abort())
    Session.objects.all().delete()
    page.get_by_role("button", name="Pause").click()
    _sign_in(page, f"the-{Role.ADMIN}")
    expect(page).to_have_url(re.compile(f"/sources/{source.pk}/$"))
    expect(page.get_by_role("heading", level=1)).to_have_text(source.name)
    source.refresh_from_db()
    assert source.state == SourceState.OK, "what was pressed is not done later"
