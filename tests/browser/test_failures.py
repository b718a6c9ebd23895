"""What a person sees when an act is answered by no page of ours: an error, in place; what was typed stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import RequestFactory
from playwright.sync_api import Page, Route, expect

from access.models import User
from audit.middleware import current_request_id
from console.errors import server_error
from hosts.models import Source, SourceState
from tests.browser.conftest import Complaints, PageAs, accessibility_findings
from tests.factories import Inventory

REQUEST_ID = "3f0e4b3a50cf4f0d"
FAILED = "Something failed on the server"
PROXY = "<html><body><center><h1>502 Bad Gateway</h1></center><p>nginx</p></body></html>"


@pytest.fixture(autouse=True)
def noted_by_the_browser(complaints: Complaints) -> None:
    complaints.expected += ["status of 4", "status of 5", "Response Status Error Code"]


def _our_error() -> str:
    """The page of a failure, as the server makes it."""
    before = current_request_id.set(REQUEST_ID)
    try:
        return server_error(RequestFactory().get("/")).content.decode()
    finally:
        current_request_id.reset(before)


def _fail(status: int = 500, body: str = "") -> Callable[[Route], None]:
    """Answers POSTs with an error; a GET gets what the server says."""
    page = body or _our_error()

    def answer(route: Route) -> None:
        if route.request.method == "POST":
            route.fulfill(status=status, body=page, content_type="text/html; charset=utf-8")
        else:
            route.continue_()

    return answer


def _open(page: Page, path: str) -> Page:
    page.goto(path)
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.evaluate("window.notReloaded = true")
    return page


def _stays(page: Page, path: str) -> None:
    assert page.evaluate("window.notReloaded") is True
    assert page.url.endswith(path)


def test_a_form_out_of_date_says_so(page_as: PageAs, inventory: Inventory) -> None:
    source = Source.objects.get(name=inventory.hosts[0].source.name)
    page = _open(page_as(), f"/sources/{source.pk}/")
    token = page.locator("form[action$='/pause/'] [name=csrfmiddlewaretoken]")
    token.evaluate("field => { field.value = 'x'.repeat(64); }")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("alert")).to_contain_text("This form is out of date")
    _stays(page, f"/sources/{source.pk}/")
    expect(page.get_by_role("heading", level=1)).to_have_text(source.name)
    source.refresh_from_db()
    assert source.state == SourceState.OK


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_failure_is_said_and_what_was_typed_stays(page_as: PageAs, site: str, theme: str) -> None:
    page = _open(page_as(theme=theme), "/users/add/")
    page.route("**/users/add/", _fail())
    page.get_by_label("User name").fill("kim")
    for _attempt in range(2):
        page.get_by_role("button", name="Add").click()
        expect(page.get_by_role("alert")).to_have_count(1)
        expect(page.get_by_role("alert")).to_contain_text(FAILED)
        expect(page.get_by_role("alert")).to_contain_text(REQUEST_ID)
    assert accessibility_findings(page) == []
    _stays(page, "/users/add/")
    expect(page.get_by_label("User name")).to_have_value("kim")
    page.unroute("**/users/add/")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#one-time-password")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert User.objects.filter(username="kim").exists()


def test_a_failure_is_said_in_the_dialog_that_asked(page_as: PageAs, inventory: Inventory) -> None:
    guest = next(guest for guest in inventory.guests if guest.state == "running")
    page = _open(page_as(), f"/guests/{guest.pk}/")
    page.route("**/power/off/", _fail())
    page.get_by_role("button", name="Power").click()
    page.get_by_role("link", name="Power off…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Power off").click()
    expect(dialog.get_by_role("alert")).to_contain_text(FAILED)
    expect(dialog.get_by_role("button", name="Power off")).to_be_enabled()
    assert accessibility_findings(page) == []
    _stays(page, f"/guests/{guest.pk}/")


def test_a_proxys_error_is_named_by_its_number(page_as: PageAs, site: str) -> None:
    page = _open(page_as(), "/users/add/")
    page.route("**/users/add/", _fail(502, PROXY))
    page.get_by_label("User name").fill("kim")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("alert")).to_contain_text("error 502")
    expect(page.get_by_role("alert")).not_to_contain_text("nginx")
    expect(page.get_by_label("User name")).to_have_value("kim")


def test_a_lost_connection_is_said_in_the_dialog_that_asked(
    page_as: PageAs, inventory: Inventory, complaints: Complaints
) -> None:
    complaints.expected += ["ERR_FAILED", "htmx:"]
    guest = next(guest for guest in inventory.guests if guest.state == "running")
    page = _open(page_as(), f"/guests/{guest.pk}/")
    page.get_by_role("button", name="Power").click()
    page.get_by_role("link", name="Power off…").click()
    dialog = page.get_by_role("dialog")
    page.route("**/power/off/", lambda route: route.abort())
    dialog.get_by_role("button", name="Power off").click()
    expect(dialog.get_by_role("alert")).to_contain_text("The server does not answer.")


def test_a_page_that_fails_is_shown_whole(page_as: PageAs, site: str) -> None:
    page = _open(page_as(), "/")
    page.route("**/tasks/", lambda route: route.fulfill(status=500, body=_our_error(), content_type="text/html"))
    page.get_by_role("navigation", name="Sections").get_by_role("link", name="Tasks").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(FAILED)
    assert page.url.endswith("/tasks/")
