"""The parent's side of events: many sources in a few killable processes, and what they tell.

An open that hangs holds a thread of its process and cannot be ended. So a source that hung is opened apart from then
on, and a process that holds too many such threads gets no further sources; the one for doubtful sources is replaced.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from drivers.errors import ERRORS, DriverError, Unreachable
from drivers.events import EventBatch
from drivers.isolation.process import Child, NotSent
from drivers.isolation.wire import METHODS, UNWATCH, WATCH, Answer, unpack
from drivers.types import Endpoint, StateReading
from drivers.words import gettext_noop as _

log = logging.getLogger(__name__)

SOURCES_PER_PROCESS = 128
OPEN_LIMIT_S = 30.0
READ_LIMIT_S = 10.0
MOST_HUNG = 8  # threads of one process


class Listener(Protocol):
    """Hears what the pool tells, from other threads; returns at once."""

    def opened(self, key: str) -> None: ...

    def happened(self, key: str, batch: EventBatch) -> None: ...

    def lost(self, key: str, error: DriverError) -> None:
        """Once for a key, and nothing of it after that."""


@dataclass(eq=False, slots=True)
class _Home:
    """One process and the keys that live in it."""

    doubtful: bool
    child: Child = field(init=False)
    keys: set[str] = field(default_factory=set)
    hung: set[object] = field(default_factory=set)  # opens and reads that were given up and have not come back

    def has_room(self) -> bool:
        return self.child.accepting and len(self.keys) < SOURCES_PER_PROCESS and len(self.hung) < MOST_HUNG


class WatchPool:
    """Thread-safe, but for `watch` and `tick`: call them from one thread that lives as long as the pool.

    A child asks the kernel to die with the thread that started it.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._guard = threading.Lock()
        self._homes: list[_Home] = []
        self._home_of: dict[str, _Home] = {}
        self._opening: dict[str, float] = {}  # since when
        self._numbers = itertools.count(1)
        self._closed = False

    def watch(self, endpoint: Endpoint, *, doubtful: bool = False) -> str:
        """Begin to open a source and to listen to it; returns its key at once. Raises: Unreachable."""
        key = f"{next(self._numbers)}"
        home = self._room(doubtful)
        with self._guard:
            home.keys.add(key)
            self._home_of[key] = home
            self._opening[key] = time.monotonic()
        try:
            home.child.begin(WATCH, key, (endpoint,), lambda error: self._opened(home, key, error))
        except NotSent:
            self._part(key)
            raise Unreachable(_("The connection was lost because its helper process ended.")) from None
        return key

    def _room(self, doubtful: bool) -> _Home:
        with self._guard:
            homes = [home for home in self._homes if home.doubtful == doubtful and home.has_room()]
        if homes:
            return min(homes, key=lambda home: len(home.keys))
        home = _Home(doubtful)
        home.child = Child(SOURCES_PER_PROCESS * 2, partial(self._hear, home))
        with self._guard:
            self._homes.append(home)
        home.child.wait_ready()
        return home

    def unwatch(self, key: str) -> None:
        """Hear nothing more of it. The listener is not told."""
        home, opening = self._part(key)
        if home is not None and not opening:
            home.child.post(UNWATCH, key)

    def read_guests(self, key: str, guest_refs: tuple[str, ...]) -> StateReading:
        """Raises: DriverError; Unreachable when it hangs, and then the key is lost."""
        with self._guard:
            home = self._home_of.get(key)
        if home is None:
            raise Unreachable(_("The connection to this source is not open any more."))
        try:
            answer = home.child.start("read_guests", key, (guest_refs,))
        except NotSent:
            raise Unreachable(_("The connection was lost because its helper process ended.")) from None
        try:
            reading: StateReading = unpack(answer.result(READ_LIMIT_S), METHODS["read_guests"].result)
        except FutureTimeout:
            with self._guard:
                home.hung.add(answer)
            error = _late(READ_LIMIT_S)
            self._lose(key, error)
            answer.add_done_callback(lambda answered: self._came_back(home, key, answered))
            raise error from None
        return reading

    def _came_back(self, home: _Home, key: str, answered: object) -> None:
        """What hung has answered after all: its thread is free again, and the session nobody wants can be closed."""
        with self._guard:
            home.hung.discard(answered)
        home.child.post(UNWATCH, key)

    def tick(self) -> None:
        """Give up what opens for too long, and end processes nobody needs."""
        too_old = time.monotonic() - OPEN_LIMIT_S
        with self._guard:
            late = [key for key, since in self._opening.items() if since < too_old]
            for key in late:
                self._home_of[key].hung.add(key)
        for key in late:
            self._lose(key, _late(OPEN_LIMIT_S))
        with self._guard:
            self._homes = [home for home in self._homes if not home.child.dead or home.keys]
            over = [home for home in self._homes if len(home.hung) >= MOST_HUNG and (home.doubtful or not home.keys)]
        for home in over:
            home.child.kill()  # its end tells the listener of every key in it

    def process_ids(self) -> tuple[int, ...]:
        with self._guard:
            return tuple(home.child.pid for home in self._homes)

    def close(self) -> None:
        with self._guard:
            self._closed = True
            homes, self._homes = self._homes, []
            self._home_of.clear()
            self._opening.clear()
        for home in homes:
            home.child.kill()

    # -- from the threads that read answers

    def _opened(self, home: _Home, key: str, error: DriverError | None) -> None:
        with self._guard:
            wanted = self._opening.pop(key, None) is not None
            if not wanted:
                home.hung.discard(key)  # it came back after all
        if wanted and error is None:
            self._listener.opened(key)
        elif wanted and error is not None:
            self._lose(key, error)
        elif error is None:
            home.child.post(UNWATCH, key)

    def _hear(self, home: _Home, answer: Answer | None) -> None:
        if answer is None:
            self._bury(home)
            return
        key, batch = unpack(answer.body, tuple[str, EventBatch])
        if answer.code:
            home.child.post(UNWATCH, key)
            self._lose(key, ERRORS.get(answer.code, DriverError)(answer.template, **answer.parameters))
        elif key in self._home_of:
            self._listener.happened(key, batch)

    def _bury(self, home: _Home) -> None:
        with self._guard:
            keys = list(home.keys)
            if home in self._homes:
                self._homes.remove(home)
            closed = self._closed
        for key in [] if closed else keys:
            self._lose(key, Unreachable(_("The connection was lost because its helper process ended.")))

    def _lose(self, key: str, error: DriverError) -> None:
        home, _opening = self._part(key)
        if home is not None:
            self._listener.lost(key, error)

    def _part(self, key: str) -> tuple[_Home | None, bool]:
        """Forget the key; where it lived, and whether it was still opening."""
        with self._guard:
            home = self._home_of.pop(key, None)
            opening = self._opening.pop(key, None) is not None
            if home is not None:
                home.keys.discard(key)
            return home, opening


def _late(seconds: float) -> Unreachable:
    return Unreachable(
        _("The source did not answer within %(seconds)g seconds. Check the host and the network."), seconds=seconds
    )
