"""The child's side of events: what its sources tell, coalesced until the parent has taken what came before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from drivers.base import Session, WatchOps
from drivers.errors import DriverError, NotSupported
from drivers.events import EventBatch, EventFact, Pile
from drivers.isolation.wire import NEWS, Answer, pack
from drivers.types import Endpoint
from drivers.words import gettext_noop as _

if TYPE_CHECKING:
    from drivers.isolation.child import Sessions

# The first event goes out at once; of a stream of them, a bundle for each source this often.
PACE_S = 0.02


class Outbox:
    """A pile for each source with news, and one thread that sends them: a parent that is slow costs no memory."""

    def __init__(self, send: Callable[[Answer], None]) -> None:
        self._send = send
        self._changed = threading.Condition()
        self._piles: dict[str, Pile] = {}
        self._ends: dict[str, DriverError] = {}
        self._working = False

    def put(self, key: str, act: Callable[[Pile], None]) -> None:
        with self._changed:
            act(self._piles.setdefault(key, Pile()))
            self._wake()

    def end(self, key: str, error: DriverError) -> None:
        with self._changed:
            self._ends[key] = error
            self._wake()

    def _wake(self) -> None:
        if not self._working:
            self._working = True
            threading.Thread(target=self._work, daemon=True, name="outbox").start()
        self._changed.notify()

    def forget(self, key: str) -> None:
        with self._changed:
            self._piles.pop(key, None)
            self._ends.pop(key, None)

    def _work(self) -> None:
        while True:
            for answer in self._take():
                self._send(answer)
            time.sleep(PACE_S)

    def _take(self) -> list[Answer]:
        with self._changed:
            while not self._piles and not self._ends:
                self._changed.wait()
            piles, self._piles = self._piles, {}
            ends, self._ends = self._ends, {}
        news = [Answer(NEWS, "", "", pack((key, pile.take()))) for key, pile in piles.items()]
        return news + [_end(key, error) for key, error in ends.items()]


def _end(key: str, error: DriverError) -> Answer:
    return Answer(NEWS, error.code, error.template, pack((key, EventBatch())), error.parameters)


class _Sink:
    """One source's end of the outbox; deaf once it is no longer watched."""

    def __init__(self, key: str, outbox: Outbox) -> None:
        self._key = key
        self._outbox = outbox
        self.closed = False

    def happened(self, event: EventFact) -> None:
        if not self.closed:
            self._outbox.put(self._key, lambda pile: pile.add(event))

    def missed(self) -> None:
        if not self.closed:
            self._outbox.put(self._key, Pile.miss)

    def lost(self, error: DriverError) -> None:
        if not self.closed:
            self._outbox.end(self._key, error)


class Watches:
    """The sources this child listens to. A key is used once: who watches again takes another one."""

    def __init__(self, sessions: Sessions, outbox: Outbox) -> None:
        self._sessions = sessions
        self._outbox = outbox
        self._sinks: dict[str, _Sink] = {}

    def start(self, key: str, endpoint: Endpoint) -> None:
        """Open and listen. Raises: NotSupported for what tells nothing; DriverError."""
        self._sessions.hold(key, endpoint)
        sink = self._sinks[key] = _Sink(key, self._outbox)
        try:
            _listening(self._sessions.get(key)).watch(sink)
        except BaseException:
            self.stop(key)
            raise

    def stop(self, key: str) -> None:
        """Hear nothing more of it, and close it. Only after `start` has answered."""
        sink = self._sinks.pop(key, None)
        if sink is not None:
            sink.closed = True
        self._outbox.forget(key)
        self._sessions.drop(key)


def _listening(session: Session) -> WatchOps:
    if not isinstance(session, WatchOps):
        raise NotSupported(_("This source does not tell what changes."))
    return session
