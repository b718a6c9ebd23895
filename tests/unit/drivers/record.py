"""Records what a libvirt host answers, for the parser's tests: `python -m tests.unit.drivers.record ADDRESS FILE`.

A recording is only as anonymous as the host: look at it before you keep it.
"""

import sys
from functools import partial
from pathlib import Path

import msgspec

from drivers.libvirt import collect
from drivers.libvirt.collect_storage import Storage
from drivers.libvirt.connection import Connection
from drivers.libvirt.raw import RawInventory, RawReading
from drivers.types import Endpoint, Transport


class Recording(msgspec.Struct):
    """A host's answers at one moment."""

    inventory: RawInventory
    reading: RawReading


def record(address: str) -> Recording:
    endpoint = Endpoint(kind="libvirt", transport=Transport.TCP, address=address)
    connection = Connection(endpoint)
    storage = Storage(partial(Connection, endpoint))
    try:
        return Recording(collect.read_inventory(connection, storage=storage), collect.read_states(connection))
    finally:
        connection.close()


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(msgspec.json.format(msgspec.json.encode(record(sys.argv[1])), indent=1) + b"\n")
