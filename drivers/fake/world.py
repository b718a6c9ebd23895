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

from core.decoding import decode_json
from drivers.errors import NotFound, Rejected
from drivers.fake import faults
from drivers.fake.build import make_guest, make_host, start_counters
from drivers.fake.fleet import Fleet, find_fleet, make_fleet_host
from drivers.fake.model import FakeFault, FakeGuest, FakeState
from drivers.fake.moves import settle
from drivers.types import Endpoint, Transport
from drivers.words import gettext_noop as _


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
            start_counters(host)
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
            state = decode_json(before, FakeState)
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


World = FakeWorld | Fleet


def find_world(uri: str) -> tuple[World, str]:
    """The world and the host name a URI means.

    `fake://world/NAME?file=PATH` is a host of a world in a file;
    `fake://fleet/17?guests=20&seed=3` is generated. Its options: `hang=1` hangs when it is opened, `slow=0.5` takes so
    many seconds for each answer, `flap=30` answers for 30 s and then does not for as long, `events=60` tells what
    changes, and pauses or resumes one guest every 60 s (`events=0` none), `cluster=4` shares storage with others of 4.

    Raises: Rejected when it means nothing; NotFound when the file is not there.
    """
    parts = urlsplit(uri)
    options = {name: values[0] for name, values in parse_qs(parts.query).items()}
    name = parts.path.strip("/")
    if parts.scheme != "fake" or not name:
        raise Rejected(_("This is not the address of a simulated host."))
    if parts.netloc == "fleet":
        return find_fleet(uri, name, options)
    if parts.netloc == "world" and options.get("file"):
        return _find_file(options["file"], name)
    raise Rejected(_("This is not the address of a simulated host."))


def _find_file(path: str, name: str) -> tuple[FakeWorld, str]:
    world = FakeWorld(path)
    if not world.path.is_file():
        raise NotFound(_("The file of this simulated world is not there."))
    return world, name


__all__ = ["FakeWorld", "find_world", "make_fleet_host", "make_guest"]
