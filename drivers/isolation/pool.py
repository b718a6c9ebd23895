"""The pool of child processes, and which source lives in which.

A call past its deadline raises Unreachable at once. Its child is poisoned: it takes no new calls, the calls of other
sources in it may finish, then it is killed; a fresh child takes its place immediately. A poisoned child in which a
migration still runs lives on until that ends (at most DRAIN_LIMIT_S): killing it would cut a direct migration in the
middle, and lose what a peer-to-peer one would answer. The source that hung is opened in a quarantine process of its
own from then on, until it has answered for long enough, so that it does not disturb the others again.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager

import msgspec

from drivers.errors import Unreachable
from drivers.isolation.child import IDLE_CLOSE_S
from drivers.isolation.process import START_LIMIT_S, Child, Late, NotSent
from drivers.isolation.remote import RemoteSession
from drivers.isolation.wire import OPEN
from drivers.types import Capability, Endpoint
from drivers.words import gettext_noop as _

log = logging.getLogger(__name__)

DEFAULT_PROCESSES = 2  # about 35 MB each
DEFAULT_SESSIONS_PER_PROCESS = 128
DEFAULT_DEADLINE_S = 30.0
QUARANTINE_LIMIT = 8  # more hanging sources than this share quarantine processes among themselves
DRAIN_LIMIT_S = 12 * 3600.0  # a huge, busy guest over a slow link moves for hours
DRAIN_INTERVAL_S = 0.2
SWEEP_INTERVAL_S = 15.0
PAROLE_S = 600.0  # this long without another hang, and a source may live among the others again


class SessionPool:
    """A bounded pool of sessions in killable child processes. Thread-safe."""

    def __init__(
        self,
        *,
        processes: int = DEFAULT_PROCESSES,
        sessions_per_process: int = DEFAULT_SESSIONS_PER_PROCESS,
    ) -> None:
        self._processes = max(1, processes)
        self._sessions_per_process = sessions_per_process
        self._reset()

    def _reset(self) -> None:
        self._guard = threading.Lock()
        self._shared: list[Child | None] = [None] * self._processes
        self._quarantine: dict[str, Child] = {}
        self._suspects: dict[str, float] = {}  # by key: when it last hung
        self._sweeping = False
        self._draining: set[Child] = set()
        self._undrained: set[Child] = set()  # of those: the ones whose thread could not be started yet
        self._digest_key = secrets.token_bytes(32)
        self._starter = _Starter()
        self._closed = threading.Event()

    @contextmanager
    def session(self, endpoint: Endpoint, *, deadline_s: float = DEFAULT_DEADLINE_S) -> Iterator[RemoteSession]:
        """An open session; `deadline_s` bounds the opening and, unless overridden, each call."""
        remote = RemoteSession(self, endpoint, self._key_of(endpoint), deadline_s)
        remote.open()
        try:
            yield remote
        finally:
            remote.close()

    def hold(self, endpoint: Endpoint, key: str, deadline_s: float) -> tuple[Child, frozenset[Capability]]:
        """Open `endpoint` in its child, or take the session that is open there, and keep it open until released."""
        while True:
            child = self._child_for(key)
            child.wait_ready()
            try:
                return child, child.call(OPEN, key, (endpoint,), frozenset[Capability], deadline_s)
            except NotSent:
                continue  # the next one is a fresh child
            except Late:
                raise self.give_up(child, key, endpoint, deadline_s) from None

    def give_up(self, child: Child, key: str, endpoint: Endpoint, deadline_s: float) -> Unreachable:
        """Take a child with a hanging call out of service; return what to raise."""
        with self._guard:
            self._suspects[key] = time.monotonic()
            if not child.poisoned:
                child.poisoned = True
                self._draining.add(child)
                self._undrained.add(child)
            self._start_draining()
        return _late(endpoint.address, deadline_s)

    def close(self) -> None:
        """End every child. Calls in flight fail with Unreachable."""
        with self._guard:
            self._closed.set()
            children = self._children()
        self._starter.stop()
        for child in children:
            child.kill()

    def process_ids(self) -> tuple[int, ...]:
        """The children that live now."""
        with self._guard:
            return tuple(child.pid for child in self._children() if not child.dead)

    def reset_after_fork(self) -> None:
        """In a forked copy of the process: the children belong to the original; begin anew."""
        for child in self._children():
            child.forget_after_fork()
        self._reset()

    def _key_of(self, endpoint: Endpoint) -> str:
        # Keyed by a secret of this process: a digest that shows up somewhere tells nothing about a password.
        return hashlib.blake2b(msgspec.msgpack.encode(endpoint), key=self._digest_key, digest_size=16).hexdigest()

    def _children(self) -> list[Child]:
        return [c for c in self._shared if c] + list(self._quarantine.values()) + list(self._draining)

    def _child_for(self, key: str) -> Child:
        with self._guard:
            if self._closed.is_set():
                raise Unreachable(_("The connections are closed: the program is stopping."))
            self._start_draining()
            if key in self._suspects:
                return self._quarantine_child(key)
            slot = int(key[:8], 16) % len(self._shared)
            child = self._shared[slot]
            if child is None or not child.accepting:
                child = self._shared[slot] = self._starter.start(self._sessions_per_process)
            return child

    def _quarantine_child(self, key: str) -> Child:
        child = self._quarantine.get(key)
        if child is not None and child.accepting:
            return child
        self._start_sweeping()
        living = {c for c in self._quarantine.values() if c.accepting}
        if len(living) >= QUARANTINE_LIMIT:
            child = min(living, key=lambda c: c.calls_in_flight)
        else:
            child = self._starter.start(self._sessions_per_process)
        self._quarantine[key] = child
        return child

    def _start_draining(self) -> None:
        """Also what an earlier call could not start a thread for."""
        self._undrained -= {child for child in self._undrained if _start_thread("drain", self._drain, child)}

    def _drain(self, child: Child) -> None:
        give_up_at = time.monotonic() + DRAIN_LIMIT_S
        while not child.dead and time.monotonic() < give_up_at:
            if not child.is_working() and child.retire():
                break
            time.sleep(DRAIN_INTERVAL_S)
        child.kill()
        with self._guard:
            self._draining.discard(child)

    def _start_sweeping(self) -> None:
        self._sweeping = self._sweeping or _start_thread("session-sweeper", self._sweep_now_and_then)

    def _sweep_now_and_then(self) -> None:
        while not self._closed.wait(SWEEP_INTERVAL_S):
            self.sweep()

    def sweep(self) -> None:
        """End quarantine processes whose sources nobody used, or which answered, for long; those may come back."""
        with self._guard:
            rested = {key: child for key, child in self._quarantine.items() if self._has_rested(key, child)}
        over = {child for child in set(rested.values()) if child.dead or (not child.is_working() and child.retire())}
        with self._guard:
            for key in [key for key, child in rested.items() if child in over]:
                if self._quarantine.get(key) is rested[key]:
                    del self._quarantine[key]
                    self._suspects.pop(key, None)
        for child in over:
            child.kill()

    def _has_rested(self, key: str, child: Child) -> bool:
        now = time.monotonic()
        unused = child.used_at < now - IDLE_CLOSE_S
        answering = self._suspects.get(key, 0.0) < now - PAROLE_S
        return (unused or answering) and not child.calls_in_flight


def _late(address: str, deadline_s: float) -> Unreachable:
    if not address:
        return Unreachable(
            _("The source did not answer within %(seconds)g seconds. Check the host and the network."),
            seconds=deadline_s,
        )
    return Unreachable(
        _("%(address)s did not answer within %(seconds)g seconds. Check the host and the network."),
        address=address,
        seconds=deadline_s,
    )


def _start_thread(name: str, act: Callable[..., None], *args: object) -> bool:
    """Whether it runs: a machine short of memory or of threads refuses one now, and grants it later."""
    try:
        threading.Thread(target=act, args=args, daemon=True, name=name).start()
    except RuntimeError:
        log.warning("The thread %s could not be started.", name)
        return False
    return True


class _Starter:
    """Starts children from one thread that lives as long as the pool.

    A child asks the kernel to die with its parent, and the kernel means the thread that started it: started from a
    short-lived thread, it would be killed with that.
    """

    def __init__(self) -> None:
        self._wishes: queue.Queue[tuple[int, Future[Child]] | None] = queue.Queue()
        self._working = False

    def start(self, sessions_limit: int) -> Child:
        """Start a child; returns before it is ready. The caller holds the pool's lock.

        Raises: Unreachable.
        """
        self._working = self._working or _start_thread("session-starter", self._work)
        if not self._working:
            raise _not_started()
        wish: Future[Child] = Future()
        self._wishes.put((sessions_limit, wish))
        try:
            return wish.result(START_LIMIT_S)
        except FutureTimeout:
            if not wish.cancel():
                wish.add_done_callback(_end_unwanted)
            raise _not_started() from None

    def stop(self) -> None:
        self._wishes.put(None)

    def _work(self) -> None:
        while (wish := self._wishes.get()) is not None:
            self._grant(*wish)

    @staticmethod
    def _grant(sessions_limit: int, wish: Future[Child]) -> None:
        if not wish.set_running_or_notify_cancel():  # whoever wished gave up
            return
        try:
            wish.set_result(Child(sessions_limit))
        except Exception:  # no memory, no thread: whatever it is, this thread must serve the next wish
            log.exception("A helper process could not be started.")
            wish.set_exception(_not_started())


def _end_unwanted(wish: Future[Child]) -> None:
    """It came after whoever wished for it had given up."""
    if wish.exception() is None:
        wish.result().kill()


def _not_started() -> Unreachable:
    return Unreachable(_("A helper process for connections could not be started."))


_DEFAULT = SessionPool()  # costs nothing until it is used
atexit.register(_DEFAULT.close)
os.register_at_fork(after_in_child=_DEFAULT.reset_after_fork)


def default_pool() -> SessionPool:
    """This process's pool. It starts children on first use and ends them with the process; a fork starts its own."""
    return _DEFAULT
