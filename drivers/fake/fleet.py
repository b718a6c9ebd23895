"""Generated hosts, kept in this process only: thousands of them cost no file.

What one does by itself follows from the clock alone, so that all processes see the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

from drivers.errors import Rejected
from drivers.fake import faults
from drivers.fake.build import LOCAL_PATH, SHARED_PATH, make_host, start_counters
from drivers.fake.model import FakeFault, FakeHost, FakeState
from drivers.types import GuestState
from drivers.words import gettext_noop as _

MAX_GUESTS = 10_000


class Fleet:
    """One generated host. `toggle_s`: how often one of its guests is paused or resumed; none for never."""

    def __init__(self, host: FakeHost, *, events: bool = False, toggle_s: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._host = host
        self._state = FakeState(hosts={host.name: host})
        self._running = [guest for guest in host.guests.values() if guest.state is GuestState.RUNNING]
        self.events = events
        self.toggle_s = toggle_s

    @contextmanager
    def open(self) -> Iterator[FakeState]:
        with self._lock:
            self._toggle(time.time())
            yield self._state

    def turn(self, now: float) -> int:
        return turn_of(self._host, self.toggle_s, now)

    def is_down(self, now: float) -> bool:
        return is_flapping_down(self._host, now)

    def next_turn_s(self, now: float) -> float:
        """Until it changes, or stops answering, or answers again. Only for one that does so."""
        return min(step - (now + phase_of(self._host)) % step for step in self.steps())

    def steps(self) -> list[float]:
        return [step for step in (self.toggle_s, self._host.flapping_s) if step]

    def toggled(self, turn: int) -> str:
        """The guest that changed when this turn began; empty when none runs."""
        return self._running[(turn - 1) // 2 % len(self._running)].uuid if self._running else ""

    def _toggle(self, now: float) -> None:
        """Each odd turn pauses one guest, and the next one resumes it."""
        if not self.toggle_s:
            return
        turn = self.turn(now)
        paused = self.toggled(turn) if turn % 2 else ""
        for guest in self._running:
            if guest.uuid == paused:
                guest.state, guest.state_reason = GuestState.PAUSED, "user"
            elif guest.state is GuestState.PAUSED:
                guest.state, guest.state_reason = GuestState.RUNNING, "unpaused"


def phase_of(host: FakeHost) -> int:
    """Seconds: not all hosts do something at the same moment."""
    return crc32(host.name.encode()) % 3600


def turn_of(host: FakeHost, step_s: float, now: float) -> int:
    return int((now + phase_of(host)) / step_s) if step_s else 0


def is_flapping_down(host: FakeHost, now: float) -> bool:
    return turn_of(host, host.flapping_s, now) % 2 == 1


_fleet: dict[str, Fleet] = {}
_guard = threading.Lock()


def find_fleet(uri: str, name: str, options: dict[str, str]) -> tuple[Fleet, str]:
    """Raises: Rejected for options that are not numbers."""
    with _guard:
        if uri not in _fleet:
            toggle_s = _numbers(options)["events"]
            _fleet[uri] = Fleet(make_fleet_host(name, options), events="events" in options, toggle_s=toggle_s)
        return _fleet[uri], f"host-{name}"


def make_fleet_host(name: str, options: dict[str, str]) -> FakeHost:
    """The generated host NAME with its scripted faults. Raises: Rejected for options that are not numbers."""
    numbers = _numbers(options)
    guests = min(int(numbers["guests"]), MAX_GUESTS)
    host = make_host(f"host-{name}", guests=guests, seed=int(numbers["seed"]))
    start_counters(host)
    _share_storage(host, options.get("cluster", ""))
    host.flapping_s = numbers["flap"]
    if options.get("hang") == "1":
        host.faults.append(FakeFault(at="open", do=faults.HANG, times=-1))
    if numbers["slow"] > 0:
        slow = numbers["slow"]
        host.faults += [FakeFault(at=at, do=faults.SLOW, times=-1, seconds=slow) for at in ("snapshot", "read_states")]
    return host


def _share_storage(host: FakeHost, cluster: str) -> None:
    """With the hosts of its cluster alone: no file server serves thousands. Half of the guests lie on the host itself.

    None of these hosts knows the others' disks, so that none tells what the shared datastore holds.
    """
    for store in host.datastores:
        if cluster and store.servers:
            store.servers, store.unlisted = [f"filer-{cluster}"], True
            store.source = f"filer-{cluster}:/shared"
    for guest in list(host.guests.values())[::2] if cluster else []:
        for disk in guest.disks:
            disk.source = disk.source.replace(SHARED_PATH, LOCAL_PATH)


def _numbers(options: dict[str, str]) -> dict[str, float]:
    usual = {"guests": "20", "seed": "0", "slow": "0", "flap": "0", "events": "0"}
    try:
        return {name: float(options.get(name, value)) for name, value in usual.items()}
    except ValueError:
        raise Rejected(_("This is not the address of a simulated host.")) from None
