"""Rates from two readings."""

from __future__ import annotations

from uuid import uuid4

import pytest

from drivers.types import HostLoadFact
from metrics.models import GuestLoad, HostLoad
from metrics.services import GuestReading, forget_guest_loads, record_guest_loads, record_host_loads
from tests.facts import GIB, at, load_fact

pytestmark = pytest.mark.django_db
GUEST = uuid4()


def read(seconds: float, cpu_seconds: float, counters: int, vcpus: int = 2) -> GuestLoad:
    fact = load_fact(int(cpu_seconds * 1e9), counters)
    record_guest_loads([GuestReading(GUEST, vcpus, fact)], read_at=at(seconds))
    return GuestLoad.objects.get()


def test_one_reading_has_no_rates() -> None:
    load = read(0, 5, 100)
    assert (load.cpu_percent, load.disk_read_rate, load.memory_used_bytes) == (None, None, GIB)


def test_two_readings_give_rates() -> None:
    read(0, 5, 100)
    load = read(10, 15, 1100)
    assert (load.cpu_percent, load.disk_read_rate, load.net_send_rate) == (50.0, 100.0, 100.0)


def test_a_restarted_guest_has_no_rates_until_the_next_reading() -> None:
    read(0, 500, 1000)
    load = read(10, 1, 10)
    assert (load.cpu_percent, load.net_receive_rate) == (None, None)
    assert read(20, 11, 110).cpu_percent == 50.0


def test_an_older_reading_and_one_too_soon_change_nothing() -> None:
    read(10, 5, 100)
    assert read(5, 1, 10).read_at == at(10)
    assert read(10.5, 6, 100).read_at == at(10)


def test_hostile_counters_stay_within_their_columns() -> None:
    record_guest_loads([GuestReading(GUEST, 0, load_fact(2**80, -5))], read_at=at(0))
    load = GuestLoad.objects.get()
    assert (load.cpu_time_ns, load.disk_read_bytes) == (2**63 - 1, 0)


def test_more_guests_than_a_batch() -> None:
    guests = [uuid4() for _ in range(2500)]
    for seconds in (0, 10):
        readings = [GuestReading(guest, 1, load_fact(int(seconds * 1e9), 0)) for guest in guests]
        record_guest_loads(readings, read_at=at(seconds))
    assert GuestLoad.objects.filter(cpu_percent=100.0).count() == 2500


def test_the_load_of_a_guest_that_stopped_is_forgotten() -> None:
    read(0, 5, 100)
    forget_guest_loads([GUEST.hex], read_at=at(-1))
    assert GuestLoad.objects.exists()  # an older reading
    forget_guest_loads([GUEST.hex], read_at=at(100))
    assert not GuestLoad.objects.exists()


def test_a_host_is_busy_as_its_counters_say() -> None:
    host = uuid4()
    record_host_loads([(host, HostLoadFact("h", 10, 100, GIB, 4 * GIB))], read_at=at(0))
    assert HostLoad.objects.get().cpu_percent is None
    record_host_loads([(host, HostLoadFact("h", 35, 200, GIB, 4 * GIB))], read_at=at(10))
    assert HostLoad.objects.get().cpu_percent == 25.0
    record_host_loads([(host, HostLoadFact("h", 1, 10, GIB, 4 * GIB))], read_at=at(20))
    assert HostLoad.objects.get().cpu_percent is None
