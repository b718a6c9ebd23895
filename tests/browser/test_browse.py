"""Browsing: sign in, trees by keyboard, lists, keys, themes, a phone."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from access.roles import Role
from tests.browser.conftest import Complaints, PageAs
from tests.factories import PASSWORD, Inventory, make_guest, make_user


def test_sign_in_leads_to_where_one_wanted_to_go(page_as: PageAs, inventory: Inventory) -> None:
    make_user(Role.OPERATOR, "kim")
    page = page_as("")
    page.goto("/guests/?q=db")
    page.get_by_label("User name").fill("kim")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Guests")).to_be_visible()
    expect(page.get_by_label("Filter")).to_have_value("db")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")


def test_the_tree_by_keyboard(page_as: PageAs, inventory: Inventory) -> None:
    guest = make_guest("a-guest", inventory.hosts[0])
    page = page_as()
    page.goto("/")
    root = page.get_by_role("treeitem", name="Berlin")
    expect(root).to_have_attribute("aria-expanded", "true")
    root.focus()
    page.keyboard.press("ArrowDown")
    host = page.get_by_role("treeitem", name="kvm-01 connected")
    expect(host).to_be_focused()
    expect(host).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("treeitem", name="a-guest running")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("treeitem", name="a-guest running")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/guests/{guest.pk}/$"))
    expect(page.get_by_role("heading", name="a-guest")).to_be_visible()
    item = page.get_by_role("treeitem", name="a-guest running")
    expect(item).to_have_attribute("aria-selected", "true")
    item.focus()
    page.keyboard.press("ArrowLeft")
    expect(host).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(item).to_be_hidden()
    page.keyboard.press("End")
    page.keyboard.press("k")
    expect(page.get_by_role("treeitem", name=re.compile("kvm-0"))).to_have_count(4)


def test_open_branches_stay_open(page_as: PageAs, inventory: Inventory) -> None:
    make_guest("a-guest", inventory.hosts[0])
    page = page_as()
    page.goto("/")
    page.get_by_role("treeitem", name="kvm-01 connected").locator(".twist").click()
    expect(page.get_by_role("treeitem", name="a-guest running")).to_be_visible()
    page.reload()
    expect(page.get_by_role("treeitem", name="a-guest running")).to_be_visible()


def test_each_tree(page_as: PageAs, inventory: Inventory) -> None:
    page = page_as()
    page.goto("/")
    tree = page.get_by_role("tabpanel")
    for name, shows in (("Guests", inventory.guests[0].name), ("Storage", "shared-nvme"), ("Net", "kvm-02")):
        page.get_by_role("tab", name=name).click()
        expect(tree.get_by_role("link", name=shows)).to_be_visible()
    page.get_by_role("tab", name="Net").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Hosts")).to_have_attribute("aria-selected", "true")


def _first_row(page: Page) -> str:
    return page.locator("#list-table tbody tr a.name").first.inner_text()


def test_sort_filter_and_share_a_list(page_as: PageAs, inventory: Inventory, complaints: Complaints) -> None:
    complaints.expected.append("400")  # the browser notes the status of a wrong filter
    make_guest("largest", inventory.hosts[0], memory_bytes=2**44)
    page = page_as()
    page.goto("/guests/")
    page.get_by_role("columnheader", name="Memory").get_by_role("link").click()
    expect(page.get_by_role("columnheader", name="Memory")).to_have_attribute("aria-sort", "descending")
    expect(page.locator("#list-table tbody tr").first).to_contain_text("largest")
    page.get_by_label("Filter").fill("state:off")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"q=state%3Aoff"))
    expect(page.locator("#list-table tbody tr").filter(has_text="running")).to_have_count(0)
    shared = page.url
    row = _first_row(page)
    page.go_back()
    expect(page.locator("#list-table tbody tr").first).to_contain_text("largest")
    page.goto(shared)
    assert _first_row(page) == row
    page.get_by_label("Filter").fill("flavor:big")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("There is no field")
    page.get_by_role("link", name="Show all").click()
    expect(page.locator("#list-foot")).to_contain_text("of 41")
    page.get_by_role("button", name="State").click()
    page.get_by_role("link", name="running").first.click()
    expect(page.get_by_label("Filter")).to_have_value("state:running")


def test_an_export_is_a_download(page_as: PageAs, inventory: Inventory) -> None:
    page = page_as(Role.OPERATOR)
    page.goto("/guests/?q=state:running")
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as started:
        page.get_by_role("link", name="CSV").click()
    text = started.value.path().read_text("utf-8-sig")
    assert text.startswith("Name,State,Host")
    assert ",off," not in text


def test_moves_keep_the_frame(page_as: PageAs, inventory: Inventory) -> None:
    page = page_as()
    page.goto("/guests/")
    page.evaluate("window.sameFrame = true")
    page.locator("#list-table tbody tr a.name").first.click()
    expect(page.get_by_role("heading", name="Load")).to_be_visible()
    page.get_by_role("navigation", name="Breadcrumbs").get_by_role("link").last.click()
    expect(page.get_by_role("heading", name="Capacity")).to_be_visible()
    page.get_by_role("navigation", name="Parts of this page").get_by_role("link", name="Guests").click()
    expect(page.locator("#list-table")).to_be_visible()
    expect(page).to_have_title(re.compile(r"kvm-0\d · Guesthouse"))
    page.go_back()
    expect(page.get_by_role("heading", name="Capacity")).to_be_visible()
    assert page.evaluate("window.sameFrame") is True


def test_moves_belong_to_migrations(page_as: PageAs, inventory: Inventory) -> None:
    page = page_as()
    page.goto("/migrations/")
    section = page.get_by_role("navigation", name="Sections").get_by_role("link", name="Migrations")
    expect(section).to_have_attribute("aria-current", "page")
    page.get_by_role("link", name="All moves").click()
    expect(page.get_by_role("heading", name="Moves", level=1)).to_be_visible()
    expect(section).to_have_attribute("aria-current", "page")
    expect(page.locator(".sections [aria-current]")).to_have_count(1)
    page.locator(".page-actions").get_by_role("link", name="Migrations").click()
    expect(page.get_by_role("heading", name="Migrations", level=1)).to_be_visible()


def test_an_address_that_is_gone_is_said_inside_the_frame(
    page_as: PageAs, inventory: Inventory, complaints: Complaints
) -> None:
    complaints.expected.append("404")
    page = page_as()
    page.goto("/guests/")
    inventory.guests[0].delete()
    row = page.get_by_role("link", name=inventory.guests[0].name, exact=True).first
    row.click()
    expect(page.get_by_text("There is nothing at this address.")).to_be_visible()


def test_keys(page_as: PageAs, inventory: Inventory) -> None:
    page = page_as()
    page.goto("/")
    for keys, heading in (("gg", "Guests"), ("gs", "Datastores"), ("gn", "Virtual switches"), ("gh", "Hosts")):
        for key in keys:
            page.keyboard.press(key)
        expect(page.get_by_role("heading", name=heading, level=1)).to_be_visible()
    for key in "jjk":
        page.keyboard.press(key)
    expect(page.locator("tr.is-current")).to_contain_text("kvm-01")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="kvm-01")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_keys_do_not_act_while_one_writes(page_as: PageAs, inventory: Inventory) -> None:
    page = page_as()
    page.goto("/guests/")
    page.keyboard.press("f")
    expect(page.get_by_label("Filter")).to_be_focused()
    page.keyboard.type("gh?j")
    expect(page.get_by_label("Filter")).to_have_value("gh?j")
    expect(page.get_by_role("heading", name="Guests", level=1)).to_be_visible()


def test_the_theme_stays_and_never_flashes(page_as: PageAs, inventory: Inventory) -> None:
    page = page_as(theme="light")
    page.goto("/guests/")
    html = page.locator("html")
    expect(html).to_have_attribute("data-bs-theme", "light")
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(html).to_have_attribute("data-bs-theme", "dark")
    # The theme is there before there is a body to paint.
    page.add_init_script(
        "new MutationObserver((_all, watch) => { if (document.body) { watch.disconnect();"
        "window.themeAtFirstPaint = document.documentElement.dataset.bsTheme; } })"
        ".observe(document, { childList: true, subtree: true });"
    )
    page.reload()
    assert page.evaluate("window.themeAtFirstPaint") == "dark"
    other = page.context.new_page()
    other.goto("/hosts/")
    expect(other.locator("html")).to_have_attribute("data-bs-theme", "dark")


def test_the_system_decides_the_first_theme(page_as: PageAs, inventory: Inventory) -> None:
    page = page_as(theme="dark")
    page.goto("/guests/")
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")


def test_the_width_of_the_trees_stays(page_as: PageAs, inventory: Inventory) -> None:
    page = page_as()
    page.goto("/")
    bar = page.get_by_role("separator")
    bar.focus()
    before = page.locator("#trees").bounding_box()
    page.keyboard.press("ArrowRight")
    after = page.locator("#trees").bounding_box()
    assert before
    assert after
    assert after["width"] > before["width"]
    page.reload()
    expect(page.get_by_role("treeitem").first).to_be_visible()
    assert page.locator("#trees").bounding_box() == after


def test_a_phone_shows_lists_and_the_trees_on_demand(page_as: PageAs, inventory: Inventory) -> None:
    page = page_as(width=390, height=760)
    for path in ("/", "/guests/", f"/guests/{inventory.guests[0].pk}/", f"/hosts/{inventory.hosts[0].pk}/"):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    expect(page.get_by_role("treeitem").first).to_be_hidden()
    page.get_by_role("button", name="Inventory trees").click()
    page.get_by_role("treeitem", name="kvm-02 connected").get_by_role("link").click()
    expect(page.get_by_role("heading", name="kvm-02")).to_be_visible()
    expect(page.get_by_role("treeitem").first).to_be_hidden()
