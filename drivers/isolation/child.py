"""The child's side: holds open sessions and runs their calls in threads.

The main thread only reads the socket, so the child always notices that its parent is gone and always says whether
it still works on something, whatever its other threads are stuck in.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from core.decoding import decode_msgpack
from drivers.base import Session
from drivers.errors import DriverError, NotFound, NotSupported, Unreachable
from drivers.isolation.files import files_for, raise_file_limit
from drivers.isolation.outbox import Outbox, Watches
from drivers.isolation.wire import (
    CONTROL_ARGUMENTS,
    METHODS,
    NOTHING,
    OPEN,
    READY,
    RELEASE,
    UNWATCH,
    WATCH,
    WORKING,
    Answer,
    Call,
    pack,
    receive_frame,
    send_frame,
    unpack,
)
from drivers.registry import load_opener
from drivers.types import Capability, Endpoint
from drivers.words import gettext_noop as _

IDLE_CLOSE_S = float(5 * 60)  # the full inventory's interval: a healthy source keeps its connection
JANITOR_INTERVAL_S = 10.0
SESSION_LIMIT_VARIABLE = "GUESTHOUSE_SESSIONS_PER_PROCESS"
PR_SET_PDEATHSIG = 1


@dataclass(slots=True, eq=False)
class _Held:
    """One open session and who uses it. `lock` is held while it opens, so that a source is opened once."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    session: Session | None = None
    holders: int = 0
    calls: int = 0
    broken: bool = False
    used_at: float = field(default_factory=time.monotonic)

    def is_idle(self) -> bool:
        return not self.holders and not self.calls and not (self.session and self.session.is_busy())


