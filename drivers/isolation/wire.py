"""What crosses the socket between the pool and a child: length-prefixed msgpack of known types, never pickle."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from inspect import isfunction
from typing import Any, get_type_hints

import msgspec

from core.decoding import decode_msgpack
from drivers.base import MigrationOps, PowerOps, WatchOps
from drivers.ops import ContentOps, DefineOps, DeviceOps, EditOps, NetworkOps, SnapshotOps, StorageOps, TaskOps
from drivers.types import (
    Endpoint,
    Finding,
    GuestSighting,
    MigrationPlan,
    MigrationProgress,
    PowerAction,
    Snapshot,
    StateReading,
)
from drivers.words import Parameter

# A snapshot of a thousand guests is about 2 MB; the bound only stops a broken peer from filling memory.
MAX_FRAME_BYTES = 256 * 1024 * 1024
_HEADER = struct.Struct("!I")


class Call(msgspec.Struct, array_like=True):
    """Asks for one operation. `key` names the session; `args` are packed by the operation's own types."""

    id: int
    op: str
    key: str
    args: msgspec.Raw


class Answer(msgspec.Struct, array_like=True):
    """Ends one call. An empty `code` means it worked; else `template` and `parameters` are the error's sentence."""

    id: int
    code: str
    template: str
    body: msgspec.Raw
    parameters: dict[str, Parameter] = {}


@dataclass(frozen=True, slots=True)
class Method:
    """One session method that may be called from outside; `needs` is the protocol a session must have for it."""

    arguments: Any
    result: Any
    needs: type | None = None


def methods_of(protocol: type) -> dict[str, Method]:
    """What a protocol itself declares, packed by its own annotations."""
    found = {}
    for name, method in vars(protocol).items():
        if isfunction(method) and not name.startswith("_"):
            hints = get_type_hints(method)
            result = hints.pop("return")
            found[name] = Method(tuple[tuple(hints.values())], result, protocol)  # type: ignore[misc]
    return found


METHODS: dict[str, Method] = {
    "snapshot": Method(tuple[()], Snapshot),
    "read_states": Method(tuple[()], StateReading),
    "sight_guest": Method(tuple[str], GuestSighting | None),
    "is_alive": Method(tuple[()], bool),
    "is_busy": Method(tuple[()], bool),
    "prepare_power": Method(tuple[str], None, PowerOps),
    "power": Method(tuple[str, PowerAction, float], None, PowerOps),
    "check_migration": Method(tuple[MigrationPlan], tuple[Finding, ...], MigrationOps),
    "start_migration": Method(tuple[MigrationPlan, str, float], None, MigrationOps),
    "find_migration": Method(tuple[str, str], bool, MigrationOps),
    "poll_migration": Method(tuple[str, str], MigrationProgress, MigrationOps),
    "cancel_migration": Method(tuple[str, str], None, MigrationOps),
    "clear_stamp": Method(tuple[str, str], None, MigrationOps),
    "read_guests": Method(tuple[tuple[str, ...]], StateReading, WatchOps),
    **methods_of(TaskOps),
    **methods_of(SnapshotOps),
    **methods_of(EditOps),
    **methods_of(DeviceOps),
    **methods_of(DefineOps),
    **methods_of(StorageOps),
    **methods_of(ContentOps),
    **methods_of(NetworkOps),
}
"""Everything a child will do with a session. A name that is not here is refused."""

OPEN, RELEASE, WORKING, READY = "open", "release", "working", "ready"
WATCH, UNWATCH = "watch", "unwatch"
CONTROL_ARGUMENTS: dict[str, Any] = {
    OPEN: tuple[Endpoint],
    RELEASE: tuple[()],
    WORKING: tuple[()],
    WATCH: tuple[Endpoint],
    UNWATCH: tuple[()],
}
NEWS = -1
"""The id of an answer nobody asked for: its body is (key, EventBatch); with a code, the key's stream has ended."""
NOTHING = msgspec.Raw(msgspec.msgpack.encode(None))


def pack(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(value))


def unpack(raw: msgspec.Raw, shape: Any) -> Any:
    return decode_msgpack(raw, shape)


def send_frame(sock: socket.socket, message: Call | Answer) -> None:
    """Send one message. The caller holds the socket's write lock."""
    body = msgspec.msgpack.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError("message too large")
    sock.sendall(_HEADER.pack(len(body)) + body)


def receive_frame(sock: socket.socket) -> bytes | None:
    """Read one message's bytes; None at the end of the stream."""
    header = _receive_exactly(sock, _HEADER.size)
    if header is None:
        return None
    (length,) = _HEADER.unpack(header)
    if length > MAX_FRAME_BYTES:
        return None
    return _receive_exactly(sock, length)


def _receive_exactly(sock: socket.socket, length: int) -> bytes | None:
    buffer = bytearray(length)
    view = memoryview(buffer)
    received = 0
    while received < length:
        count = sock.recv_into(view[received:])
        if not count:
            return None
        received += count
    return bytes(buffer)
