"""The relay in front of libvirtd knows the calls in a stream of messages, whatever pieces it comes in."""

from __future__ import annotations

import socket
import struct
import threading

import pytest

from tests import relay
from tests.relay import REMOTE, Kind, Relay, messages

KEEPALIVE = 0x6B656570


def message(procedure: int, *, program: int = REMOTE, kind: int = Kind.CALL, body: bytes = b"") -> bytes:
    rest = struct.pack(">IIIiII", program, 1, procedure, kind, 7, 0) + body
    return struct.pack(">I", len(rest) + 4) + rest


STREAM = (
    message(66)
    + message(2, program=KEEPALIVE)
    + message(344, body=b"x" * 999)
    + message(5, kind=Kind.REPLY)
    + message(9)
)


def send_in_pieces(target: socket.socket, size: int) -> None:
    with target:
        for start in range(0, len(STREAM), size):
            target.sendall(STREAM[start : start + size])


@pytest.mark.parametrize("size", [1, 7, 28, 100, len(STREAM)])
def test_calls_are_told_from_the_rest(size: int) -> None:
    ours, theirs = socket.socketpair()
    threading.Thread(target=send_in_pieces, args=(theirs, size), daemon=True).start()
    with ours:
        read = list(messages(ours))
    calls = [one.procedure for one in read if (one.program, one.kind) == (REMOTE, Kind.CALL)]
    assert calls == [66, 344, 9]
    assert b"".join(one.raw for one in read) == STREAM


def test_the_relay_passes_on_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(relay, "TCP_PORT", server.getsockname()[1])

        def answer() -> None:
            connection, _address = server.accept()
            with connection:
                connection.sendall(connection.recv(1 << 16))

        threading.Thread(target=answer, daemon=True).start()
        with (
            Relay("127.0.0.1", "127.0.0.1") as counter,
            socket.create_connection((counter.address, counter.port)) as client,
        ):

            def call() -> None:
                client.sendall(message(66))
                assert client.recv(1 << 16) == message(66)

            assert counter.count(call) == 1
