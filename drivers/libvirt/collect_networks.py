"""Asks a host for its virtual networks, their leases, and the bridges that guests are plugged into."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import libvirt

from drivers.errors import Busy, NotFound, NotSupported, Rejected
from drivers.libvirt.raw import RawBridge, RawNetwork
from drivers.libvirt.reader import Reader

MOST_NETWORKS = 2_000
MOST_LEASES = 20_000  # of one network
MOST_BRIDGES = 512
_BRIDGE_OF_NETWORK = re.compile(r"<bridge\s[^>]*?\bname=['\"]([\w.-]{1,64})['\"]")
_BRIDGE_OF_GUEST = re.compile(r"<source\s[^>]*?\bbridge=['\"]([\w.-]{1,64})['\"]")
_BRIDGED = re.compile(r"<forward\s[^>]*?\bmode=['\"]bridge['\"]")
LONGEST_XML = 1_000_000  # as far as bridges are looked for


class Networks:
    """One pass over a host's networks, which remembers what the guests' part needs of them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._leases: dict[str, list[str]] = {}
        self._bridges: dict[str, RawBridge] = {}
        self._can_tell = True

    def read(self) -> tuple[RawNetwork, ...]:
        """Three round trips; per network one, and for its leases one; per bridge two."""
        reader, every = self._reader, self._reader.raw.listAllNetworks
        networks = reader.all(every, MOST_NETWORKS)
        if not networks:
            return ()
        active = reader.marked(every, libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE)
        autostart = reader.marked(every, libvirt.VIR_CONNECT_LIST_NETWORKS_AUTOSTART)
        found = []
        for network in networks:
            xml = reader.read(network.XMLDesc, 0)
            if xml is None:
                continue
            uuid = network.UUIDString()
            found.append(RawNetwork(xml, uuid in active, uuid in autostart, self._bridge_xml(xml)))
            if uuid in active and "<dhcp" in xml:
                self._note_leases(network)
        return tuple(found)

    def leases(self) -> dict[str, list[str]]:
        """IP addresses by MAC address in lower case, of the networks that were read."""
        return self._leases

    def bridges(self, guest_xmls: Iterable[str]) -> tuple[RawBridge, ...]:
        """The host's bridges that guests name, whether or not a network covers them."""
        named = {name for xml in guest_xmls for name in _BRIDGE_OF_GUEST.findall(xml[:LONGEST_XML])}
        return tuple(self._bridge(name) for name in sorted(named)[:MOST_BRIDGES])

    def _note_leases(self, network: Any) -> None:
        for lease in self._leases_of(network)[:MOST_LEASES]:
            self._leases.setdefault(str(lease.get("mac")).lower(), []).append(str(lease.get("ipaddr")))

    def _leases_of(self, network: Any) -> list[dict[str, Any]]:
        try:
            return list(self._reader.call(network.DHCPLeases))
        except (NotSupported, Rejected, NotFound, Busy):
            return []

    def _bridge_xml(self, network_xml: str) -> str:
        """The host's bridge that a bridged network uses, with its ports."""
        named = _BRIDGE_OF_NETWORK.search(network_xml)
        return self._bridge(named[1]).xml if named and _BRIDGED.search(network_xml) else ""

    def _bridge(self, name: str) -> RawBridge:
        if name not in self._bridges:
            self._bridges[name] = self._look_up(name)
        return self._bridges[name]

    def _look_up(self, name: str) -> RawBridge:
        if not self._can_tell or len(self._bridges) >= 2 * MOST_BRIDGES:
            return RawBridge(name)
        try:
            interface = self._reader.call(self._reader.raw.interfaceLookupByName, name)
            return RawBridge(name, str(self._reader.call(interface.XMLDesc, 0)))
        except NotFound:
            return RawBridge(name, missing=True)
        except NotSupported:
            self._can_tell = False
        except (Rejected, Busy):
            pass
        return RawBridge(name)
