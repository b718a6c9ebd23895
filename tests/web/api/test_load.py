"""The endpoint of load: who gets it, what it takes, what it says."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from access.models import User
from access.roles import Role
from inventory.models import Guest
from tests.factories import Inventory
from tests.measured import measure_datastore, measure_guest
from tests.web.conftest import ClientAs


@pytest.fixture
def viewer(client_as: ClientAs) -> Client:
    return client_as(Role.VIEWER)


@pytest.fixture
def guest(inventory: Inventory) -> Guest:
    measure_guest(inventory.guests[0], [40, 60, 80])
    return inventory.guests[0]


def load_of(client: Client, guest: Guest, **given: Any) -> Any:
    answer = client.get(f"/api/v1/guests/{guest.pk}/load/", given)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_the_last_hour_as_it_was_measured(viewer: Client, guest: Guest) -> None:
    found = load_of(viewer, guest)
    assert (found["kind"], found["id"], found["step"]) == ("guest", str(guest.pk), 0)
    assert found["end"] - found["start"] == 3600
    assert found["since"] == found["times"][0]
    assert found["series"]["cpu_percent"] == {"unit": "percent", "average": [None, 40, 60, 80]}
    assert found["series"]["disk_read_rate"]["unit"] == "bytes_per_second"


def test_coarser_points_have_their_bounds(viewer: Client, guest: Guest) -> None:
    now = int(time.time())
    found = load_of(viewer, guest, start=now - 7200, end=now, step=3600)
    # Just after a full hour the first poll, which has no rate yet, may be all that the hour before has.
    assert max(high for high in found["series"]["cpu_percent"]["high"] if high is not None) == 80
    assert all(moment % 3600 == 0 for moment in found["times"])


def test_times_are_iso_or_seconds(viewer: Client, guest: Guest) -> None:
    hours_ago = timezone.now() - timedelta(hours=3)
    found = load_of(viewer, guest, start=hours_ago.isoformat(), end=int(time.time()))
    assert found["start"] == int(hours_ago.timestamp())
    assert len(found["times"]) > 0


def test_a_datastore(viewer: Client, inventory: Inventory) -> None:
    measure_datastore(inventory.shared.pk, [60, 40])
    found = viewer.get(f"/api/v1/datastores/{inventory.shared.pk}/load/?range=1d").json()
    assert found["series"]["free_bytes"]["average"][-1] == 40 << 30


def test_a_host(viewer: Client, guest: Guest) -> None:
    found = viewer.get(f"/api/v1/hosts/{guest.host_id}/load/").json()
    assert found["series"]["memory_bytes"]["average"][-1] == 8 << 30


@pytest.mark.parametrize(
    "query",
    ["range=2h", "start=soon", "end=9" * 60, "step=x", "step=-1", "start=200&end=100", "color=red", "start=2026-13-01"],
)
def test_what_cannot_be_asked_is_refused(viewer: Client, guest: Guest, query: str) -> None:
    answer = viewer.get(f"/api/v1/guests/{guest.pk}/load/?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid"


def test_nobody_gets_a_million_points(viewer: Client, guest: Guest) -> None:
    found = load_of(viewer, guest, start=0, end=int(time.time()), step=0)
    assert found["step"] == 604800
    assert len(found["times"]) == 1


def test_another_guests_load_is_not_mixed_in(viewer: Client, guest: Guest, inventory: Inventory) -> None:
    assert load_of(viewer, inventory.guests[1])["times"] == []


def test_whoever_may_not_look_gets_nothing(viewer: Client, guest: Guest) -> None:
    User.objects.filter(role=Role.VIEWER).update(is_active=False)
    assert viewer.get(f"/api/v1/guests/{guest.pk}/load/").status_code in {401, 403}
