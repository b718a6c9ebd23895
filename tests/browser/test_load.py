"""The Monitor tab in a browser: pictures, figures under the keys, the table beside them."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.conftest import THEMES, PageAs, accessibility_findings, show_in
from tests.factories import Inventory
from tests.measured import measure_datastore, measure_guest


def test_charts_are_drawn_and_read_by_keyboard(page_as: PageAs, inventory: Inventory) -> None:
    guest = inventory.guests[0]
    measure_guest(guest, [10, 20, 30, 40])
    page = page_as()
    page.goto(f"/guests/{guest.pk}/monitor/")
    expect(page.locator("#load-charts")).to_have_attribute("data-drawn", "5")
    expect(page.locator(".load-plot canvas")).to_have_count(5)
    cpu = page.get_by_role("group", name="CPU")
    value = page.locator('[data-series="cpu_percent"] .load-value')
    expect(value).to_have_text("40 %")  # the latest
    cpu.focus()
    page.keyboard.press("ArrowLeft")
    expect(value).to_have_text("30 %")
    expect(page.locator("#load-said")).to_have_text(re.compile(r"CPU 30 %$"))
    page.keyboard.press("Home")
    expect(value).to_have_text("10 %")
    page.keyboard.press("Escape")
    expect(value).to_have_text("40 %")


def test_the_table_says_the_same(page_as: PageAs, inventory: Inventory) -> None:
    guest = inventory.guests[0]
    measure_guest(guest, [40, 40])
    page = page_as()
    page.goto(f"/guests/{guest.pk}/monitor/")
    page.get_by_text("The same as a table").click()
    table = page.get_by_role("region", name="Load as a table")
    expect(table.get_by_role("columnheader", name="Memory used")).to_be_visible()
    expect(table.get_by_role("cell", name="40 %", exact=True).first).to_be_visible()
    assert accessibility_findings(page) == []


def test_a_guest_without_figures_shows_no_empty_pictures(page_as: PageAs, inventory: Inventory) -> None:
    page = page_as()
    page.goto(f"/guests/{inventory.guests[1].pk}/monitor/")
    expect(page.get_by_text("Nothing was measured yet.")).to_be_visible()
    expect(page.locator("#load-charts")).to_have_attribute("data-drawn", "0")
    expect(page.locator("#load-charts")).to_be_hidden()


def test_another_range_is_another_picture(page_as: PageAs, inventory: Inventory) -> None:
    measure_datastore(inventory.shared.pk, [60, 50, 40], in_one_hour=True)
    page = page_as()
    page.goto(f"/datastores/{inventory.shared.pk}/monitor/")
    expect(page.locator("#load-charts")).to_have_attribute("data-drawn", "1")
    expect(page.locator('[data-series="free_bytes"] .load-value')).to_have_text("40 GiB")
    page.get_by_role("link", name="1 month").click()
    expect(page).to_have_url(re.compile("range=1m"))
    expect(page.get_by_role("link", name="1 month")).to_have_attribute("aria-current", "true")
    expect(page.locator('[data-series="free_bytes"] .load-spread')).to_have_text(re.compile("between"))


def test_new_figures_come_by_themselves(page_as: PageAs, inventory: Inventory) -> None:
    guest = inventory.guests[0]
    measure_guest(guest, [10, 20], ended_s=60)
    page = page_as()
    page.clock.install()
    page.goto(f"/guests/{guest.pk}/monitor/")
    value = page.locator('[data-series="cpu_percent"] .load-value')
    expect(value).to_have_text("20 %")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    measure_guest(guest, [70], ended_s=1)
    with page.expect_response("**/load/?range=1h"):
        page.evaluate(
            "id => document.dispatchEvent(new CustomEvent('guesthouse:changes', {detail: [['load', id, 'changed']]}))",
            str(guest.host.source_id),
        )
        page.clock.fast_forward(30_000)
    expect(value).to_have_text("70 %")


def test_small_lines_lead_to_the_monitor(page_as: PageAs, inventory: Inventory) -> None:
    guest, store = inventory.guests[0], inventory.shared
    measure_guest(guest, [10, 20, 30, 40])
    measure_datastore(store.pk, [60, 50, 40])
    page = page_as()
    for path in (f"/hosts/{guest.host_id}/", f"/datastores/{store.pk}/", f"/guests/{guest.pk}/"):
        page.goto(path)
        for theme in THEMES:
            show_in(page, theme)
            for width in (1920, 1280, 390):
                page.set_viewport_size({"width": width, "height": 800})
                line = page.locator(".spark path").first
                box = line.bounding_box()
                assert box is not None
                assert box["width"] > 1, "it is drawn"
            assert (path, theme, accessibility_findings(page)) == (path, theme, [])
    page.get_by_role("link", name="CPU, last hour: 10 % to 40 %, now 40 %").click()
    expect(page).to_have_url(re.compile(f"/guests/{guest.pk}/monitor/$"))
