"""Asks a host for everything and decides nothing. State and load take a constant number of round trips."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import libvirt

from drivers.errors import Busy, NotFound, NotSupported, Rejected
from drivers.libvirt.collect_networks import Networks
from drivers.libvirt.collect_storage import read_pools
from drivers.libvirt.connection import Connection
from drivers.libvirt.raw import RawGuest, RawHost, RawInventory, RawReading
from drivers.libvirt.reader import Reader

STATE_AND_LOAD = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)
# Without it one incoming migration was seen to block a poll for 30.8 s.
NO_WAIT = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
MOST_GUESTS = 20_000


def read_inventory(connection: Connection) -> RawInventory:
    """The full inventory. Incomplete when something that is there could not be read."""
    started_at = datetime.now(UTC)
    reader = Reader(connection)
    host = _host(connection, with_xml=True)
    networks = Networks(reader)
    raw_networks = networks.read()
    guests = _Guests(reader, networks.leases()).read()
    bridges = networks.bridges(guest.xml for guest in guests)
    pools = read_pools(reader)
    return RawInventory(started_at, reader.complete, host, guests, pools, raw_networks, bridges)


def read_states(connection: Connection) -> RawReading:
    """State and load of all guests and the host: five round trips, whatever their number."""
    started_at = datetime.now(UTC)
    host = _host(connection, with_xml=False)
    stats = _all_stats(connection)
    guests = (RawGuest(uuid=uuid, name=name, stats=values) for uuid, name, values in stats)
    return RawReading(started_at, host, tuple(guests))


def host_uuid_xml(connection: Connection) -> str:
    """The capabilities, which hold the host's UUID. They do not change while a connection lives."""
    return str(connection.call(connection.raw.getCapabilities))


def _host(connection: Connection, *, with_xml: bool) -> RawHost:
    raw, call = connection.raw, connection.call
    return RawHost(
        hostname=str(call(raw.getHostname)) if with_xml else "",
        hypervisor=str(call(raw.getType)) if with_xml else "",
        hypervisor_version=int(call(raw.getVersion)) if with_xml else 0,
        library_version=int(call(raw.getLibVersion)) if with_xml else 0,
        node=tuple(call(raw.getInfo)),
        capabilities_xml=host_uuid_xml(connection) if with_xml else "",
        sysinfo_xml=_optional(connection, "", raw.getSysinfo) if with_xml else "",
        memory_kib=_optional(connection, {}, raw.getMemoryStats, libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS),
        cpu_ns=_optional(connection, {}, raw.getCPUStats, libvirt.VIR_NODE_CPU_STATS_ALL_CPUS),
    )


def _all_stats(connection: Connection) -> list[tuple[str, str, dict[str, int | str]]]:
    records = connection.call(connection.raw.getAllDomainStats, STATE_AND_LOAD, NO_WAIT)
    return [(domain.UUIDString(), domain.name(), values) for domain, values in records[:MOST_GUESTS]]


def _optional(connection: Connection, otherwise: Any, method: Callable[..., Any], *args: Any) -> Any:
    """What only some hosts can tell. A broken connection is still an error."""
    try:
        return connection.call(method, *args)
    except (NotSupported, Rejected):
        return otherwise


class _Guests:
    """One pass over a host's guests."""

    def __init__(self, reader: Reader, leases: dict[str, list[str]]) -> None:
        self._reader = reader
        self._raw = reader.raw
        self._call = reader.call
        self._read = reader.read
        self._leases = leases

    def read(self) -> tuple[RawGuest, ...]:
        stats = {uuid: values for uuid, _name, values in _all_stats(self._reader.connection)}
        domains = self._call(self._raw.listAllDomains, 0)
        autostart = self._marked(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART)
        persistent = self._marked(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)
        with_snapshots = self._marked(libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT)
        self._reader.complete &= len(domains) <= MOST_GUESTS
        found = []
        for domain in domains[:MOST_GUESTS]:
            uuid = domain.UUIDString()
            xml = self._read(domain.XMLDesc, 0)
            if xml is None:
                continue
            guest = RawGuest(
                uuid=uuid,
                name=domain.name(),
                xml=xml,
                stats=stats.get(uuid, {}),
                autostart=uuid in autostart,
                persistent=uuid in persistent,
                snapshot_count=int(self._read(domain.snapshotNum) or 0) if uuid in with_snapshots else 0,
                addresses=self._addresses(domain, xml),
            )
            found.append(guest)
        return tuple(found)

    def _marked(self, flag: int) -> frozenset[str]:
        """The UUIDs of the guests with a property, in one round trip."""
        return frozenset(domain.UUIDString() for domain in self._call(self._raw.listAllDomains, flag))

    def _addresses(self, domain: Any, xml: str) -> tuple[tuple[str, str], ...]:
        macs = re.findall(r"<mac address=['\"]([0-9a-fA-F:]{17})['\"]", xml[:1_000_000])[:64]
        leased = tuple((mac, ip) for mac in macs for ip in self._leases.get(mac.lower(), ()))
        if leased or not macs or domain.ID() < 0:
            return leased
        return self._addresses_by_arp(domain)

    def _addresses_by_arp(self, domain: Any) -> tuple[tuple[str, str], ...]:
        with suppress(NotSupported, Rejected, NotFound, Busy):
            nics = self._call(domain.interfaceAddresses, libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP)
            return tuple(
                (str(nic.get("hwaddr")), str(address.get("addr")))
                for nic in nics.values()
                for address in nic.get("addrs") or ()
            )
        return ()
