"""The parent's handle of one child process: start, call with a deadline, kill."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from core.decoding import decode_msgpack
from drivers.errors import ERRORS, DriverError, Unreachable
from drivers.isolation.child import SESSION_LIMIT_VARIABLE
from drivers.isolation.wire import NEWS, WORKING, Answer, Call, pack, receive_frame, send_frame, unpack
from drivers.words import gettext_noop as _

HOME = Path(__file__).resolve().parent.parent.parent
REAP_LIMIT_S = 5.0
START_LIMIT_S = 30.0  # a Python start on a machine under heavy load
SEND_LIMIT_S = 10.0  # a child only has to read: one that takes nothing for so long is stopped
_TIMEVAL = struct.Struct("@ll")
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH")
"""The environment a child gets. Everything else, such as the database's address, is not its business."""


class NotSent(Exception):
    """The child was already gone; the call had no effect and may be made again in another child."""


class Late(Exception):
    """A call passed its deadline. Its thread in the child may hang for ever."""


class Child:
    """One child process. Thread-safe. Never reused once it is poisoned or dead."""

    def __init__(self, sessions_limit: int, on_news: Callable[[Answer | None], None] | None = None) -> None:
        """`on_news` hears, in the thread that reads answers, what nobody asked for, and None at the child's end."""
        self._on_news = on_news
        self._write = threading.Lock()
        self._guard = threading.Lock()
        self._pending: dict[int, Future[msgspec.Raw]] = {}
        self._ids = itertools.count(1)
        self._ready = threading.Event()
        self._started = False
        self.poisoned = False
        self.dead = False
        self.used_at = time.monotonic()
        # Its temporary files, such as a tunnel's socket, go with it, however it ends.
        self._folder = tempfile.mkdtemp(prefix="guesthouse-")
        try:
            self._start(sessions_limit)
        except BaseException:
            self._remove_folder()
            raise

    def _start(self, sessions_limit: int) -> None:
        self._sock, self._process = self._spawn(sessions_limit)
        try:
            threading.Thread(target=self._read_answers, daemon=True, name=f"session-child-{self.pid}").start()
        except RuntimeError:  # no more threads
            self.kill()
            self._sock.close()
            raise

    def _spawn(self, sessions_limit: int) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        ours, theirs = socket.socketpair()
        whole, part = divmod(SEND_LIMIT_S, 1.0)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(int(whole), int(part * 1e6)))
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment |= {SESSION_LIMIT_VARIABLE: str(sessions_limit), "TMPDIR": self._folder}
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "drivers.isolation", str(theirs.fileno()), str(os.getpid())],
                cwd=HOME,
                env=environment,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        return ours, process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def accepting(self) -> bool:
        return not self.poisoned and not self.dead

    @property
    def calls_in_flight(self) -> int:
        return len(self._pending)

    def wait_ready(self) -> None:
        """Wait until the child serves. Raises: Unreachable when it does not start."""
        if not self._ready.wait(START_LIMIT_S) or not self._started:
            self.kill()
            raise Unreachable(_("A helper process for connections did not start. Is the machine out of memory?"))

    def call(self, op: str, key: str, args: tuple[object, ...], result: Any, deadline_s: float) -> Any:
        """Run one operation in the child.

        Raises: Late past the deadline; Unreachable when the child dies; NotSent when it was gone before.
        """
        number, future = self._send(op, key, args)
        try:
            raw = future.result(timeout=deadline_s)
        except FutureTimeout:
            raise Late from None
        finally:
            self._forget(number)
        return unpack(raw, result)

    def begin(self, op: str, key: str, args: tuple[object, ...], done: Callable[[DriverError | None], None]) -> None:
        """Run one operation without waiting; `done` hears, in the thread that reads answers, how it went.

        Raises: NotSent.
        """
        self.start(op, key, args).add_done_callback(lambda ended: done(_error_of(ended)))

    def start(self, op: str, key: str, args: tuple[object, ...]) -> Future[msgspec.Raw]:
        """Run one operation without waiting. The answer arrives however late it is, or Unreachable when the child dies.

        Raises: NotSent.
        """
        _number, future = self._send(op, key, args)
        return future

    def post(self, op: str, key: str) -> None:
        """Send without waiting for the answer; harmless when the child is gone."""
        try:
            number, future = self._send(op, key, ())
        except NotSent:
            return
        future.add_done_callback(lambda _done: self._forget(number))

    def is_working(self) -> bool:
        """Whether a session in there still runs a migration of its own. A child too stuck to say so does not count."""
        try:
            return bool(self.call(WORKING, "", (), bool, deadline_s=5.0))
        except (Late, NotSent, Unreachable):
            return False

    def retire(self) -> bool:
        """Close the child to calls if none is in flight. Returns whether it is closed."""
        with self._guard:
            self.dead = self.dead or not self._pending
            return self.dead

    def _send(self, op: str, key: str, args: tuple[object, ...]) -> tuple[int, Future[msgspec.Raw]]:
        self.used_at = time.monotonic()
        number = next(self._ids)
        future: Future[msgspec.Raw] = Future()
        with self._guard:
            if self.dead:
                raise NotSent
            self._pending[number] = future
        try:
            with self._write:
                send_frame(self._sock, Call(number, op, key, pack(args)))
        except OSError:
            self._forget(number)
            self.kill()  # it may live, and what follows a frame cut short means nothing to it
            raise NotSent from None  # a frame cut short is never acted on
        return number, future

    def _forget(self, number: int) -> None:
        self.used_at = time.monotonic()
        with self._guard:
            self._pending.pop(number, None)

    def _read_answers(self) -> None:
        try:
            while (frame := receive_frame(self._sock)) is not None:
                self._settle(decode_msgpack(frame, Answer))
        except (OSError, msgspec.MsgspecError):
            pass  # as the end of the stream: the child is of no more use
        finally:  # also when whoever hears the news fails: nobody waits for answers that nobody reads
            self._fail_all()

    def _settle(self, answer: Answer) -> None:
        if answer.id == 0:
            self._started = True
            self._ready.set()
            return
        if answer.id == NEWS:
            if self._on_news is not None:
                self._on_news(answer)
            return
        with self._guard:
            future = self._pending.pop(answer.id, None)
        if future is None:  # its caller gave up
            return
        if answer.code:
            future.set_exception(ERRORS.get(answer.code, DriverError)(answer.template, **answer.parameters))
        else:
            future.set_result(answer.body)

    def _fail_all(self) -> None:
        with self._guard:
            self.dead = True
            lost, self._pending = list(self._pending.values()), {}
        self._ready.set()
        for future in lost:
            future.set_exception(_broken())
        self.kill()
        with self._write:
            self._sock.close()
        if self._on_news is not None:
            self._on_news(None)

    def kill(self) -> None:
        """End the process now; its calls fail with Unreachable."""
        self.dead = True
        self._process.kill()
        with suppress(OSError):  # wakes the reader, which settles what is pending
            self._sock.shutdown(socket.SHUT_RDWR)
        with suppress(subprocess.TimeoutExpired):  # stuck in the kernel: it goes when that lets it
            self._process.wait(timeout=REAP_LIMIT_S)
        self._remove_folder()

    def _remove_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def forget_after_fork(self) -> None:
        """In a forked copy of the parent: let go of the socket, touch nothing else."""
        self.dead = True
        self._sock.close()


def _error_of(ended: Future[msgspec.Raw]) -> DriverError | None:
    error = ended.exception()
    return error if isinstance(error, DriverError) else None


def _broken() -> Unreachable:
    return Unreachable(_("The connection was lost because its helper process ended. It will be opened again."))
