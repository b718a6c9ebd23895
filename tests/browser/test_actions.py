"""What can be done to a row is in sight at any width: no cell cuts a button off, and none lies beyond the edge.

That no page cuts one off is looked at in test_accessibility.py, where each page is loaded anyway.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from access.models import ApiToken
from access.roles import Role
from inventory.models import GuestDetails
from tests.browser.conftest import PageAs, accessibility_findings, hidden_buttons
from tests.factories import Inventory, add_disk, add_nic, add_volume, make_user

COUNT = "document.querySelectorAll('table.grid td .btn, table.grid td button').length"
LONG = "a-name-as-long-as-administrators-like-them-to-be"


@pytest.fixture
def rows(inventory: Inventory) -> dict[str, str]:
    """Pages with something to press in a table's rows, by what it is; names are as long as they come."""
    guest, switch = inventory.guests[0], inventory.switches[0]
    add_disk(guest, inventory.shared, target="vdb")
    add_disk(guest, inventory.shared, target="sda", device="cdrom", source=f"/srv/{LONG}.iso")
    add_nic(guest, switch, port_group=LONG)
    add_volume(inventory.shared, f"{LONG}-{LONG}.qcow2")
    one = {"name": LONG, "parent": "", "created_at": "2026-11-22T10:00:00+00:00", "state": "running", "notes": LONG}
    GuestDetails.objects.update_or_create(guest=guest, defaults={"facts": {"snapshots": [one]}})
    ApiToken.objects.create(user=make_user(Role.ADMIN), name=LONG, digest="x", prefix="gst_x")
    return {
        "hardware": f"/guests/{guest.pk}/hardware/",
        "snapshots": f"/guests/{guest.pk}/snapshots/",
        "volumes": f"/datastores/{inventory.shared.pk}/volumes/",
        "tokens": "/account/tokens/",
    }


def _open(page: Page, path: str) -> None:
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator("#recent-tasks table, #recent-tasks p")).to_be_attached()


def test_every_button_of_a_row_is_in_sight(page_as: PageAs, rows: dict[str, str]) -> None:
    page = page_as()
    for name, path in rows.items():
        page.set_viewport_size({"width": 1280, "height": 800})
        _open(page, path)
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 800})
            assert (name, width, page.evaluate(COUNT)) > (name, width, 0)
            assert (name, width, hidden_buttons(page)) == (name, width, [])
            assert (name, width, accessibility_findings(page)) == (name, width, [])
