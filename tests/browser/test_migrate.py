"""A person moves, stops and starts real guests with buttons, and watches to the end without a reload."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import BrowserContext, expect

from inventory.models import Guest
from lab.api import Lab, LabGuest
from migrations.models import GuestMigration
from tests.browser.desk import Desk
from tests.e2e.conftest import lab, lab_folder, make_lab, session_lab  # noqa: F401 - fixtures
from tests.stack import Product, running_product, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab")]

MOVE_MS = 120_000
SOON_MS = 30_000
POLL_MS = 90_000  # what somebody else did is seen with the next reading of states

# Collects what the progress bar said, each time it changed.
WATCH_PERCENT = """() => {
    window.percents = [];
    const look = () => {
        const bar = document.querySelector("#migration-body [role=progressbar]");
        const value = bar && Number(bar.getAttribute("aria-valuenow"));
        if (bar && window.percents.at(-1) !== value) window.percents.push(value);
    };
    look();
    new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true});
}"""


@pytest.fixture(scope="module")
def module_product(session_lab: Lab, django_db_blocker: Any) -> Iterator[Product]:  # noqa: F811
    with django_db_blocker.unblock(), running_product(session_lab, web=True) as running:
        yield running


@pytest.fixture
def product(module_product: Product, lab: Lab, django_db_blocker: Any) -> Iterator[Product]:  # noqa: F811
    """The product with its pages on the lab's hosts; this process uses the same database."""
    with django_db_blocker.unblock(), module_product.stack.attached():
        module_product.stack.mend()
        yield module_product


@pytest.fixture
def desk(product: Product, context: BrowserContext) -> Iterator[Desk]:
    """A window; at the end nothing may have been complained of."""
    desk = Desk(context.new_page(), product.stack.url)
    desk.listen()
    yield desk
    assert desk.problems == []


@pytest.fixture
def guest(product: Product) -> LabGuest:
    return next(guest for guest in product.lab.guests if guest.address)


@pytest.fixture
def slow_guest(guest: LabGuest) -> Iterator[LabGuest]:
    """One whose move takes long enough to be watched."""
    set_speed(guest, 8)
    yield guest
    set_speed(guest, 8_192)


def set_speed(guest: LabGuest, mib_per_second: int) -> None:
    guest.host.virsh("migrate-setspeed", guest.uuid, str(mib_per_second))


def open_guest(desk: Desk, product: Product, guest: LabGuest) -> Guest:
    row = product.settle(guest)
    desk.open(reverse("guest_list") + f"?q={guest.name}")
    desk.mark()
    desk.page.locator("#list-table").get_by_role("link", name=guest.name).click()
    expect(desk.page.get_by_role("heading", level=1)).to_have_text(guest.name)
    return row


def other_host(product: Product, guest: LabGuest) -> str:
    here = guest.host.name
    return next(product.host(host.name).name for host in product.lab.hosts if host.name != here)


def start_move(desk: Desk, to: str) -> None:
    desk.page.get_by_role("link", name="Migrate…").click()
    dialog = desk.page.get_by_role("dialog")
    dialog.get_by_role("radio", name=to).check()
    dialog.get_by_role("button", name="Migrate").click()
    expect(desk.page.get_by_role("heading", level=1)).to_contain_text("Migration of")


def test_a_move_is_watched_to_its_end(product: Product, desk: Desk, slow_guest: LabGuest) -> None:
    boot, beat = slow_guest.boot_id, slow_guest.wait_heartbeat()
    desk.sign_in("migration_admin")
    open_guest(desk, product, slow_guest)
    to = other_host(product, slow_guest)
    start_move(desk, to)
    desk.page.evaluate(WATCH_PERCENT)
    expect(desk.page.locator("#stage-copying")).to_have_attribute("aria-current", "step", timeout=MOVE_MS)
    expect(desk.page.locator("#migration-chart canvas")).to_be_visible(timeout=SOON_MS)
    assert desk.findings() == []
    expect(desk.page.locator("#migration-state")).to_have_text("succeeded", timeout=MOVE_MS)
    expect(desk.page.locator("#migration-body")).to_contain_text(f"The guest runs on {to}.")
    assert desk.is_same, "nothing was loaded anew"
    percents = desk.page.evaluate("() => window.percents")
    assert len(percents) > 3, "it moved while it ran"
    assert percents == sorted(percents), "it never ran backwards"
    assert percents[-1] == 100
    assert slow_guest.wait_heartbeat(after=beat).boot_id == boot, "the guest counts on"
    expect(desk.page.locator("#recent-tasks")).to_contain_text(f"Migrate to {to}")
    desk.page.locator("#migration-body").get_by_role("link", name=slow_guest.name).click()
    expect(desk.page.locator("#main")).to_contain_text(to)


