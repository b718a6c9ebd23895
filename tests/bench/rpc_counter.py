"""Counts the calls a libvirt client makes: a relay that reads the headers of its messages.

Source: https://libvirt.org/internals/rpc.html: each message begins with its length, program, version, procedure, type.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

TCP_PORT = 16509
REMOTE = 0x20008086  # the program of ordinary calls; keep-alives have another
CALL = 0
_HEADER = struct.Struct(">IIIIi")
_PIECE = 1 << 16


class CallReader:
    """Knows the calls in a stream of messages, whatever pieces it comes in. Pure."""

    def __init__(self) -> None:
        self.procedures: list[int] = []
        self._rest = b""

    def feed(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) >= _HEADER.size:
            length, program, _version, procedure, kind = _HEADER.unpack_from(self._rest)
            if len(self._rest) < length:
                return
            if program == REMOTE and kind == CALL:
                self.procedures.append(procedure)
            self._rest = self._rest[length:]


class RpcCounter:
    """A relay to a host's libvirtd on a port of its own; all its connections count together."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address, self.port = self._server.getsockname()
        self._readers: list[CallReader] = []
        self._sockets: list[socket.socket] = []

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
        """How many calls it makes."""
        before = self._total()
        call()
        return self._total() - before

    def _total(self) -> int:
        return sum(len(reader.procedures) for reader in self._readers)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _address = self._server.accept()
                server = socket.create_connection((self._target, TCP_PORT))
                reader = CallReader()
                self._readers.append(reader)
                self._sockets += [client, server]
                for one, other, feed in ((client, server, reader.feed), (server, client, None)):
                    threading.Thread(target=_relay, args=(one, other, feed), daemon=True).start()


def _relay(source: socket.socket, target: socket.socket, feed: Callable[[bytes], None] | None) -> None:
    """Until either side ends. A call is counted before it is passed on, so before its answer."""
    with suppress(OSError):
        while data := source.recv(_PIECE):
            if feed:
                feed(data)
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
