"""The small lines on summary pages: what they say, where they break, and when there are none."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone
from lxml import html as parser

from access.models import User
from access.roles import Role
from console.sparks import HEIGHT, WIDTH, compute_sparks, space_sparks
from metrics.services import DatastoreReading, record_datastores
from tests.factories import GIB, Inventory
from tests.measured import measure_datastore, measure_guest
from tests.web.conftest import ClientAs

LARGEST_PAGE = 300_000


@pytest.fixture
def viewer(client_as: ClientAs) -> Client:
    return client_as(Role.VIEWER)


def links(client: Client, path: str) -> list[Any]:
    answer = client.get(path)
    assert answer.status_code == 200
    assert len(answer.content) < LARGEST_PAGE
    assert b"style=" not in answer.content
    page: Any = parser.document_fromstring(answer.content.decode())
    return list(page.xpath("//a[@class='spark']"))


def name(link: Any) -> str:
    """As it is read out, which holds what is seen."""
    words = str(link.get("aria-label"))
    assert link.get("title") == words
    assert words.replace(":", "").startswith(" ".join(link.text_content().split()))
    return words


def points(path: str) -> list[tuple[str, float, float]]:
    """Each point of a drawn line: whether it begins one, and where it is."""
    found = re.findall(r"([ML])([\d.]+) ([\d.]+)", path)
    return [(kind, float(x), float(y)) for kind, x, y in found]


def drawn(link: Any) -> list[tuple[str, float, float]]:
    (path,) = link.xpath(".//*[local-name()='path']/@d")
    return points(path)


def test_a_guests_last_hour_is_said_and_drawn(viewer: Client, inventory: Inventory) -> None:
    guest = inventory.guests[0]
    measure_guest(guest, [2, 31, 5])
    cpu, memory = links(viewer, f"/guests/{guest.pk}/")
    assert name(cpu) == "CPU, last hour: 2 % to 31 %, now 5 %"
    assert cpu.get("href") == memory.get("href") == f"/guests/{guest.pk}/monitor/"
    assert name(memory).startswith("Memory, last hour: ")
    kinds, xs, ys = zip(*drawn(cpu), strict=True)
    assert kinds == ("M", "L", "L")
    assert sorted(xs) == list(xs)
    assert 0 < min(xs) < max(xs) <= WIDTH
    assert ys[1] < ys[2] < ys[0] < HEIGHT, "more is higher"


def test_a_host_has_its_own(viewer: Client, inventory: Inventory) -> None:
    guest = inventory.guests[0]
    measure_guest(guest, [10, 20])
    cpu, memory = links(viewer, f"/hosts/{guest.host_id}/")
    assert name(cpu) == "CPU, last hour: 10 %, now 10 %"
    assert memory.get("href") == f"/hosts/{guest.host_id}/monitor/"


def test_a_datastore_shows_its_month(viewer: Client, inventory: Inventory) -> None:
    store = inventory.shared
    now = timezone.now()
    for days, free in ((20, 90), (19, 80), (3, 60), (0, 25)):
        reading = DatastoreReading(store.pk, 100 * GIB, free * GIB)
        record_datastores([reading], read_at=now - timedelta(days=days, seconds=5))
    (used,) = links(viewer, f"/datastores/{store.pk}/")
    assert name(used) == "Used, last month: 10 % to 75 %, now 75 %"
    assert used.get("href") == f"/datastores/{store.pk}/monitor/"
    assert [kind for kind, _x, _y in drawn(used)] == ["M", "M", "M", "M"], "nothing is drawn between days far apart"


def test_a_line_breaks_where_nothing_is_known(inventory: Inventory) -> None:
    guest = inventory.guests[0]
    measure_guest(guest, [10, 20], ended_s=1800)
    measure_guest(guest, [30, 40])
    (cpu, _memory) = compute_sparks("guest", guest.pk, GIB, user=User(role=Role.VIEWER))
    found = points(cpu.path)
    assert [kind for kind, _x, _y in found] == ["M", "L", "M", "L"]
    assert found[2][1] - found[1][1] > WIDTH / 3


def test_what_is_not_from_now_says_how_old_it_is(inventory: Inventory) -> None:
    guest = inventory.guests[0]
    measure_guest(guest, [10, 20], ended_s=1800)
    (cpu,) = compute_sparks("guest", guest.pk, 0, user=User(role=Role.VIEWER))
    assert cpu.words == "CPU, last hour: 10 % to 20 %, last 20 %, 30 min ago"


def test_without_figures_it_says_so(viewer: Client, inventory: Inventory) -> None:
    guest = inventory.guests[0]
    measure_guest(guest, [10, 20], ended_s=7200)  # longer ago than the line goes back
    for path in (f"/guests/{guest.pk}/", f"/hosts/{guest.host_id}/", f"/datastores/{inventory.shared.pk}/"):
        for link in links(viewer, path):
            assert link.text_content().endswith(" no figures yet")
            assert link.get("aria-label") is None
            assert not link.xpath(".//*[local-name()='svg']")
            assert link.get("href") == f"{path}monitor/"


def test_nobody_sees_the_load_of_what_is_hidden(inventory: Inventory) -> None:
    guest, store = inventory.guests[0], inventory.shared
    measure_guest(guest, [10, 20])
    measure_datastore(store.pk, [60, 40])
    nobody = User(role=Role.VIEWER, is_active=False)
    found = compute_sparks("guest", guest.pk, GIB, user=nobody) + space_sparks(store.pk, user=nobody)
    assert [one.path for one in found] == ["", "", ""]


def test_an_object_that_is_not_there_has_no_page(viewer: Client, inventory: Inventory) -> None:
    for kind in ("guests", "hosts", "datastores"):
        assert viewer.get(f"/{kind}/{UUID(int=7)}/").status_code == 404


def test_a_full_hour_is_small(viewer: Client, inventory: Inventory) -> None:
    guest = inventory.guests[0]
    measure_guest(guest, [number % 100 for number in range(119)])
    cpu, _memory = links(viewer, f"/guests/{guest.pk}/")
    assert len(drawn(cpu)) == 119
    assert len(parser.tostring(cpu)) < 2500
