"""Rates from two readings, and what becomes a sample."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from drivers.types import HostLoadFact
from metrics.models import GuestLoad, HostLoad, LoadPoll, LoadTrail
from metrics.packing import decode
from metrics.series import COMPUTE, DATASTORE
from metrics.services import (
    DatastoreReading,
    GuestReading,
    HostReading,
    forget_guest_loads,
    record_datastores,
    record_loads,
)
from tests.facts import GIB, at, load_fact

pytestmark = pytest.mark.django_db
GUEST, HOST, OTHER = uuid4(), uuid4(), uuid4()


def read(seconds: float, cpu_seconds: float, counters: int, vcpus: int = 2, host: object = HOST) -> GuestLoad:
    fact = load_fact(int(cpu_seconds * 1e9), counters)
    record_loads([GuestReading(GUEST, host, vcpus, fact)], [], read_at=at(seconds))
    return GuestLoad.objects.get()


def sampled() -> list[dict[str, float]]:
    """Of every poll, the rows of its objects by series."""
    rows = [decode(bytes(poll.values_packed), len(COMPUTE), exact=False) for poll in LoadPoll.objects.order_by("id")]
    return [dict(zip(COMPUTE, row.tolist(), strict=True)) for poll in rows for row in poll]


def test_one_reading_has_no_rates() -> None:
    load = read(0, 5, 100)
    assert (load.cpu_percent, load.disk_read_rate, load.memory_used_bytes) == (None, None, GIB)
    assert str(sampled()[0]["cpu_percent"]) == "nan"
    assert sampled()[0]["memory_used_bytes"] == GIB


def test_two_readings_give_rates() -> None:
    read(0, 5, 100)
    load = read(10, 15, 1100)
    assert (load.cpu_percent, load.disk_read_rate, load.net_send_rate) == (50.0, 100.0, 100.0)
    assert (sampled()[1]["cpu_percent"], sampled()[1]["disk_write_ops"]) == (50.0, 100.0)


def test_a_restarted_guest_has_no_rates_until_the_next_reading() -> None:
    read(0, 500, 1000)
    load = read(10, 1, 5000)  # its disks were busier than in all the time before
    assert (load.cpu_percent, load.net_receive_rate) == (None, None)
    assert read(20, 11, 5100).cpu_percent == 50.0


def test_a_guest_on_another_host_counts_from_zero() -> None:
    read(0, 1, 10)
    assert read(10, 900, 10_000, host=OTHER).cpu_percent is None
    assert list(LoadTrail.objects.values_list("object_id", "group_id")) == [(GUEST, HOST)]


def test_what_passed_during_a_gap_is_no_load_of_now() -> None:
    read(0, 1, 10)
    assert read(3600, 900, 10_000).cpu_percent is None
    assert read(3610, 910, 10_100).disk_read_rate == 10.0


def test_an_older_reading_and_one_too_soon_change_nothing() -> None:
    read(10, 5, 100)
    assert read(5, 1, 10).read_at == at(10)
    assert read(10.5, 6, 100).read_at == at(10)
    assert LoadPoll.objects.count() == 1


def test_after_the_clock_was_set_back_loads_are_recorded_again() -> None:
    now = timezone.now()
    fact = load_fact(int(1e9), 10)
    record_loads([GuestReading(GUEST, HOST, 1, fact)], [], read_at=now + timedelta(hours=3))
    record_loads([GuestReading(GUEST, HOST, 1, fact)], [], read_at=now)
    assert GuestLoad.objects.get().read_at == now


def test_hostile_counters_stay_within_their_columns() -> None:
    record_loads([GuestReading(GUEST, HOST, 0, load_fact(2**80, -5))], [], read_at=at(0))
    load = GuestLoad.objects.get()
    assert (load.cpu_time_ns, load.disk_read_bytes) == (2**63 - 1, 0)


def test_more_guests_than_a_batch() -> None:
    guests = [uuid4() for _ in range(2500)]
    for seconds in (0, 10):
        readings = [GuestReading(guest, HOST, 1, load_fact(int(seconds * 1e9), 0)) for guest in guests]
        record_loads(readings, [], read_at=at(seconds))
    assert GuestLoad.objects.filter(cpu_percent=100.0).count() == 2500
    assert [len(poll.objects_packed) for poll in LoadPoll.objects.all()] == [2500 * 16] * 2


def test_the_load_of_a_guest_that_stopped_is_forgotten_but_not_where_its_past_is() -> None:
    read(0, 5, 100)
    forget_guest_loads([GUEST.hex], read_at=at(-1))
    assert GuestLoad.objects.exists()  # an older reading
    forget_guest_loads([GUEST.hex], read_at=at(100))
    assert not GuestLoad.objects.exists()
    assert list(LoadTrail.objects.values_list("object_id", "group_id")) == [(GUEST, HOST)]


def host_read(seconds: float, busy: int, total: int) -> HostLoad:
    record_loads([], [HostReading(HOST, HostLoadFact("h", busy, total, GIB, 4 * GIB))], read_at=at(seconds))
    return HostLoad.objects.get()


def test_a_host_is_busy_as_its_counters_say() -> None:
    assert host_read(0, 10, 100).cpu_percent is None
    assert host_read(10, 35, 200).cpu_percent == 25.0
    assert host_read(20, 1, 10).cpu_percent is None
    assert host_read(15, 35, 200).read_at == at(20)  # older: nothing


def test_a_hosts_traffic_is_that_of_its_guests() -> None:
    host = [HostReading(HOST, HostLoadFact("h", 10, 100, GIB, 4 * GIB))]
    for seconds in (0, 10):
        guests = [GuestReading(one, HOST, 1, load_fact(0, int(seconds) * 100)) for one in (GUEST, OTHER)]
        record_loads(guests, host, read_at=at(seconds))
    first, second = sampled()[2], sampled()[5]
    assert str(first["net_send_rate"]) == "nan"
    assert (second["net_send_rate"], second["memory_bytes"]) == (200.0, 4 * GIB)
    assert LoadPoll.objects.count() == 2  # a host and its guests are one row


def test_a_datastore_that_many_hosts_see_is_measured_once() -> None:
    for seconds in (0, 20, 300):
        record_datastores([DatastoreReading(GUEST, 10 * GIB + 1, 4 * GIB)], read_at=at(seconds))
    polls = list(LoadPoll.objects.order_by("id"))
    assert [poll.at for poll in polls] == [int(at(0).timestamp()), int(at(300).timestamp())]
    values = decode(bytes(polls[0].values_packed), len(DATASTORE), exact=True)[0].tolist()
    assert values == [10 * GIB + 1, 6 * GIB + 1, 4 * GIB]  # to the byte
