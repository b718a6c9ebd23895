"""One reading a day: what is known now, once, and nothing that is not."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from history.models import DatastoreDay, GuestDay, HostDay
from inventory.days import record_day
from inventory.models import Disk, Guest
from inventory.tasks import record_the_day
from metrics.models import GuestLoad, HostLoad
from storage.models import Volume
from tests.factories import GIB, add_disk, make_datastore, make_guest, make_host

pytestmark = pytest.mark.django_db


def load(model: Any, one: Any, read_at: datetime, used: int) -> None:
    model.objects.create(pk=one.pk, read_at=read_at, cpu_percent=12.5, memory_used_bytes=used)


def later(monkeypatch: pytest.MonkeyPatch, **by: int) -> None:
    moment = timezone.now() + timedelta(**by)
    monkeypatch.setattr(timezone, "now", lambda: moment)


def test_what_moves_is_read_once_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    later(monkeypatch)
    host = make_host()
    store = make_datastore(hosts=(host,))
    guest = make_guest("db-07", host=host, state="running")
    Disk.objects.filter(guest=guest).delete()
    add_disk(guest, datastore=store, source="/srv/fast/a.qcow2", capacity_bytes=10 * GIB)
    Volume.objects.create(
        datastore=store, key="a", name="a", path="/srv/fast/a.qcow2", allocated_bytes=3 * GIB, told_by=host.pk
    )
    load(GuestLoad, guest, timezone.now(), 2 * GIB)
    load(HostLoad, host, timezone.now(), 9 * GIB)
    record_the_day()
    row = GuestDay.objects.get()
    assert (row.object_id, row.day, row.cpu_percent) == (guest.pk, timezone.now().date(), 12.5)
    assert (row.memory_used_bytes, row.disk_capacity_bytes, row.disk_allocated_bytes) == (2 * GIB, 10 * GIB, 3 * GIB)
    of_host = HostDay.objects.get()
    assert (of_host.memory_used_bytes, of_host.guests, of_host.running_guests) == (9 * GIB, 1, 1)
    of_store = DatastoreDay.objects.get()
    assert (of_store.available_bytes, of_store.volumes, of_store.allocated_bytes) == (1700 * GIB, 1, 3 * GIB)
    GuestLoad.objects.update(memory_used_bytes=GIB)
    record_day()
    assert GuestDay.objects.get().memory_used_bytes == 2 * GIB


def test_old_loads_and_guests_that_stand_still_have_no_figures() -> None:
    host = make_host()
    stopped, silent = make_guest("a", host, state="off"), make_guest("b", host, state="running")
    load(GuestLoad, stopped, timezone.now(), GIB)
    load(GuestLoad, silent, timezone.now() - timedelta(hours=3), GIB)
    record_day()
    assert set(GuestDay.objects.values_list("cpu_percent", "memory_used_bytes")) == {(None, None)}


def test_what_comes_later_is_added_and_what_is_missing_has_no_day() -> None:
    host = make_host()
    make_guest("a", host)
    Guest.objects.update(missing_since=timezone.now())
    record_day()
    assert not GuestDay.objects.exists()
    new = make_guest("b", host)
    record_day()
    assert GuestDay.objects.get().object_id == new.pk


def test_days_on_which_nothing_ran_stay_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    make_guest("a")
    first = timezone.now().date()
    record_day()
    later(monkeypatch, days=5)
    record_day()
    assert sorted(GuestDay.objects.values_list("day", flat=True)) == [first, first + timedelta(days=5)]


def test_old_days_go(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.HISTORY_DAYS = 30
    make_guest("a")
    record_day()
    later(monkeypatch, days=31)
    record_day()
    days: list[date] = list(GuestDay.objects.values_list("day", flat=True))
    assert days == [timezone.now().date()]


def test_more_guests_are_not_more_queries() -> None:
    host = make_host()

    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            record_day()
        return len(seen)

    make_guest("a", host=host)
    one = queries()
    for number in range(20):
        make_guest(f"more-{number}", host=host)
    assert queries() <= one
    assert GuestDay.objects.count() == 21
