"""Where a simulated world is kept: in a small JSON file that several processes share, or generated in this process."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from drivers.errors import NotFound, Rejected
from drivers.fake import faults
from drivers.fake.build import make_guest, make_host
from drivers.fake.model import FakeFault, FakeGuest, FakeHost, FakeState
from drivers.fake.moves import settle
from drivers.types import Endpoint, Transport
from drivers.words import gettext_noop as _

MAX_FLEET_GUESTS = 10_000


class FakeWorld:
    """A world in a file. Every reader and writer takes the file's lock, so that processes share it.

    >>> world = FakeWorld.create(path, hosts=("alpha", "beta"), guests=4)
    >>> world.add_fault("alpha", at="open", do="hang")
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @classmethod
    def create(
        cls, path: Path | str, *, hosts: tuple[str, ...] = ("alpha", "beta"), guests: int = 4, seed: int = 0
    ) -> FakeWorld:
        world = cls(path)
        state = FakeState(hosts={name: make_host(name, guests=guests, seed=seed) for name in hosts})
        for host in state.hosts.values():
            _start(host)
        world.path.write_bytes(msgspec.json.encode(state))
        return world

    def endpoint(self, host: str) -> Endpoint:
        return Endpoint(kind="fake", transport=Transport.FAKE, uri=self.uri(host), key=host)

    def uri(self, host: str) -> str:
        return f"fake://world/{quote(host)}?file={quote(str(self.path))}"

    @contextmanager
    def open(self) -> Iterator[FakeState]:
        """The world, settled up to now, under its lock; what was changed is kept."""
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self.path.read_bytes()
            state = msgspec.json.decode(before, type=FakeState)
            settle(state, time.time())
            try:
                yield state
            finally:
                self._write(before, msgspec.json.encode(state))

    def _write(self, before: bytes, after: bytes) -> None:
        if after == before:
            return
        fresh = self.path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        fresh.write_bytes(after)
        fresh.replace(self.path)

    def add_fault(
        self, host: str, *, at: str, do: str, times: int = 1, seconds: float = 0.0, after: float = 0.5
    ) -> None:
        """Script a fault. `at` is a session method, "open", "migration" or "watch"."""
        known = faults.EFFECTS.get(at, faults.CALL_EFFECTS)
        if do not in known:
            raise ValueError(f"{do} is not one of {sorted(known)}")
        with self.open() as state:
            state.hosts[host].faults.append(FakeFault(at=at, do=do, times=times, seconds=seconds, after=after))

    def clear_faults(self, host: str) -> None:
        with self.open() as state:
            state.hosts[host].faults.clear()

    def fired(self, host: str, *, at: str) -> int:
        """How often faults at this place have struck: the proof that a test tested something."""
        with self.open() as state:
            return sum(fault.fired for fault in state.hosts[host].faults if fault.at == at)

    def add_guest(self, host: str, guest: FakeGuest) -> FakeGuest:
        with self.open() as state:
            state.hosts[host].guests[guest.uuid] = guest
        return guest

    def guests(self, host: str) -> dict[str, FakeGuest]:
        """The guests of a host as they are now, by UUID."""
        with self.open() as state:
            return state.hosts[host].guests

    def running_on(self, guest_uuid: str) -> tuple[str, ...]:
        """The names of the hosts where this guest runs now."""
        with self.open() as state:
            return tuple(
                name
                for name, host in state.hosts.items()
                if guest_uuid in host.guests and host.guests[guest_uuid].state == "running"
            )


class _Fleet:
    """A generated host, kept in this process only."""

    def __init__(self, host: FakeHost) -> None:
        self._lock = threading.Lock()
        self._state = FakeState(hosts={host.name: host})

    @contextmanager
    def open(self) -> Iterator[FakeState]:
        with self._lock:
            yield self._state


_fleet: dict[str, _Fleet] = {}
_fleet_guard = threading.Lock()


World = FakeWorld | _Fleet


def find_world(uri: str) -> tuple[World, str]:
    """The world and the host name a URI means.

    `fake://world/NAME?file=PATH` is a host of a world in a file;
    `fake://fleet/17?guests=20&seed=3&hang=1&slow=0.5` is generated (`hang=1` hangs when it is opened).

    Raises: Rejected when it means nothing; NotFound when the file is not there.
    """
    parts = urlsplit(uri)
    options = {name: values[0] for name, values in parse_qs(parts.query).items()}
    name = parts.path.strip("/")
    if parts.scheme != "fake" or not name:
        raise Rejected(_("This is not the address of a simulated host."))
    if parts.netloc == "fleet":
        return _find_fleet(uri, name, options)
    if parts.netloc == "world" and options.get("file"):
        return _find_file(options["file"], name)
    raise Rejected(_("This is not the address of a simulated host."))


def _find_file(path: str, name: str) -> tuple[FakeWorld, str]:
    world = FakeWorld(path)
    if not world.path.is_file():
        raise NotFound(_("The file of this simulated world is not there."))
    return world, name


def _find_fleet(uri: str, name: str, options: dict[str, str]) -> tuple[_Fleet, str]:
    with _fleet_guard:
        if uri not in _fleet:
            _fleet[uri] = _Fleet(make_fleet_host(name, options))
        return _fleet[uri], f"host-{name}"


def _start(host: FakeHost) -> None:
    """Its counters begin a while ago."""
    now = time.time()
    host.booted_at = now - 3600
    for guest in host.guests.values():
        guest.started_at = now - 600


def make_fleet_host(name: str, options: dict[str, str]) -> FakeHost:
    """The generated host NAME with its scripted faults. Raises: Rejected for options that are not numbers."""
    try:
        guests = min(int(options.get("guests", "20")), MAX_FLEET_GUESTS)
        host = make_host(f"host-{name}", guests=guests, seed=int(options.get("seed", "0")))
        slow = float(options.get("slow", "0"))
    except ValueError:
        raise Rejected(_("This is not the address of a simulated host.")) from None
    _start(host)
    if options.get("hang") == "1":
        host.faults.append(FakeFault(at="open", do=faults.HANG, times=-1))
    if slow > 0:
        host.faults += [FakeFault(at=at, do=faults.SLOW, times=-1, seconds=slow) for at in ("snapshot", "read_states")]
    return host


__all__ = ["FakeWorld", "find_world", "make_fleet_host", "make_guest"]
