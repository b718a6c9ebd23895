"""What operations add to a simulated world; kept as JSON beside the rest."""

from __future__ import annotations

import msgspec


class FakeSnapshot(msgspec.Struct, kw_only=True):
    name: str
    parent: str = ""
    created_at: float = 0.0
    state: str = "off"
    notes: str = ""
    memory: bool = False
    external: bool = False
    stamp: str = ""  # of the operation that took it
    guest: msgspec.Raw = msgspec.Raw(b"null")  # the guest as it was


class FakeVolume(msgspec.Struct, kw_only=True):
    name: str
    capacity_bytes: int
    format: str = "qcow2"
    allocated: bool = False  # ahead, all of it
    written_bytes: int = 0
    digest: str = ""  # of what was uploaded


class FakeTask(msgspec.Struct, kw_only=True):
    """A lasting operation under way or ended. It goes on whether or not anybody asks."""

    stamp: str
    owner: str
    started_at: float
    seconds: float
    bytes_total: int
    volume: str = ""  # a copy that is whole only at its end
    error: str = ""  # an effect of `faults` that it ends with, undone
