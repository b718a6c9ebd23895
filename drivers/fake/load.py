"""How busy simulated guests are: up and down over minutes, hours and the day, and the same for all processes.

A guest's rates are a base of its own on a few curves that all share. Counters are the curves' integrals: they need no
memory, never fall while time goes on, and two readings tell the rate between them. A curve is looked up once for a
reading, not for each guest. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from math import cos, sin, tau
from random import Random
from typing import NamedTuple
from zlib import crc32

from drivers.fake.model import FakeGuest, FakeHost
from drivers.types import GuestLoadFact, HostLoadFact

CURVES = 32
_DAY_S, _MINUTES = 86_400, 1440
_LEAST, _MOST = 0.05, 3.5  # of a curve, whose average is near 1
_REQUEST_BYTES = 16 << 10  # of one disk operation
_OVERHEAD = 0.01  # of a host's threads, without guests
_HOST_BYTES = 2 << 30


class Curve(NamedTuple):
    """A day, minute by minute: how much there is of the base, and how much there was until then. Units: seconds."""

    rates: list[float]
    sums: list[float]

    def until(self, moment: float) -> float:
        """Seconds at the base's rate that did as much since 1970."""
        days, second = divmod(moment, _DAY_S)
        minute = int(second / 60)
        return days * self.sums[-1] + self.sums[minute] + (second - minute * 60) * self.rates[minute]


class Habits(NamedTuple):
    """What a guest usually does. Units: shares of its virtual CPUs and memory; bytes a second; numbers of curves."""

    cpu: float
    memory: float
    read: float
    written: float
    received: float
    sent: float
    of_cpu: int
    of_disk: int
    of_net: int


@lru_cache(maxsize=1)
def curves() -> list[Curve]:
    made = []
    for number in range(CURVES):
        rates = list(_rates(Random(number)))  # noqa: S311 - a picture, not a secret
        made.append(Curve(rates, [0.0, *accumulate(rate * 60 for rate in rates)]))
    return made


def _rates(chance: Random) -> Iterator[float]:
    """Working hours, something that drifts, and now and then a burst."""
    noon, depth = chance.uniform(600, 960), chance.uniform(0.1, 0.6)
    drift, burst = 0.0, 0.0
    for minute in range(_MINUTES):
        drift = 0.95 * drift + chance.uniform(-0.12, 0.12)
        burst = chance.uniform(0.5, 2.0) if chance.random() < 1 / 90 else 0.8 * burst
        hours = depth * cos(tau * (minute - noon) / _MINUTES)
        yield min(max(0.85 + hours + drift + burst, _LEAST), _MOST)


@lru_cache(maxsize=256)
def _until(moment_ms: int) -> list[float]:
    """Of each curve."""
    return [curve.until(moment_ms / 1000) for curve in curves()]


@lru_cache(maxsize=256)
def _memory_waves(second: int) -> list[float]:
    """Of each curve, how much of its memory a guest takes beyond the usual."""
    turns = [number / CURVES * tau for number in range(CURVES)]
    return [0.12 * sin(tau * second / _DAY_S + turn) + 0.05 * sin(tau * second / 5300 + 7 * turn) for turn in turns]


@lru_cache(maxsize=100_000)
def habits_of(uuid: str) -> Habits:
    """From nothing but its UUID, which follows from the host's seed. Most guests are idle most of the time."""
    draws = [crc32(f"{uuid} {number}".encode()) / 2**32 for number in range(6)]
    cpu, memory, read, written, received, sent = draws
    places = crc32(uuid.encode())
    return Habits(
        0.02 + 0.24 * cpu**2,
        0.3 + 0.4 * memory,
        2e4 + 2e6 * read**3,
        2e4 + 1e6 * written**3,
        5e3 + 1e6 * received**3,
        5e3 + 1e6 * sent**3,
        places % CURVES,
        places // CURVES % CURVES,
        places // CURVES**2 % CURVES,
    )


@lru_cache(maxsize=100_000)
def _begun(uuid: str, start_ms: int) -> tuple[Habits, float, float, float]:
    """With where its curves were when it started."""
    habits, until = habits_of(uuid), _until(start_ms)
    return habits, until[habits.of_cpu], until[habits.of_disk], until[habits.of_net]


def guest_load(guest: FakeGuest, now: float) -> GuestLoadFact:
    until = _until(int(now * 1000))
    habits, cpu, disk, net = _begun(guest.uuid, int(guest.started_at * 1000))
    busy, moved, told = until[habits.of_cpu] - cpu, until[habits.of_disk] - disk, until[habits.of_net] - net
    read, written = int(habits.read * moved), int(habits.written * moved)
    return GuestLoadFact(
        int(habits.cpu * guest.vcpus * 1e9 * busy),
        _memory_used(guest, habits, now),
        read,
        written,
        int(habits.received * told),
        int(habits.sent * told),
        guest.memory_bytes,
        read // _REQUEST_BYTES,
        written // _REQUEST_BYTES,
    )


def host_load(host: FakeHost, running: list[FakeGuest], now: float) -> HostLoadFact:
    """What these guests take, and a little more."""
    until, began = _until(int(now * 1000)), _until(int(host.booted_at * 1000))
    up_ns = (int(now * 1000) - int(host.booted_at * 1000)) * 1_000_000
    busy_s, memory = 0.0, _HOST_BYTES
    for guest in running:
        habits = habits_of(guest.uuid)
        busy_s += habits.cpu * guest.vcpus * (until[habits.of_cpu] - began[habits.of_cpu])
        memory += _memory_used(guest, habits, now)
    total_ns = up_ns * host.cpu_threads
    return HostLoadFact(
        ref=host.uuid,
        cpu_busy_ns=min(int(busy_s * 1e9 + _OVERHEAD * total_ns), total_ns),
        cpu_total_ns=total_ns,
        memory_used_bytes=min(host.memory_bytes, memory),
        memory_bytes=host.memory_bytes,
    )


def _memory_used(guest: FakeGuest, habits: Habits, now: float) -> int:
    return int(guest.memory_bytes * (habits.memory + _memory_waves(int(now))[habits.of_cpu]))