class Sessions:
    """The open sessions of this process, by key. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._guard = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._retired: list[Session] = []

    def hold(self, key: str, endpoint: Endpoint) -> frozenset[Capability]:
        """Open the session unless it is open, and keep it open until released. Returns what it can do."""
        held = self._reserve(key)
        try:
            with held.lock:
                capabilities = self._ensure_open(held, endpoint).capabilities
        except BaseException:
            self.release(key)
            raise
        self._evict()
        return capabilities

    def _reserve(self, key: str) -> _Held:
        with self._guard:
            held = self._held.setdefault(key, _Held())
            held.holders += 1
            held.used_at = time.monotonic()
            return held

    def _ensure_open(self, held: _Held, endpoint: Endpoint) -> Session:
        if held.session is not None:
            if not held.broken and held.session.is_alive():
                return held.session
            self._retire(held.session)
            held.session = None
        session = held.session = load_opener(endpoint)(endpoint)
        held.broken = False
        return session

    def release(self, key: str) -> None:
        with self._guard:
            held = self._held.get(key)
            if held is None:
                return
            held.holders = max(0, held.holders - 1)
            held.used_at = time.monotonic()
            if held.session is None and not held.holders:
                del self._held[key]

    def get(self, key: str) -> Session:
        """Raises: NotFound when the session is not open here."""
        held, session = self._enter(key)
        self._leave(held)
        return session

    def drop(self, key: str) -> None:
        """Give back, and close as soon as nothing of its own runs any more."""
        self.release(key)
        with self._guard:
            held = self._held.get(key)
            if held is not None and not held.holders:
                self._drop(key)

    def run(self, key: str, op: str, args: tuple[object, ...]) -> object:
        """Call a method of an open session.

        Raises: NotFound when the session is not open here; NotSupported when it cannot do that.
        """
        held, session = self._enter(key)
        try:
            needs = METHODS[op].needs
            if needs is not None and not isinstance(session, needs):
                raise NotSupported(_("This source cannot do that."))
            return getattr(session, op)(*args)
        except Unreachable:
            held.broken = True
            raise
        finally:
            self._leave(held)

    def _enter(self, key: str) -> tuple[_Held, Session]:
        with self._guard:
            held = self._held.get(key)
            if held is None or held.session is None:
                raise NotFound(_("The connection to this source is not open any more."))
            held.calls += 1
            return held, held.session

    def _leave(self, held: _Held) -> None:
        with self._guard:
            held.calls -= 1
            held.used_at = time.monotonic()

    def is_working(self) -> bool:
        """Whether some session still runs something of its own, such as a migration."""
        with self._guard:
            sessions = [held.session for held in self._held.values() if held.session] + self._retired
        return any(session.is_busy() for session in sessions)

    def close_idle(self) -> None:
        """Close what nobody used for long, and replaced connections whose work has ended."""
        oldest = time.monotonic() - IDLE_CLOSE_S
        with self._guard:
            for key in [k for k, held in self._held.items() if held.is_idle() and held.used_at < oldest]:
                self._drop(key)
            done = [session for session in self._retired if not session.is_busy()]
            self._retired = [session for session in self._retired if session not in done]
        for session in done:
            _close_apart(session)

    def _evict(self) -> None:
        with self._guard:
            idle = sorted((h.used_at, key) for key, h in self._held.items() if h.is_idle())
            for _used_at, key in idle[: max(0, len(self._held) - self._limit)]:
                self._drop(key)

    def _drop(self, key: str) -> None:
        session = self._held.pop(key).session
        if session is not None:
            self._retired.append(session)

    def _retire(self, session: Session) -> None:
        with self._guard:
            self._retired.append(session)


def _close_apart(session: Session) -> None:
    # Closing talks to the hypervisor, which may hang; only this thread would.
    threading.Thread(target=session.close, daemon=True, name="close").start()


class Server:
    """Reads calls from the socket, answers each from a thread of its own."""

    def __init__(self, sock: socket.socket, sessions: Sessions) -> None:
        self._sock = sock
        self._sessions = sessions
        self._write = threading.Lock()
        self._watches = Watches(sessions, Outbox(self._answer))

    def serve(self) -> None:
        """Serve until the parent closes its end."""
        self._answer(Answer(0, "", READY, NOTHING))
        threading.Thread(target=self._keep_tidy, daemon=True, name="janitor").start()
        while (frame := receive_frame(self._sock)) is not None:
            call = decode_msgpack(frame, Call)
            if call.op == WORKING:
                self._answer(Answer(call.id, "", "", pack(self._sessions.is_working())))
            else:
                threading.Thread(target=self._handle, args=(call,), daemon=True, name=call.op).start()

    def _keep_tidy(self) -> None:
        while True:
            time.sleep(JANITOR_INTERVAL_S)
            self._sessions.close_idle()

    def _handle(self, call: Call) -> None:
        try:
            answer = Answer(call.id, "", "", self._perform(call))
        except DriverError as error:
            answer = Answer(call.id, error.code, error.template, NOTHING, error.parameters)
        except Exception as error:  # noqa: BLE001 (the process boundary: whatever went wrong must answer the caller)
            # Only the type and the place: the text of an unknown error may hold what it must not.
            sys.stderr.write(f"{call.op}: {type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}")
            answer = Answer(
                call.id, DriverError.code, _("The driver failed in an unexpected way; see the log."), NOTHING
            )
        self._answer(answer)

    def _perform(self, call: Call) -> msgspec.Raw:
        if call.op in METHODS:
            method = METHODS[call.op]
            return pack(self._sessions.run(call.key, call.op, unpack(call.args, method.arguments)))
        arguments = unpack(call.args, CONTROL_ARGUMENTS[call.op])
        control: dict[str, Callable[..., object]] = {
            OPEN: self._sessions.hold,
            RELEASE: self._sessions.release,
            WATCH: self._watches.start,
            UNWATCH: self._watches.stop,
        }
        return pack(control[call.op](call.key, *arguments))

    def _answer(self, answer: Answer) -> None:
        with self._write:
            try:
                send_frame(self._sock, answer)
            except OSError:
                os._exit(0)  # nobody listens any more


def _die_with_parent(parent_pid: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the line above
        os._exit(0)


def main(fd: int, parent_pid: int) -> None:
    """Serve one parent over the socket it left open as `fd`, and end with it."""
    _die_with_parent(parent_pid)
    # The parent decides when we end (end of stream): a Ctrl-C or a stop of the whole group must not cut its last calls.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # sessions hold credentials
    sock = socket.socket(fileno=fd)
    sessions = int(os.environ[SESSION_LIMIT_VARIABLE])
    raise_file_limit(files_for(sessions))
    try:
        Server(sock, Sessions(sessions)).serve()
    finally:
        os._exit(0)  # never wait for threads that hang
