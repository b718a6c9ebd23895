"""Connections for single calls that may last, opened ahead of them.

On the session's own connection its other calls would wait for the end of such a call. A far host takes seconds to let
anybody in, and the right to act does not last: so whoever is about to act opens first.
"""

from __future__ import annotations

import threading
import time

from drivers.libvirt.connection import Connection
from drivers.types import Endpoint

# Nobody's right to act lasts that long: a line that is still here was given up; it serves whoever comes next.
LEFT_AFTER_S = 60.0


class Lines:
    """The open lines of one session, one for each guest that is about to need it. Thread-safe."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._guard = threading.Lock()
        self._ready: dict[str, tuple[float, Connection]] = {}

    def open(self, guest_uuid: str) -> None:
        """Have a line ready for this guest. Raises: DriverError."""
        line = self._reuse(guest_uuid) or Connection(self._endpoint)
        with self._guard:
            before = self._ready.pop(guest_uuid, None)
            self._ready[guest_uuid] = (time.monotonic(), line)
        if before is not None:  # somebody else opened one meanwhile
            before[1].close()

    def take(self, guest_uuid: str) -> Connection:
        """The line that is ready, else a new one; whoever takes it closes it. Raises: DriverError."""
        with self._guard:
            found = self._ready.pop(guest_uuid, None)
        return _first_living([found[1]] if found else []) or Connection(self._endpoint)

    def close(self) -> None:
        with self._guard:
            left, self._ready = list(self._ready.values()), {}
        for _opened_at, line in left:
            line.close()

    def _reuse(self, guest_uuid: str) -> Connection | None:
        given_up = time.monotonic() - LEFT_AFTER_S
        with self._guard:
            free = [guest for guest, (at, _line) in self._ready.items() if guest == guest_uuid or at <= given_up]
            found = [self._ready.pop(guest)[1] for guest in free]
        return _first_living(found)


def _first_living(lines: list[Connection]) -> Connection | None:
    """The others are closed."""
    living = next((line for line in lines if line.is_alive()), None)
    for line in lines:
        if line is not living:
            line.close()
    return living
