"""Tags with the scripts: suggestions while one types, chips that appear by themselves, and many at once."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from access.roles import Role
from hosts.models import Host
from inventory.models import Guest
from labels.models import GuestTag, Tag
from labels.services import change_tags
from networks.models import VirtualSwitch
from storage.models import Datastore
from tests.browser.conftest import PageAs, findings_in_each_theme
from tests.factories import Inventory, make_tag, make_user


def _dialog(page: Page, name: str) -> None:
    page.get_by_role("link", name=name).click()
    expect(page.get_by_role("dialog").get_by_label("Find a tag")).to_be_focused()


def test_tags_of_a_guest(page_as: PageAs, inventory: Inventory) -> None:
    """By keyboard alone: find one, name another, save; what was typed to find one is no tag."""
    guest = inventory.guests[0]
    make_tag("old", guest)
    make_tag("production")
    page = page_as(Role.MIGRATION_ADMIN)
    page.goto(f"/guests/{guest.pk}/")
    _dialog(page, "Edit tags…")
    dialog = page.get_by_role("dialog")
    page.keyboard.type("web")
    expect(dialog.get_by_label("production")).to_have_count(0)
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("checkbox", name="web")).to_be_checked()
    expect(dialog.get_by_label("Find a tag")).to_be_focused()
    expect(dialog.get_by_label("Find a tag")).to_have_value("")
    dialog.get_by_label("old").uncheck()
    page.get_by_role("dialog").get_by_label("Find a tag").fill("prod")
    dialog.get_by_label("production").check()
    expect(dialog.get_by_role("checkbox", name="web")).to_be_checked()
    expect(dialog.get_by_label("old")).not_to_be_checked()
    assert findings_in_each_theme(page) == {}
    dialog.get_by_role("button", name="Save").click()
    chips = page.locator(".tag-fact .tag")
    expect(chips).to_have_text(["production", "web"])
    assert set(Tag.objects.values_list("name", flat=True)) == {"old", "production", "web"}
    chips.first.click()
    expect(page).to_have_url(re.compile("/tags/[^/]+/$"))
    expect(page.locator("#list-table tbody tr")).to_have_count(1)


def test_another_persons_tags_appear_by_themselves(page_as: PageAs, inventory: Inventory) -> None:
    other, guest = make_user(Role.ADMIN, "other"), inventory.guests[0]
    page = page_as()
    page.goto(f"/guests/{guest.pk}/")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    change_tags(kind="guest", ids=[guest.pk], add=["urgent"], by=other)
    expect(page.locator(".tag-fact .tag")).to_have_text(["urgent"])
    page.goto("/guests/?q=tag:urgent")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    change_tags(kind="guest", ids=[one.pk for one in inventory.guests[1:3]], add=["urgent"], by=other)
    expect(page.locator("#list-table tbody tr")).to_have_count(3)


def test_what_a_filter_finds_is_tagged_at_once(page_as: PageAs, inventory: Inventory) -> None:
    page = page_as(Role.MIGRATION_ADMIN)
    page.goto("/guests/?q=host:kvm-01")
    rows = page.locator("#list-table tbody tr")
    number = rows.count()
    _dialog(page, "Tag these…")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name=f"Tag {number} guests")).to_be_visible()
    dialog.get_by_label("Find a tag").fill("rack 4, north")
    dialog.locator("summary").click()
    dialog.locator("input[name=ids]").first.uncheck()
    assert findings_in_each_theme(page) == {}
    dialog.get_by_role("button", name="Put on").click()
    expect(page.get_by_text(f"Tags were put on {number - 1} guests.")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/guests/\?q=host%3Akvm-01$"))
    expect(rows.locator(".tag", has_text="rack 4")).to_have_count(number - 1)
    assert GuestTag.objects.count() == 2 * (number - 1)


def test_a_tag_in_another_color(page_as: PageAs, inventory: Inventory) -> None:
    make_tag("prod", inventory.guests[0])
    page = page_as()
    page.goto("/tags/")
    page.get_by_role("link", name="Edit prod").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Name")).to_be_focused()
    dialog.get_by_label("teal").check()
    assert findings_in_each_theme(page) == {}
    dialog.get_by_role("button", name="Save").click()
    expect(page.locator("h1 .tag-dot.tag-teal")).to_be_visible()


def test_long_names_on_a_phone(page_as: PageAs, inventory: Inventory) -> None:
    """Nothing makes the page wider than the phone."""
    guest, names = inventory.guests[0], ["x" * 64, "word " * 12 + "end", "\N{HEBREW LETTER ALEF}" * 60]
    for name in names:
        make_tag(name, guest)
    page = page_as(width=390, height=800)
    for path in (f"/guests/{guest.pk}/", f"/guests/{guest.pk}/tags/", "/tags/", "/guests/?act=tag"):
        page.goto(path)
        expect(page.locator(".tag").first).to_be_visible()
        assert page.evaluate("() => document.getElementById('main').scrollWidth") <= 390
        for chip in page.locator(".tag").all():
            assert (chip.bounding_box() or {"width": 0})["width"] < 390


LIST_EXCESS = (
    "() => { const list = document.querySelector('.grid').parentElement; return list.scrollWidth - list.clientWidth; }"
)
CHIP_WIDTHS = "chips => chips.map(chip => chip.getBoundingClientRect().width)"


def test_lists_with_long_tags_fit(page_as: PageAs, inventory: Inventory) -> None:
    """Nothing is pushed out of sight beside them, and one long name takes no more room than another."""
    lists: dict[str, Guest | Host | Datastore | VirtualSwitch] = {
        "guests": inventory.guests[0],
        "hosts": inventory.hosts[0],
        "datastores": inventory.shared,
        "switches": inventory.switches[0],
    }
    for row in lists.values():
        for name in ("customer with a long name", "production", "backup every day", "cabinet 4"):
            make_tag(name, row)
    page = page_as()
    for name in lists:
        for width in (1280, 1920):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(f"/{name}/")
            expect(page.locator("#list-table .tag").first).to_be_visible()
            assert (name, width, page.evaluate(LIST_EXCESS)) == (name, width, 0)
            shown = page.locator("#list-table .tag:visible")
            assert (name, width, shown.count()) == (name, width, 2 if width == 1280 else 3)
            assert max(shown.evaluate_all(CHIP_WIDTHS)) <= 136
