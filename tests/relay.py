"""A relay in front of a host's libvirtd that counts calls, and strikes at the very one a test names.

Source: https://libvirt.org/internals/rpc.html: each message begins with its length, program, version, procedure, type,
serial and status. Numbers of procedures: src/remote/remote_protocol.x of libvirt.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from types import TracebackType
from typing import Self

TCP_PORT = 16509
REMOTE = 0x20008086  # the program of ordinary calls; keep-alives have another
_HEADER = struct.Struct(">IIIiiIi")
_PIECE = 1 << 16


class Procedure(IntEnum):
    """Calls that tests strike at."""

    NETWORK_DEFINE_XML = 41
    NETWORK_UNDEFINE = 49
    STORAGE_VOL_CREATE_XML = 93
    STORAGE_VOL_DELETE = 94
    DOMAIN_ATTACH_DEVICE_FLAGS = 160
    DOMAIN_UPDATE_DEVICE_FLAGS = 174
    DOMAIN_SNAPSHOT_CREATE_XML = 185
    DOMAIN_REVERT_TO_SNAPSHOT = 192
    STORAGE_VOL_UPLOAD = 208
    DOMAIN_UNDEFINE_FLAGS = 231
    DOMAIN_GET_METADATA = 265
    CONNECT_LIST_ALL_STORAGE_POOLS = 281


class Kind(IntEnum):
    """Types of message."""

    CALL = 0
    REPLY = 1
    STREAM = 3


@dataclass(slots=True, eq=False)
class Trap:
    """Strikes once, at the `nth` message of its kind.

    In flight: `strike` is called, then the message is passed on. Unanswered: the message is passed on, and once its
    answer has come the line is silent; so the host did it and nobody heard.
    """

    procedure: Procedure
    kind: Kind = Kind.CALL
    nth: int = 1
    unanswered: bool = False
    strike: Callable[[], object] = lambda: None
    sprung: threading.Event = field(default_factory=threading.Event)
    taken: threading.Event = field(default_factory=threading.Event)  # its message is here; it strikes now


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it is on the wire."""

    raw: bytes
    program: int
    procedure: int
    kind: int
    serial: int


def messages(source: socket.socket) -> Iterator[Message]:
    """Until the other side has ended."""
    rest = b""
    while True:
        while len(rest) >= _HEADER.size:
            length, program, _version, procedure, kind, serial, _status = _HEADER.unpack_from(rest)
            if len(rest) < length:
                break
            yield Message(rest[:length], program, procedure, kind, serial)
            rest = rest[length:]
        piece = source.recv(_PIECE)
        if not piece:
            return
        rest += piece


class Relay:
    """All its connections go to one host. Whoever is reached through it can be struck at a call.

    `seen`: the procedures called; each is there before its call is passed on, so before its answer.
    """

    def __init__(self, bind: str, target: str) -> None:
        self._target = target
        self._server = socket.create_server((bind, 0))
        self.address, self.port = self._server.getsockname()
        self._trap: Trap | None = None
        self._guard = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.seen: list[int] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (self._server, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def count(self, call: Callable[[], object]) -> int:
        """How many calls it makes of the host."""
        before = len(self.seen)
        call()
        return len(self.seen) - before

    def arm(self, trap: Trap) -> Trap:
        """In place of one that did not strike."""
        self._trap = trap
        return trap

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _address = self._server.accept()
                try:
                    server = socket.create_connection((self._target, TCP_PORT))
                except OSError:
                    client.close()
                    continue
                self._sockets += [client, server]
                _Line(self, client, server).start()

    def take(self, message: Message) -> Trap | None:
        """The trap, when this is the message that it waits for."""
        if message.program != REMOTE:
            return None
        with self._guard:
            if message.kind == Kind.CALL:
                self.seen.append(message.procedure)
            trap = self._trap
            if trap is None or (message.procedure, message.kind) != (trap.procedure, trap.kind):
                return None
            trap.nth -= 1
            if trap.nth:
                return None
            self._trap = None
            trap.taken.set()
            return trap


class _Line:
    """One connection."""

    def __init__(self, relay: Relay, client: socket.socket, server: socket.socket) -> None:
        self._relay, self._client, self._server = relay, client, server
        self._unheard: tuple[int, Trap] | None = None  # the serial of the call whose answer nobody is to hear
        self._silent = False

    def start(self) -> None:
        for way in (self._ask, self._answer):
            threading.Thread(target=way, daemon=True).start()

    def _ask(self) -> None:
        with suppress(OSError):
            for message in messages(self._client):
                trap = self._relay.take(message)
                if trap is not None and trap.unanswered:
                    self._unheard = (message.serial, trap)
                elif trap is not None:
                    trap.strike()
                self._server.sendall(message.raw)
                if trap is not None and not trap.unanswered:
                    trap.sprung.set()
        # Only this way: what was sent is still to arrive, whoever sent it is gone.
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_WR)

    def _answer(self) -> None:
        with suppress(OSError):
            for message in messages(self._server):
                if not self._silent and not self._is_unheard(message):
                    with suppress(OSError):
                        self._client.sendall(message.raw)
        for one in (self._client, self._server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _is_unheard(self, message: Message) -> bool:
        if self._unheard is None or (message.serial, message.kind) != (self._unheard[0], Kind.REPLY):
            return False
        self._silent = True
        trap = self._unheard[1]
        trap.strike()
        trap.sprung.set()
        return True
