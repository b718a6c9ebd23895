"""axe-core finds nothing on any page, in both themes, on a wide screen and on a phone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from access.roles import Role
from hosts.models import Source, SourceState
from tests.browser.conftest import Complaints, PageAs, accessibility_findings
from tests.factories import Inventory, make_job

PAGES: dict[str, Callable[[Inventory], str]] = {
    "overview": lambda i: "/",
    "hosts": lambda i: "/hosts/",
    "guests": lambda i: "/guests/?q=state:running",
    "no guests": lambda i: "/guests/?q=nobody",
    "a wrong filter": lambda i: "/guests/?q=flavor:x",
    "datastores": lambda i: "/datastores/",
    "switches": lambda i: "/switches/",
    "tasks": lambda i: "/tasks/",
    "host": lambda i: f"/hosts/{i.hosts[0].pk}/",
    "silent host": lambda i: f"/hosts/{i.hosts[1].pk}/",
    "host's guests": lambda i: f"/hosts/{i.hosts[0].pk}/guests/",
    "guest": lambda i: f"/guests/{i.guests[0].pk}/",
    "datastore": lambda i: f"/datastores/{i.shared.pk}/",
    "switch": lambda i: f"/switches/{i.switches[0].pk}/",
    "not found": lambda i: "/nowhere/",
}


def _open(page: Page, path: str) -> None:
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator("#recent-tasks table")).to_be_attached()
    expect(page.locator("#live")).to_have_attribute("data-state", "live")


@pytest.fixture
def seeded(inventory: Inventory, complaints: Complaints) -> Inventory:
    complaints.expected += ["404", "400"]  # the browser notes the status of such pages
    make_job(inventory.guests[0], progress={"percent": 40, "bytes_remaining": 2**30, "rate_bytes_per_s": 2**28})
    make_job(inventory.guests[1], state="failed", message="It did not stop.")
    Source.objects.filter(pk=inventory.hosts[1].source_id).update(state=SourceState.UNREACHABLE)
    return inventory


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_found(page_as: PageAs, seeded: Inventory, theme: str) -> None:
    page = page_as(theme=theme)
    found = {}
    for name, path in PAGES.items():
        _open(page, path(seeded))
        expect(page.get_by_role("treeitem").first).to_be_visible()
        found[name] = accessibility_findings(page)
    assert {name: findings for name, findings in found.items() if findings} == {}


def test_nothing_is_found_on_a_phone(page_as: PageAs, seeded: Inventory) -> None:
    page = page_as(width=390, height=760)
    for name in ("overview", "guests", "guest"):
        _open(page, PAGES[name](seeded))
        page.get_by_role("button", name="Inventory trees").click()
        expect(page.get_by_role("treeitem").first).to_be_visible()
        assert accessibility_findings(page) == []


def test_nothing_is_found_in_menus_and_help(page_as: PageAs, seeded: Inventory) -> None:
    page = page_as(Role.ADMIN)
    _open(page, "/guests/")
    page.get_by_role("button", name="State").click()
    assert accessibility_findings(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert accessibility_findings(page) == []
