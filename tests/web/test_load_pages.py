"""The Monitor tab and its file: figures, and what is said when there are none."""

from __future__ import annotations

import csv
from datetime import timedelta
from io import StringIO

import pytest
from django.test import Client
from django.utils import timezone

from access.roles import Role
from audit.models import AuditRow
from console.load import say
from metrics.series import Unit
from tests.factories import Inventory
from tests.measured import measure_datastore, measure_guest
from tests.web.conftest import ClientAs


@pytest.fixture
def viewer(client_as: ClientAs) -> Client:
    return client_as(Role.VIEWER)


def text_of(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_figures_are_there_without_a_chart_too(viewer: Client, inventory: Inventory) -> None:
    guest = inventory.guests[0]
    measure_guest(guest, [40] * 40)
    text = text_of(viewer, f"/guests/{guest.pk}/monitor/")
    assert "40 %" in text
    assert "34.1/s" in text  # reads a second
    assert "34.1 B/s" in text
    assert "2 GiB" in text
    assert "Measured since" in text
    assert f"/api/v1/guests/{guest.pk}/load/?range=1h" in text


def test_a_guest_that_was_never_measured_says_when_it_will_be(viewer: Client, inventory: Inventory) -> None:
    text = text_of(viewer, f"/guests/{inventory.guests[0].pk}/monitor/")
    assert "Nothing was measured yet. The first figures come about a minute after it runs" in text


def test_a_datastore_that_was_never_measured_says_when_it_will_be(viewer: Client, inventory: Inventory) -> None:
    text = text_of(viewer, f"/datastores/{inventory.shared.pk}/monitor/")
    assert "Nothing was measured yet. The first figures come with the next full read" in text


def test_a_time_without_figures_names_the_first(viewer: Client, inventory: Inventory) -> None:
    guest = inventory.guests[0]
    measure_guest(guest, [10, 10], ended_s=7200)
    first = timezone.now() - timedelta(seconds=7260)
    text = text_of(viewer, f"/guests/{guest.pk}/monitor/")
    assert "Nothing was measured in this time. The first figures are from" in text
    assert f"{first:%Y-%m-%d %H:%M}" in text
    assert "10 %" in text_of(viewer, f"/guests/{guest.pk}/monitor/?range=1d")


def test_an_unknown_range_is_the_usual_one(viewer: Client, inventory: Inventory) -> None:
    text = text_of(viewer, f"/guests/{inventory.guests[0].pk}/monitor/?range=<b>")
    assert 'href="?range=1h" aria-current="true"' in text


def test_a_hosts_traffic_says_whose_it_is(viewer: Client, inventory: Inventory) -> None:
    guest = inventory.guests[0]
    measure_guest(guest, [10, 20])
    text = text_of(viewer, f"/hosts/{guest.host_id}/monitor/")
    assert "of its guests" in text
    assert "10 %" in text  # the host's own processor, all threads of it


def test_a_datastore_shows_its_space(viewer: Client, inventory: Inventory) -> None:
    measure_datastore(inventory.shared.pk, [60, 40])
    text = text_of(viewer, f"/datastores/{inventory.shared.pk}/monitor/")
    assert "60 GiB" in text
    assert "100 GiB" in text


def test_the_file_has_every_point(client_as: ClientAs, inventory: Inventory) -> None:
    guest = inventory.guests[0]
    measure_guest(guest, [40, 60, 80])
    answer = client_as(Role.OPERATOR).get(f"/guests/{guest.pk}/load/export/")
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="guesthouse-guest-load-')
    rows = list(csv.DictReader(StringIO(answer.content.decode("utf-8-sig"))))
    assert [row["cpu_percent"] for row in rows] == ["", "40.0", "60.0", "80.0"]
    assert rows[0]["time"].endswith("+00:00")
    assert AuditRow.objects.get(action="load.exported").target_id == str(guest.pk)


def test_a_coarser_file_has_the_lowest_and_the_highest(client_as: ClientAs, inventory: Inventory) -> None:
    guest = inventory.guests[0]
    measure_guest(guest, [40, 60, 80])
    answer = client_as(Role.OPERATOR).get(f"/guests/{guest.pk}/load/export/?range=1m")
    rows = list(csv.DictReader(StringIO(answer.content.decode("utf-8-sig"))))
    assert float(rows[-1]["cpu_percent high"]) == 80.0


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (Unit.PERCENT, 12.4, "12 %"),
        (Unit.BYTES, 3 << 30, "3 GiB"),
        (Unit.BYTES_PER_SECOND, 1536.0, "1.5 KiB/s"),
        (Unit.OPERATIONS_PER_SECOND, 12.5, "12.5/s"),
        (Unit.PERCENT, float("nan"), ""),
    ],
)
def test_figures_have_units(unit: Unit, value: float, text: str) -> None:
    assert say(unit, value) == text
