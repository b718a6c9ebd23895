"""A guest is made with an ISO that is sent from the page, cloned and deleted: the whole product on simulated hosts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import BrowserContext, Page, Route, expect

from drivers.fake.model import FakeGuest
from drivers.fake.world import FakeWorld
from hosts.models import Datacenter, Host, Source
from inventory.models import Guest
from storage.models import Upload, Volume
from tests.browser.desk import Desk
from tests.stack import Stack, running_stack, wait_until

ISO_BYTES = 5_000_000
SOON_MS = 60_000


@pytest.fixture(scope="module")
def module_stack(django_db_blocker: Any) -> Iterator[Stack]:
    with django_db_blocker.unblock(), running_stack(web=True) as running:
        yield running


@pytest.fixture
def world(module_stack: Stack, django_db_blocker: Any, tmp_path: Path) -> Iterator[FakeWorld]:
    """One simulated host, read by the product."""
    made = FakeWorld.create(tmp_path / "world.json", hosts=("alpha",), guests=2)
    with django_db_blocker.unblock(), module_stack.attached():
        module_stack.mend()
        now = timezone.now()
        Source.objects.create(
            name="alpha",
            datacenter=Datacenter.objects.create(name="dc"),
            kind="fake",
            transport="fake",
            uri=made.uri("alpha"),
            next_inventory_at=now,
            next_states_at=now,
        )
        wait_until(lambda: Guest.objects.count() == 2, "the host was read")
        yield made
        module_stack.forget_everything()


@pytest.fixture
def desk(module_stack: Stack, world: FakeWorld, context: BrowserContext) -> Iterator[Desk]:
    desk = Desk(context.new_page(), module_stack.url)
    desk.listen()
    desk.sign_in("admin")
    yield desk
    assert desk.problems == []


@pytest.fixture
def iso(tmp_path: Path) -> Path:
    path = tmp_path / "my debian.iso"
    path.write_bytes(os.urandom(ISO_BYTES))
    return path


def guest_named(world: FakeWorld, name: str) -> FakeGuest | None:
    return next((guest for guest in world.guests("alpha").values() if guest.name == name), None)


def await_end(page: Page, sentence: str) -> None:
    expect(page.locator("#task-body .notice")).to_have_text(sentence, timeout=SOON_MS)


def test_from_an_iso_to_a_guest_and_its_clone_and_back(desk: Desk, world: FakeWorld, iso: Path) -> None:
    page = desk.page
    desk.open(reverse("guest_list"))
    page.get_by_role("link", name="New guest…").click()
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Name", exact=True).fill("web-1")
    page.get_by_label("Upload an ISO").check()
    page.get_by_label("ISO file").set_input_files(iso)
    expect(page.locator("[data-upload-words]")).to_contain_text("is here", timeout=SOON_MS)
    page.get_by_label("Plugged into").select_option(label="default")
    assert desk.findings() == []
    page.get_by_role("button", name="Create guest").click()
    await_end(page, "web-1 is created and started.")
    guest = guest_named(world, "web-1")
    assert guest is not None
    assert (guest.state, [disk.source.rpartition("/")[2] for disk in guest.disks][1]) == ("running", "my-debian.iso")
    wait_until(lambda: Guest.objects.filter(name="web-1", state="running").exists(), "it was read")
    assert not Upload.objects.exists()

    with world.open() as state:
        state.hosts["alpha"].guests[guest.uuid].state = "off"  # type: ignore[assignment]
    row = Guest.objects.get(name="web-1")
    Guest.objects.filter(pk=row.pk).update(state="off")
    wait_until(lambda: Volume.objects.filter(name__startswith="web-1-").exists(), "its volume was read")
    desk.open(reverse("guest_page", args=[row.pk]))
    page.get_by_role("button", name="More").click()
    page.get_by_role("link", name="Clone…").click()
    page.get_by_role("dialog").get_by_label("Name", exact=True).fill("web-2")
    page.get_by_role("dialog").get_by_role("button", name="Clone").click()
    wait_until(lambda: Guest.objects.filter(name="web-2").exists(), "the clone was read")

    clone = Guest.objects.get(name="web-2")
    wait_until(lambda: Volume.objects.filter(name__startswith="web-2-").exists(), "its volume was read")
    desk.open(reverse("guest_page", args=[clone.pk]))
    page.get_by_role("button", name="More").click()
    page.get_by_role("link", name="Delete…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("checkbox")).to_be_checked()
    dialog.get_by_label("Type the guest's name").fill("web-2")
    dialog.get_by_role("button", name="Delete").click()
    wait_until(lambda: guest_named(world, "web-2") is None, "the clone is gone")
    wait_until(lambda: not Volume.objects.filter(name__startswith="web-2-").exists(), "and its disk")
    assert guest_named(world, "web-1") is not None


def test_an_upload_survives_a_network_that_does_not(desk: Desk, world: FakeWorld, iso: Path) -> None:
    page, failed = desk.page, 0

    def unlucky(route: Route) -> None:
        nonlocal failed
        if failed < 2:
            failed += 1
            route.abort()
        else:
            route.continue_()

    store = Host.objects.get().mounts.get(name="local").datastore
    page.route("**/pieces/**", unlucky)
    desk.open(reverse("volume_upload", args=[store.pk]))
    page.get_by_label("File").set_input_files(iso)
    expect(page.locator("[data-upload-words]")).to_contain_text("is here", timeout=SOON_MS)
    assert failed == 2
    page.get_by_role("button", name="Write to the datastore").click()
    expect(page.locator("#task-body .notice")).to_contain_text("my-debian.iso is in the datastore", timeout=SOON_MS)
    desk.problems = [problem for problem in desk.problems if "net::ERR_FAILED" not in problem]


def test_an_upload_is_cancelled_by_keyboard(desk: Desk, world: FakeWorld, iso: Path) -> None:
    page = desk.page
    store = Host.objects.get().mounts.get(name="local").datastore
    page.route("**/pieces/**", lambda _route: None)  # never answered
    desk.open(reverse("volume_upload", args=[store.pk]))
    page.get_by_label("File").set_input_files(iso)
    cancel = page.get_by_role("button", name="Cancel the upload")
    cancel.wait_for()
    wait_until(Upload.objects.exists, "it was begun")
    page.get_by_role("button", name="Write to the datastore").click()  # too early: nothing is sent
    expect(page.locator("[data-upload-words]")).to_contain_text("Wait until the file is sent.")
    expect(cancel).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("[data-upload-words]")).to_have_text("Cancelled; nothing of it is kept.")
    wait_until(lambda: not Upload.objects.exists(), "it is forgotten")
