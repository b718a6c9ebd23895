"""Pages move by themselves: what changed is drawn anew in place, and a lost stream says so and heals."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from django.conf import settings
from playwright.sync_api import Page, Route, expect

from access.models import User
from access.roles import Role
from core import events
from core.events import ANY, Change
from inventory.models import Guest, GuestState
from tests.browser.conftest import Complaints, PageAs, tell
from tests.factories import Inventory, make_guest, make_job
from tests.servers import private_valkey


def _open(page: Page, path: str) -> Page:
    page.goto(path)
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.evaluate("window.notReloaded = true")
    return page


def _switch_off(guest: Guest) -> None:
    Guest.objects.filter(pk=guest.pk).update(state=GuestState.OFF)
    tell(Change("guest", str(guest.pk)))


def test_a_row_changes_in_place(page_as: PageAs, inventory: Inventory) -> None:
    for number in range(60):
        make_guest(f"row-{number:02d}", inventory.hosts[0])
    guest = Guest.objects.get(name="row-30")
    page = _open(page_as(), "/guests/?q=row")
    row = page.locator(f"#row-{guest.pk}")
    row.locator("a.name").first.focus()
    scrolled = page.evaluate("document.querySelector('.list-scroll').scrollTop")
    assert scrolled > 0
    _switch_off(guest)
    expect(row).to_contain_text("off")
    expect(row.locator("a.name").first).to_be_focused()
    assert page.evaluate("document.querySelector('.list-scroll').scrollTop") == scrolled
    assert page.evaluate("window.notReloaded") is True


def test_rows_come_and_go(page_as: PageAs, inventory: Inventory) -> None:
    page = _open(page_as(), "/guests/?q=state:running")
    gone = Guest.objects.filter(state=GuestState.RUNNING).first()
    assert gone
    expect(page.locator(f"#row-{gone.pk}")).to_be_visible()
    _switch_off(gone)
    expect(page.locator(f"#row-{gone.pk}")).to_have_count(0)
    new = make_guest("00-new", inventory.hosts[0])
    tell(Change("guest", str(new.pk), "added"))
    expect(page.locator("#list-table tbody tr").first).to_contain_text("00-new")


def test_many_changes_are_one(page_as: PageAs, inventory: Inventory) -> None:
    page = _open(page_as(), "/guests/")
    Guest.objects.update(state=GuestState.CRASHED)
    tell(Change("guest", ANY))
    expect(page.locator("#list-table .state-bad")).to_have_count(len(inventory.guests))


def test_an_object_page_follows_its_object(page_as: PageAs, inventory: Inventory) -> None:
    guest = make_guest("moving", inventory.hosts[0])
    page = _open(page_as(), f"/guests/{guest.pk}/")
    expect(page.locator("#guest-state")).to_contain_text("running")
    Guest.objects.filter(pk=guest.pk).update(host=inventory.hosts[1])
    _switch_off(guest)
    expect(page.locator("#guest-state")).to_contain_text("off")
    expect(page.locator("#guest-summary")).to_contain_text(inventory.hosts[1].name)
    assert page.evaluate("window.notReloaded") is True


def test_an_open_menu_is_left_alone(page_as: PageAs, inventory: Inventory) -> None:
    guest = make_guest("menu", inventory.hosts[0])
    page = _open(page_as(), f"/guests/{guest.pk}/")
    page.get_by_role("button", name="Power").click()
    expect(page.locator(".power-menu")).to_be_visible()
    _switch_off(guest)
    expect(page.locator("#guest-state")).to_contain_text("off")
    expect(page.locator(".power-menu")).to_be_visible()


def test_the_tree_and_the_recent_tasks_follow(page_as: PageAs, inventory: Inventory) -> None:
    page = _open(page_as(), "/")
    expect(page.locator("#recent-tasks")).to_contain_text("No tasks yet")
    guest = make_guest("fresh", inventory.hosts[0])
    job = make_job(guest)
    tell(Change("guest", str(guest.pk), "added"), Change("task", str(job.pk), "added"))
    expect(page.locator("#recent-tasks")).to_contain_text("fresh")
    page.get_by_role("treeitem", name="kvm-01 connected").locator(".twist").click()
    expect(page.get_by_role("treeitem", name="fresh running")).to_be_visible()
    _switch_off(guest)
    expect(page.get_by_role("treeitem", name="fresh off")).to_be_visible()


def test_what_changed_while_the_page_was_made_is_not_missed(page_as: PageAs, inventory: Inventory) -> None:
    guest = make_guest("early", inventory.hosts[0])
    page = page_as()

    def change_first(route: Route) -> None:
        _switch_off(guest)
        route.continue_()

    page.route("**/js/live.js", change_first)
    page.goto(f"/guests/{guest.pk}/")
    expect(page.locator("#guest-state")).to_contain_text("off")


def test_two_pages_share_one_stream(page_as: PageAs, inventory: Inventory) -> None:
    guest = make_guest("shared", inventory.hosts[0])
    first = _open(page_as(), f"/guests/{guest.pk}/")
    second = _open(first.context.new_page(), "/guests/?q=shared")
    _switch_off(guest)
    expect(second.locator("#list-table")).to_contain_text("off")
    first.bring_to_front()
    expect(first.locator("#guest-state")).to_contain_text("off")


def test_without_a_shared_worker_the_page_listens_itself(page_as: PageAs, inventory: Inventory) -> None:
    guest = make_guest("old-browser", inventory.hosts[0])
    page = page_as()
    page.add_init_script("delete window.SharedWorker")
    _open(page, f"/guests/{guest.pk}/")
    _switch_off(guest)
    expect(page.locator("#guest-state")).to_contain_text("off")


def test_a_lost_broker_is_said_and_heals(
    page_as: PageAs, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = make_guest("patient", inventory.hosts[0])
    before = settings.REDIS_URL
    monkeypatch.setattr("console.stream.BROKER_RETRY_SECONDS", 0.2)
    try:
        with private_valkey() as url:
            _use_broker(url)
            page = _open(page_as(), f"/guests/{guest.pk}/")
        expect(page.locator("#live")).to_have_attribute("data-state", "lost")
        expect(page.locator("#live")).to_contain_text("not live")
        Guest.objects.filter(pk=guest.pk).update(state=GuestState.OFF)  # nobody could be told
        page.get_by_role("navigation", name="Sections").get_by_role("link", name="Hosts").click()
        expect(page.locator("#list-table")).to_contain_text("kvm-01")
        page.go_back()
        expect(page.locator("#guest-state")).to_contain_text("off")
        Guest.objects.filter(pk=guest.pk).update(state=GuestState.CRASHED)
    finally:
        _use_broker(before)
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    expect(page.locator("#guest-state")).to_contain_text("crashed")
    assert page.evaluate("window.notReloaded") is True


def _use_broker(url: str) -> None:
    settings.REDIS_URL = url
    events._client.cache_clear()
    events._Rest.until = 0.0


@pytest.mark.parametrize("leave", ["disabled", "signed out elsewhere"])
def test_the_stream_ends_with_the_session(
    page_as: PageAs, inventory: Inventory, complaints: Complaints, leave: str
) -> None:
    complaints.expected.append("403")
    page = _open(page_as(Role.OPERATOR), "/guests/")
    changed: dict[str, Any] = {"is_active": False} if leave == "disabled" else {"session_version": 5}
    User.objects.filter(role=Role.OPERATOR).update(**changed)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_a_hung_broker_does_not_hold_up_writes(inventory: Inventory) -> None:
    """A Valkey that is stopped accepts connections and says nothing."""
    before = settings.REDIS_URL
    with private_valkey() as url:
        _use_broker(url)
        events._send([Change("guest", "1")])
        pid = int(str(events._client().info("server")["process_id"]))
        os.kill(pid, signal.SIGSTOP)
        try:
            events._send([Change("guest", "2")])
            assert events._Rest.until > 0
        finally:
            os.kill(pid, signal.SIGCONT)
            _use_broker(before)
