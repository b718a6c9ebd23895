"""One watching process: it holds its share of the sources' event streams, and writes what they tell.

One thread decides, so that nothing is locked. What waits for a network, a host or the database runs in a few others:
preparing a connection, reading what was named, writing it. For each source one of these goes on at a time; what the
source tells meanwhile is piled up.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections
from django.utils import timezone

from core.db import write_transaction
from drivers.errors import DriverError, NotSupported, Unreachable
from drivers.events import EventBatch, EventKind, Extent, Pile
from drivers.isolation.watch import Listener, WatchPool
from drivers.types import Endpoint, StateReading
from hosts.lease import LeaseLost
from hosts.models import Source
from hosts.polling import back_off, read_now
from hosts.validation import resolve_endpoint
from inventory.models import Watch
from inventory.sync import apply_look
from inventory.watching import shares
from inventory.watching.shares import WatchLease

log = logging.getLogger(__name__)

TICK_S = 0.25
# A turn over the sources lasts no longer, since it may start processes: a beat must not be late.
TURN_S = 1.0
# The first event is written at once; what changes all the time is written this often.
LOOK_GAP_S = 0.25
# A full read is asked for at once, and not again before this is over.
FULL_READ_GAP_S = 5.0
QUICK_READ_GAP_S = 1.0
# What failed for our own reasons, such as a database that restarts, is done again after this.
AGAIN_S = 2.0
# A stream that lasted so long was a good one: its loss begins a new count.
GOOD_S = 60.0
# Those that tell nothing are asked again now and then: they may have been upgraded.
SILENT_FOR_S = 600.0
# The first time it was most likely ours, such as a helper process that ended.
FIRST_WAIT_S = 1.0
OPEN_AT_ONCE = 32
THREADS = 8


class Pool(Protocol):
    """What a listener uses of `WatchPool`."""

    def watch(self, endpoint: Endpoint, *, doubtful: bool = False) -> str: ...

    def unwatch(self, key: str) -> None: ...

    def read_guests(self, key: str, guest_refs: tuple[str, ...]) -> StateReading: ...

    def tick(self) -> None: ...

    def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class Watched:
    """One source of ours. `key` is its stream, while that opens or is open; times are of the monotonic clock."""

    source_id: UUID
    token: int
    answering: bool = False  # says its last poll
    reached: str = ""  # how, as a digest: new credentials are a new stream
    busy: bool = False  # one of the threads works for it
    key: str = ""
    opened_at: float | None = None
    lost: bool = False  # it had a stream before: what it told since is unknown
    failures: int = 0
    doubtful: bool = False
    open_due: float = 0.0
    look_due: float = 0.0
    read_due: float = 0.0
    read_wanted: bool = False
    whole_wanted: bool = False
    pile: Pile = field(default_factory=Pile)


class Listening:
    """Call `run`, from a thread that lives as long as the process."""

    def __init__(
        self,
        make_pool: Callable[[Listener], Pool] = WatchPool,
        submit: Callable[[Callable[[], None]], Any] | None = None,
    ) -> None:
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._pool = make_pool(self)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="watch")
        self._submit = submit or self._threads.submit
        self._ours: dict[UUID, Watched] = {}
        self._by_key: dict[str, Watched] = {}
        self._stirred: set[Watched] = set()  # to be attended to before the next turn over all of them
        self._beat_due = self._turn_due = 0.0
        self._stopped = False
        self.watcher_id = shares.register()

    # -- the loop

    def run(self) -> None:
        """Until `stop`."""
        try:
            while not self._stopped:
                self.tick(TICK_S)
        finally:
            self.close()

    def stop(self) -> None:
        """Safe in a signal handler."""
        self._stopped = True

    def close(self) -> None:
        self._pool.close()
        self._threads.shutdown(wait=True, cancel_futures=True)
        shares.leave(self.watcher_id)

    def tick(self, wait_s: float = 0.0) -> None:
        """Take what came, waiting for it so long at most; then do what is due."""
        self._take_inbox(wait_s)
        now = time.monotonic()
        if now >= self._beat_due:
            self._beat_due = now + shares.BEAT_S
            self._beat()
        if now >= self._turn_due:
            self._turn_due = now + TICK_S
            self._pool.tick()
            self._stirred.update(self._ours.values())
        self._attend_all(now + TURN_S)

    def _attend_all(self, until: float) -> None:
        while self._stirred and (now := time.monotonic()) < until:
            watched = self._stirred.pop()
            if self._is_ours(watched):
                self._attend(watched, now)

    def _take_inbox(self, wait_s: float) -> None:
        try:
            act = self._inbox.get(timeout=wait_s) if wait_s else self._inbox.get_nowait()
            while True:
                act()
                act = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _beat(self) -> None:
        try:
            if not shares.beat(self.watcher_id):
                self.watcher_id = shares.register()
            self._take_share(shares.balance(self.watcher_id))
        except (DatabaseError, InterfaceError):
            close_old_connections()
            log.exception("The database does not answer; what sources tell is piled up until it does.")

    def _take_share(self, tokens: dict[UUID, int]) -> None:
        reached = shares.answering(self.watcher_id)
        for watched in list(self._ours.values()):
            source_id = watched.source_id
            changed = watched.reached and reached.get(source_id, watched.reached) != watched.reached
            if tokens.get(source_id) != watched.token or changed:
                self._forget(watched)
        for source_id, token in tokens.items():
            watched = self._ours.setdefault(source_id, Watched(source_id, token))
            watched.answering = source_id in reached
            watched.reached = reached.get(source_id, watched.reached)

    def _forget(self, watched: Watched) -> None:
        self._ours.pop(watched.source_id, None)
        if watched.key:
            self._by_key.pop(watched.key, None)
            self._pool.unwatch(watched.key)

    def _attend(self, watched: Watched, now: float) -> None:
        if watched.busy:
            return
        if watched.read_wanted and now >= watched.read_due:
            whole, watched.read_wanted, watched.whole_wanted = watched.whole_wanted, False, False
            watched.read_due = now + (FULL_READ_GAP_S if whole else QUICK_READ_GAP_S)
            self._begin(watched, lambda: read_now(watched.source_id, inventory=whole))
        elif watched.opened_at is not None:
            if watched.pile and now >= watched.look_due:
                watched.look_due = now + LOOK_GAP_S
                batch, key = watched.pile.take(), watched.key
                self._begin(watched, lambda: self._look(watched, key, batch))
        elif not watched.key and watched.answering and now >= watched.open_due and self._opening() < OPEN_AT_ONCE:
            self._begin(watched, lambda: self._prepare(watched))

    def _opening(self) -> int:
        return sum(1 for one in self._ours.values() if one.opened_at is None and (one.key or one.busy))

    # -- what runs in other threads

    def _begin(self, watched: Watched, act: Callable[[], None]) -> None:
        watched.busy = True
        self._submit(lambda: self._run(watched, act))

    def _run(self, watched: Watched, act: Callable[[], None]) -> None:
        again = False
        try:
            act()
        except LeaseLost:
            self._inbox.put(lambda: self._forget(watched))
        except Source.DoesNotExist:
            pass  # removed; the next beat tells
        except Exception as error:  # the end of a thread's work: whatever it was, the source is read again
            again = True
            if isinstance(error, OperationalError | InterfaceError):
                close_old_connections()
            log.exception("What source %s told could not be written; it is read again.", watched.source_id)
        self._inbox.put(lambda: self._end(watched, again))

    def _end(self, watched: Watched, again: bool) -> None:
        watched.busy = False
        self._stirred.add(watched)
        if again:
            later = time.monotonic() + AGAIN_S
            watched.open_due, watched.read_due = max(watched.open_due, later), max(watched.read_due, later)
            self._want_read(watched, whole=True)

    def _prepare(self, watched: Watched) -> None:
        source = Source.objects.get(pk=watched.source_id)
        try:
            endpoint = resolve_endpoint(source)
        except DriverError as error:
            failed = error
            self._inbox.put(lambda: self._fail(watched, failed))
            return
        self._inbox.put(lambda: self._open(watched, endpoint))

    def _look(self, watched: Watched, key: str, batch: EventBatch) -> None:
        guests = [event for event in batch.events if event.kind is EventKind.GUEST]
        whole = batch.everything or any(event.extent is Extent.WHOLE for event in batch.events)
        refs = tuple(event.ref for event in guests)
        if refs:
            whole |= self._write(watched, key, refs)
        if whole:
            self._inbox.put(lambda: self._want_read(watched, whole=True))

    def _write(self, watched: Watched, key: str, refs: tuple[str, ...]) -> bool:
        """Read these guests and write what is news. Returns whether a full read is needed."""
        try:
            states = self._pool.read_guests(key, refs)
        except DriverError as error:
            log.info("Source %s did not say more of what changed: %s", watched.source_id, error.message)
            return True
        source = Source.objects.get(pk=watched.source_id)
        lease = WatchLease(watched.source_id, watched.token, self.watcher_id)
        return bool(apply_look(source, states, refs, lease).mismatch)

    # -- what a stream's life means; in the deciding thread

    def _is_ours(self, watched: Watched) -> bool:
        return self._ours.get(watched.source_id) is watched

    def _open(self, watched: Watched, endpoint: Endpoint) -> None:
        if not self._is_ours(watched) or watched.key:
            return
        try:
            watched.key = self._pool.watch(endpoint, doubtful=watched.doubtful)
        except Unreachable as error:
            self._fail(watched, error)
            return
        self._by_key[watched.key] = watched

    def _on_opened(self, watched: Watched) -> None:
        watched.opened_at, watched.doubtful = time.monotonic(), False
        self._begin_noting(watched, timezone.now())
        # What changed before the stream began. After a loss that may be anything.
        self._want_read(watched, whole=watched.lost)

    def _on_lost(self, watched: Watched, error: DriverError) -> None:
        self._by_key.pop(watched.key, None)
        was_open = watched.opened_at is not None
        if was_open and time.monotonic() - (watched.opened_at or 0.0) > GOOD_S:
            watched.failures = 0
        watched.key, watched.opened_at, watched.lost = "", None, watched.lost or was_open
        watched.doubtful = isinstance(error, Unreachable) and not was_open
        watched.pile = Pile()
        self._fail(watched, error)
        if was_open:
            self._begin_noting(watched, None)
            self._want_read(watched, whole=False)  # which says at once that it is gone, or here after all

    def _fail(self, watched: Watched, error: DriverError) -> None:
        watched.failures += 1
        wait = _wait(watched.failures, error)
        watched.open_due = time.monotonic() + wait
        log.info("No events from source %s, again in %d s: %s", watched.source_id, wait, error.message)

    def _want_read(self, watched: Watched, *, whole: bool) -> None:
        watched.read_wanted, watched.whole_wanted = True, watched.whole_wanted or whole
        self._stirred.add(watched)

    def _begin_noting(self, watched: Watched, since: Any) -> None:
        token = watched.token

        def note() -> None:
            with write_transaction():
                Watch.objects.filter(pk=watched.source_id, token=token).update(since=since)

        self._submit(lambda: self._run_apart(note))

    @staticmethod
    def _run_apart(act: Callable[[], None]) -> None:
        try:
            act()
        except (OperationalError, InterfaceError):
            close_old_connections()
            log.exception("Since when a source tells its events could not be noted.")

    # -- Listener: from the pool's threads

    def opened(self, key: str) -> None:
        self._hear(key, self._on_opened)

    def happened(self, key: str, batch: EventBatch) -> None:
        self._hear(key, lambda watched: watched.pile.extend(batch))

    def lost(self, key: str, error: DriverError) -> None:
        self._hear(key, lambda watched: self._on_lost(watched, error))

    def _hear(self, key: str, act: Callable[[Watched], None]) -> None:
        def run() -> None:
            watched = self._by_key.get(key)
            if watched is not None:
                act(watched)
                self._stirred.add(watched)

        self._inbox.put(run)


def _wait(failures: int, error: DriverError) -> float:
    if isinstance(error, NotSupported):
        return SILENT_FOR_S
    return back_off(failures).total_seconds() if failures > 1 else FIRST_WAIT_S
