"""Asks a host for everything and decides nothing. State and load take a constant number of round trips."""

from __future__ import annotations

from datetime import UTC, datetime

from drivers.libvirt.agents import Agents
from drivers.libvirt.collect_guests import STATE, STATE_AND_LOAD, GuestCollector, all_stats
from drivers.libvirt.collect_host import KeptDevices, read_host, read_host_load
from drivers.libvirt.collect_networks import Networks
from drivers.libvirt.collect_storage import Storage
from drivers.libvirt.connection import Connection
from drivers.libvirt.raw import RawGuest, RawInventory, RawReading
from drivers.libvirt.reader import Reader


def read_inventory(
    connection: Connection,
    agents: Agents | None = None,
    kept: KeptDevices | None = None,
    storage: Storage | None = None,
) -> RawInventory:
    """The full inventory. Incomplete when something that is there could not be read."""
    started_at = datetime.now(UTC)
    reader = Reader(connection)
    host = read_host(reader, kept or KeptDevices())
    if storage is not None:
        storage.start()
    networks = Networks(reader)
    raw_networks = networks.read()
    guests = GuestCollector(reader, networks.leases(), agents).read()
    bridges = networks.bridges(guest.xml for guest in guests)
    pools, pools_whole = storage.found() if storage is not None else ((), False)
    return RawInventory(started_at, reader.complete and pools_whole, host, guests, pools, raw_networks, bridges)


def read_states(connection: Connection, *, bare: bool = False) -> RawReading:
    """State and load of all guests and the host: four calls, six round trips, whatever their number.

    `bare` leaves out the guests' load, for which libvirt has to ask them.
    """
    started_at = datetime.now(UTC)
    host = read_host_load(Reader(connection))
    stats = all_stats(connection, STATE if bare else STATE_AND_LOAD)
    guests = (RawGuest(uuid=uuid, name=name, stats=values) for uuid, name, values in stats)
    return RawReading(started_at, host, tuple(guests), bare)
