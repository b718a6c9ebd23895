"""Calls are counted from the headers of libvirt's messages, whatever pieces they come in."""

from __future__ import annotations

import socket
import struct
import threading

import pytest

from tests.bench import rpc_counter
from tests.bench.rpc_counter import CALL, REMOTE, CallReader, RpcCounter

KEEPALIVE, REPLY = 0x6B656570, 1


def message(procedure: int, *, program: int = REMOTE, kind: int = CALL, body: bytes = b"") -> bytes:
    rest = struct.pack(">IIIiII", program, 1, procedure, kind, 7, 0) + body
    return struct.pack(">I", len(rest) + 4) + rest


STREAM = (
    message(66) + message(2, program=KEEPALIVE) + message(344, body=b"x" * 999) + message(5, kind=REPLY) + message(9)
)


@pytest.mark.parametrize("size", [1, 7, 28, 100, len(STREAM)])
def test_calls_are_told_from_the_rest(size: int) -> None:
    reader = CallReader()
    for start in range(0, len(STREAM), size):
        reader.feed(STREAM[start : start + size])
    assert reader.procedures == [66, 344, 9]


def test_the_relay_passes_on_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(rpc_counter, "TCP_PORT", server.getsockname()[1])

        def answer() -> None:
            connection, _address = server.accept()
            with connection:
                connection.sendall(connection.recv(1 << 16))

        threading.Thread(target=answer, daemon=True).start()
        with (
            RpcCounter("127.0.0.1") as counter,
            socket.create_connection((counter.address, counter.port)) as client,
        ):

            def call() -> None:
                client.sendall(message(66))
                assert client.recv(1 << 16) == message(66)

            assert counter.count(call) == 1
