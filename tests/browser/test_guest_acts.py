"""A person takes a snapshot, changes a guest and its devices, and takes it back; the page follows without a reload."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection
from django.urls import reverse
from playwright.sync_api import Locator, Page, expect

from access.roles import Role
from operations.models import ENDED, Job
from tests.browser.conftest import Complaints, PageAs, accessibility_findings
from tests.lives import live, strike_with
from tests.site import Site, make_site
from tests.stack import wait_until


@pytest.fixture
def hosts(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A simulated host that is read as any other, on the database of the console."""
    assert site
    strike_with(monkeypatch)
    monkeypatch.setattr("hosts.acts.POLL_SECONDS", 0.1)
    monkeypatch.setattr("operations.handle.PROGRESS_SECONDS", 0.0)
    return make_site(tmp_path / "world.json", guests=1)


@contextmanager
def working(hosts: Site) -> Iterator[None]:
    """A worker takes what was asked for, while the person watches; then the host is read."""

    wait_until(lambda: Job.objects.exclude(state__in=ENDED).exists(), "somebody asked for something")

    def work() -> None:
        try:
            for job in Job.objects.exclude(state__in=ENDED):
                live(job)
            hosts.read()
        finally:
            connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        worker.join()


def opened(page_as: PageAs, hosts: Site, tab: str, role: str = Role.ADMIN, width: int = 1280) -> Page:
    page = page_as(role, width=width)
    page.goto(reverse("guest_tab", args=[hosts.guest().pk, tab]))
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.evaluate("() => { window.theSameDocument = true; }")
    return page


def dialog_of(page: Page) -> Locator:
    box = page.locator("dialog[open]")
    expect(box).to_be_visible()
    assert accessibility_findings(page) == []
    return box


def is_same(page: Page) -> bool:
    return bool(page.evaluate("() => window.theSameDocument === true"))


def test_take_a_snapshot_watch_it_and_go_back(page_as: PageAs, hosts: Site) -> None:
    with hosts.world.open() as world:
        world.task_seconds = 2.0
    page = opened(page_as, hosts, "snapshots")
    page.get_by_role("link", name="Take snapshot…").click()
    box = dialog_of(page)
    expect(box.get_by_label("Name")).to_be_focused()
    box.get_by_label("Name").fill("before the update")
    box.get_by_role("button", name="Take snapshot").click()
    expect(page.get_by_text("was asked for.")).to_be_visible()
    expect(page.get_by_role("link", name="Take snapshot…")).to_have_count(0)
    with working(hosts):
        expect(page.locator("#guest-now [role=progressbar]")).to_be_visible()
    row = page.locator("#guest-snapshots tbody tr", has_text="before the update")
    expect(row).to_contain_text("disks and memory")
    expect(page.locator("#guest-now")).to_contain_text("The snapshot is taken.")
    row.get_by_role("link", name="Revert…").click()
    box = dialog_of(page)
    expect(box).to_contain_text("is lost")
    box.get_by_role("link", name="Do nothing").click()
    expect(box).to_be_hidden()
    assert Job.objects.count() == 1
    row.get_by_role("link", name="Revert…").click()
    dialog_of(page).get_by_role("button", name="Revert").click()
    with working(hosts):
        expect(page.locator("#guest-now")).to_contain_text("Revert to snapshot before the update")
    expect(page.locator("#guest-now")).to_contain_text("as it was when the snapshot was taken")
    assert is_same(page)


def test_change_memory_see_that_it_waits_and_undo(page_as: PageAs, hosts: Site, complaints: Complaints) -> None:
    complaints.expected += ["400"]
    page = opened(page_as, hosts, "hardware")
    page.get_by_role("link", name="Edit…").click()
    box = dialog_of(page)
    box.get_by_label("Memory", exact=True).fill("lots")
    box.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Write a size with its unit")).to_be_visible()
    assert accessibility_findings(page) == []
    page.get_by_label("Memory", exact=True).fill("4 GiB")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("was asked for.")).to_be_visible()
    with working(hosts):
        expect(page.locator("#guest-now")).to_contain_text("After the next start:")
    expect(page.locator("#guest-now")).to_contain_text("Memory 4 GiB")
    page.locator("#guest-now").get_by_role("button", name="Undo").click()
    expect(page.get_by_text("was asked for.")).to_be_visible()
    with working(hosts):
        expect(page.locator("#guest-now")).not_to_contain_text("After the next start:")
    assert hosts.really(hosts.guest()).memory_bytes == 1 << 30


def test_a_cd_and_a_cable(page_as: PageAs, hosts: Site) -> None:
    page = opened(page_as, hosts, "hardware")
    page.get_by_role("link", name="Insert…").click()
    box = dialog_of(page)
    box.get_by_label("ISO image").select_option(
        label=next(text for text in box.locator("option").all_inner_texts() if "virtio-win.iso" in text)
    )
    box.get_by_role("button", name="Insert").click()
    expect(page.get_by_text("was asked for.")).to_be_visible()
    with working(hosts):
        expect(page.get_by_role("button", name="Eject")).to_be_visible()
    page.get_by_role("button", name="Eject").click()
    with working(hosts):
        expect(page.get_by_role("button", name="Eject")).to_have_count(0)
    page.get_by_role("button", name="Link down").click()
    with working(hosts):
        expect(page.get_by_role("button", name="Link up")).to_be_visible()
    assert not hosts.really(hosts.guest()).nics[0].link_up
    assert is_same(page)


def test_on_a_phone_the_acts_of_a_row_are_in_sight(page_as: PageAs, hosts: Site) -> None:
    page = opened(page_as, hosts, "hardware", width=390)
    grow = page.get_by_role("link", name="Grow…")
    grow.scroll_into_view_if_needed()
    box = grow.bounding_box()
    assert box is not None
    assert 0 <= box["x"] <= 390 - box["width"]
    assert accessibility_findings(page) == []
    grow.click()
    expect(dialog_of(page)).to_contain_text("It cannot be made smaller again")


def test_who_may_only_look_sees_why(page_as: PageAs, hosts: Site) -> None:
    page = opened(page_as, hosts, "hardware", Role.VIEWER)
    button = page.get_by_role("button", name=re.compile("Add disk….*Your role does not allow this: change guests."))
    expect(button).to_be_visible()
    expect(button).to_have_attribute("aria-disabled", "true")
