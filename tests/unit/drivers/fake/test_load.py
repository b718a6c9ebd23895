"""The load of simulated guests: alive, the same for everybody who asks, and counters that never fall."""

from __future__ import annotations

from itertools import pairwise

import pytest

from drivers.fake.fleet import make_fleet_host
from drivers.fake.load import curves, guest_load, host_load
from drivers.fake.model import FakeGuest, FakeHost
from drivers.types import GuestLoadFact, GuestState

MIDNIGHT = 1_795_392_000.0
COUNTERS = (
    "cpu_time_ns",
    "disk_read_bytes",
    "disk_written_bytes",
    "disk_reads",
    "disk_writes",
    "net_received_bytes",
    "net_sent_bytes",
)


def host_of(seed: int) -> FakeHost:
    host = make_fleet_host("1", {"guests": "20", "seed": str(seed)})
    host.booted_at = MIDNIGHT - 4000
    for guest in host.guests.values():
        guest.started_at = MIDNIGHT - 3700
    return host


@pytest.fixture
def host() -> FakeHost:
    return host_of(3)


def first(host: FakeHost) -> FakeGuest:
    return next(iter(host.guests.values()))


def rates(guest: FakeGuest, moments: list[float]) -> list[float]:
    """Of its virtual CPUs, between each two moments."""
    loads = [guest_load(guest, moment) for moment in moments]
    return [
        (after.cpu_time_ns - before.cpu_time_ns) / 1e9 / (moments[place + 1] - moments[place]) / guest.vcpus
        for place, (before, after) in enumerate(pairwise(loads))
    ]


def test_the_same_moment_has_the_same_load_for_all_who_ask(host: FakeHost) -> None:
    again = host_of(3)
    for one, other in zip(host.guests.values(), again.guests.values(), strict=True):
        assert guest_load(one, MIDNIGHT + 17.25) == guest_load(other, MIDNIGHT + 17.25)
    assert guest_load(first(host), MIDNIGHT) != guest_load(first(host_of(4)), MIDNIGHT)


def test_no_counter_falls(host: FakeHost) -> None:
    """Not from one millisecond to the next either, nor at midnight, nor at a minute's end."""
    moments = [MIDNIGHT - 3700, *(MIDNIGHT - 0.01 + step / 1000 for step in range(30))]
    moments += [MIDNIGHT + 59.999, MIDNIGHT + 60, *(MIDNIGHT + 60 + 97 * step for step in range(1000))]
    for guest in list(host.guests.values())[:5]:
        loads = [guest_load(guest, moment) for moment in moments]
        assert all(getattr(loads[0], name) == 0 for name in COUNTERS)
        for before, after in pairwise(loads):
            assert all(getattr(after, name) >= getattr(before, name) for name in COUNTERS)
            assert after.cpu_time_ns > before.cpu_time_ns or before == after


def test_it_goes_up_and_down_within_what_there_is(host: FakeHost) -> None:
    hour = [MIDNIGHT + 36_000 + step for step in range(0, 3600, 60)]
    for guest in host.guests.values():
        found = rates(guest, hour)
        assert 0 < min(found) < max(found) < 1
        assert max(found) > 1.2 * min(found)
        loads: list[GuestLoadFact] = [guest_load(guest, moment) for moment in hour]
        assert len({load.memory_used_bytes for load in loads}) > 1
        assert all(0 < load.memory_used_bytes < guest.memory_bytes for load in loads)


def test_guests_differ(host: FakeHost) -> None:
    hour = [MIDNIGHT, MIDNIGHT + 3600]
    found = {round(rates(guest, hour)[0], 3) for guest in host.guests.values()}
    assert len(found) > len(host.guests) / 2
    assert len({tuple(curve.rates) for curve in curves()}) == len(curves())


def test_a_host_is_as_busy_as_its_guests(host: FakeHost) -> None:
    running = [guest for guest in host.guests.values() if guest.state is GuestState.RUNNING]
    moments = [MIDNIGHT, MIDNIGHT + 300]
    before, after = (host_load(host, running, moment) for moment in moments)
    busy_ns = after.cpu_busy_ns - before.cpu_busy_ns
    guests_ns = sum(rates(guest, moments)[0] * guest.vcpus * 300e9 for guest in running)
    total_ns = after.cpu_total_ns - before.cpu_total_ns
    assert total_ns == 300 * 10**9 * host.cpu_threads
    assert busy_ns == pytest.approx(guests_ns + 0.01 * total_ns, rel=0.001)
    assert 0 < before.memory_used_bytes <= host.memory_bytes
    assert host_load(host, running * 1000, MIDNIGHT).cpu_busy_ns == before.cpu_total_ns  # more than it has