def test_a_double_click_moves_it_once(product: Product, desk: Desk, slow_guest: LabGuest) -> None:
    desk.sign_in("admin")
    open_guest(desk, product, slow_guest)
    before = GuestMigration.objects.count()
    desk.page.get_by_role("link", name="Migrate…").click()
    desk.page.get_by_role("dialog").get_by_role("button", name="Migrate").dblclick()
    expect(desk.page.locator("#migration-state")).to_have_text("succeeded", timeout=MOVE_MS)
    assert GuestMigration.objects.count() == before + 1


def test_a_move_is_cancelled_from_its_page(product: Product, desk: Desk, slow_guest: LabGuest) -> None:
    home = slow_guest.host.name
    set_speed(slow_guest, 1)
    desk.sign_in("migration_admin")
    open_guest(desk, product, slow_guest)
    start_move(desk, other_host(product, slow_guest))
    expect(desk.page.locator("#stage-copying")).to_have_attribute("aria-current", "step", timeout=MOVE_MS)
    desk.page.get_by_role("link", name="Cancel…").click()
    expect(desk.page.get_by_role("dialog")).to_contain_text("goes on running where it is")
    assert desk.findings() == []
    desk.page.get_by_role("button", name="Cancel the task").click()
    expect(desk.page.locator("#migration-state")).to_have_text("cancelled", timeout=MOVE_MS)
    assert desk.is_same
    assert slow_guest.running_on == [home]
    expect(desk.page.get_by_role("link", name="Try again…")).to_be_visible()


def test_a_guest_is_powered_off_and_started(product: Product, desk: Desk, guest: LabGuest) -> None:
    desk.sign_in("operator")
    open_guest(desk, product, guest)
    state = desk.page.locator("#guest-state")
    desk.page.get_by_role("button", name="Power").click()
    desk.page.get_by_role("link", name="Power off…").click()
    dialog = desk.page.get_by_role("dialog")
    expect(dialog).to_contain_text(guest.name)
    assert desk.findings() == []
    dialog.get_by_role("button", name="Power off").click()
    expect(state).to_contain_text("off", timeout=SOON_MS)
    wait_until(lambda: guest.running_on == [], "it is off")
    desk.page.get_by_role("button", name="Power").click()
    desk.page.get_by_role("button", name="Start").click()
    expect(state).to_contain_text("running", timeout=SOON_MS)
    wait_until(lambda: len(guest.running_on) == 1, "it runs")
    assert desk.is_same


def test_an_open_menu_follows_the_guest(product: Product, desk: Desk, guest: LabGuest) -> None:
    desk.sign_in("operator")
    open_guest(desk, product, guest)
    desk.page.get_by_role("button", name="Power").click()
    suspend, resume = (desk.page.get_by_role("button", name=name) for name in ("Suspend", "Resume"))
    expect(suspend).to_be_visible()
    expect(resume).to_have_count(0)
    guest.host.virsh("suspend", guest.uuid)
    expect(resume).to_be_visible(timeout=POLL_MS)
    expect(suspend).to_have_count(0)
    resume.click()
    expect(desk.page.locator("#guest-state")).to_contain_text("running", timeout=SOON_MS)
    assert desk.is_same


def test_nothing_is_asked_when_the_question_is_dismissed(product: Product, desk: Desk, guest: LabGuest) -> None:
    desk.sign_in("admin")
    open_guest(desk, product, guest)
    dialog = desk.page.get_by_role("dialog")
    button = desk.page.get_by_role("link", name="Migrate…")
    for dismiss in ("Escape", "Cancel"):
        button.click()
        expect(dialog).to_be_visible()
        if dismiss == "Escape":
            desk.page.keyboard.press("Escape")
        else:
            dialog.get_by_role("link", name="Cancel").click()
        expect(dialog).to_be_hidden()
        expect(button).to_be_focused()
    expect(desk.page.get_by_role("heading", level=1)).to_have_text(guest.name)


def test_a_viewer_sees_grey_buttons_and_why(product: Product, desk: Desk, guest: LabGuest) -> None:
    desk.sign_in("viewer")
    open_guest(desk, product, guest)
    migrate = desk.page.get_by_role("button", name="Migrate…")
    expect(migrate).to_have_attribute("aria-disabled", "true")
    expect(migrate).to_have_attribute("title", "Your role does not allow this: migrate guests.")
    assert desk.findings() == []


def test_lists_and_pages_of_tasks_are_for_everybody(product: Product, desk: Desk, guest: LabGuest) -> None:
    desk.sign_in("auditor")
    for path in (reverse("migration_list"), reverse("task_list")):
        desk.open(path)
        assert desk.findings() == [], path
    row = product.guest(guest)
    migration = GuestMigration.objects.filter(guest=row).first()
    if migration is not None:
        desk.open(reverse("migration_page", args=[migration.pk]))
        assert desk.findings() == []
