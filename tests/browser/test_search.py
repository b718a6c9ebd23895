"""The search field by keyboard and mouse, on every page."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from inventory.reindex import index_missing
from tests.browser.conftest import PageAs, accessibility_findings
from tests.factories import Inventory, make_guest


@pytest.fixture
def searchable(inventory: Inventory) -> Inventory:
    for number in range(9):
        make_guest(f"needle-{number}", inventory.hosts[0], state="running")
    make_guest("haystack", inventory.hosts[1], notes="Holds needle-3")
    index_missing()
    return inventory


def _field(page: Page) -> Locator:
    return page.locator("#search-q")


def _type(page: Page, text: str) -> Locator:
    """Type into the field by its key; gives the results."""
    page.keyboard.press("/")
    expect(_field(page)).to_be_focused()
    page.keyboard.type(text)
    found = page.locator("#search-found")
    expect(found).to_be_visible()
    return found


def test_results_show_while_one_types_and_keys_choose(page_as: PageAs, searchable: Inventory) -> None:
    page = page_as()
    page.goto("/hosts/")
    found = _type(page, "needle")
    expect(found.get_by_role("link", name=re.compile("needle-"))).to_have_count(5)
    expect(page.locator("#search-said")).to_contain_text("results")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(found.get_by_role("link", name=re.compile("needle-1"))).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="needle-1")).to_be_visible()
    expect(found).to_be_hidden()
    page.go_back()
    expect(page.get_by_role("heading", name="Hosts", level=1)).to_be_visible()


def test_escape_closes_and_then_leaves(page_as: PageAs, searchable: Inventory) -> None:
    page = page_as()
    page.goto("/")
    found = _type(page, "needle")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    expect(found).to_be_hidden()
    expect(_field(page)).to_be_focused()
    page.keyboard.press("Escape")
    expect(_field(page)).not_to_be_focused()


def test_enter_leads_to_all_results_and_back(page_as: PageAs, searchable: Inventory) -> None:
    page = page_as()
    page.goto("/guests/")
    _type(page, "needle")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/search/\?q=needle$"))
    expect(page.locator("#list-table tbody tr")).to_have_count(10)
    page.locator("#page-tabs").get_by_role("link", name="Hosts").click()
    expect(page.get_by_text("Nothing is found.").first).to_be_visible()
    page.go_back()
    expect(page.locator("#list-table tbody tr")).to_have_count(10)


def test_a_click_elsewhere_closes_and_the_key_types_in_other_fields(page_as: PageAs, searchable: Inventory) -> None:
    page = page_as()
    page.goto("/guests/")
    found = _type(page, "needle")
    page.get_by_label("Filter").click()
    expect(found).to_be_hidden()
    page.keyboard.type("a/b")
    expect(page.get_by_label("Filter")).to_have_value("a/b")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_found_by_axe_while_results_show(page_as: PageAs, searchable: Inventory, theme: str) -> None:
    page = page_as(theme=theme)
    page.goto("/guests/")
    for text in ("needle", "no such thing"):
        _field(page).fill("")
        _type(page, text)
        assert (text, accessibility_findings(page)) == (text, [])
