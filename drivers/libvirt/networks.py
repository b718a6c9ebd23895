"""Virtual networks: made, started, stopped, deleted. Source: https://libvirt.org/formatnetwork.html"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lxml import etree

from drivers.errors import DriverError, NotFound, Rejected
from drivers.libvirt.connection import Connection
from drivers.libvirt.parse.common import LONGEST_NAME, clean_uuid
from drivers.libvirt.refusals import asked
from drivers.libvirt.tasks import Calls, in_time
from drivers.libvirt.text import clean
from drivers.libvirt.usage import every_description, require_bridge
from drivers.libvirt.write_xml import add, checked_device, checked_name, element, written
from drivers.requests import NetworkMode, NetworkRequest, PortGroupRequest
from drivers.words import gettext_noop as _

MOST_PORT_GROUPS = 500
LARGEST_VLAN = 4094
ON_BRIDGE = frozenset({NetworkMode.BRIDGED, NetworkMode.OPEN_VSWITCH})
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def known_network(uuid: str) -> str:
    """Raises: NotFound for what is no UUID."""
    known = clean_uuid(uuid)
    if not known:
        raise NotFound(_("This network is not on this host any more."))
    return known


def network_xml(request: NetworkRequest) -> str:
    """Raises: Rejected."""
    root = element("network")
    add(root, "name", checked_name(request.name))
    add(root, "uuid", known_network(request.uuid))
    if request.mode in ON_BRIDGE:
        if request.address or request.dhcp or request.domain:
            raise Rejected(_("A network on a bridge of the host has no addresses of its own."))
        add(root, "forward", mode="bridge")
        add(root, "bridge", name=checked_device(request.bridge))
    else:
        _add_own_bridge(root, request)
    if request.mode is NetworkMode.OPEN_VSWITCH:
        add(root, "virtualport", type="openvswitch")
    _add_port_groups(root, request)
    return written(root)


def _add_own_bridge(root: etree._Element, request: NetworkRequest) -> None:
    if request.mode is NetworkMode.NAT:
        add(root, "forward", mode="nat")
    add(root, "bridge", name=request.bridge and checked_device(request.bridge), stp="on")
    if request.domain:
        if not _DOMAIN.fullmatch(request.domain):
            raise Rejected(_("This is not the name of a DNS domain."))
        add(root, "domain", name=request.domain)
    if not request.address:
        if request.mode is NetworkMode.NAT or request.dhcp:
            raise Rejected(_("This network needs an address with its prefix, such as 192.0.2.1/24."))
        return
    address = checked_interface(request.address)
    family = "ipv6" if address.version == 6 else ""  # noqa: PLR2004
    ip = add(root, "ip", family=family, address=str(address.ip), prefix=str(address.network.prefixlen))
    if request.dhcp:
        first, last = (_inside(address, text) for text in request.dhcp)
        if int(first) > int(last):
            raise Rejected(_("The first address of a range comes before its last."))
        add(add(ip, "dhcp"), "range", start=str(first), end=str(last))


def checked_interface(text: str) -> Interface:
    """Raises: Rejected."""
    try:
        address = ipaddress.ip_interface(text)
    except ValueError:
        address = None
    if address is None or "/" not in text or address.is_multicast or address.is_loopback or address.is_unspecified:
        raise Rejected(_("This network needs an address with its prefix, such as 192.0.2.1/24."))
    return address


def _inside(address: Interface, text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        found = None
    if found is None or found not in address.network:
        raise Rejected(_("The range of addresses is not in the network."))
    return found


def _add_port_groups(root: etree._Element, request: NetworkRequest) -> None:
    groups = request.port_groups
    names = [group.name for group in groups]
    if len(set(names)) != len(names) or len(names) > MOST_PORT_GROUPS or sum(group.default for group in groups) > 1:
        raise Rejected(_("Each port group has a name of its own, and one at most is the default."))
    for group in groups:
        _add_port_group(root, group, request.mode)


def _add_port_group(root: etree._Element, group: PortGroupRequest, mode: NetworkMode) -> None:
    made = add(root, "portgroup", name=checked_name(group.name), default="yes" if group.default else "")
    if not group.vlans:
        return
    if mode is not NetworkMode.OPEN_VSWITCH:
        raise Rejected(_("Port groups with VLANs need an Open vSwitch bridge."))
    if not all(1 <= vlan <= LARGEST_VLAN for vlan in group.vlans):
        raise Rejected(_("A VLAN has a number from 1 to 4094."))
    vlan = add(made, "vlan", trunk="yes" if len(group.vlans) > 1 else "")
    for number in group.vlans:
        add(vlan, "tag", id=str(number))


class NetworkCalls(Calls):
    """A session's networks."""

    @contextmanager
    def _network(self, network_uuid: str) -> Iterator[tuple[Connection, Any]]:
        uuid = known_network(network_uuid)
        with self._line(uuid) as line:
            yield line, line.call(line.raw.networkLookupByUUIDString, uuid)

    def create_network(self, request: NetworkRequest, not_after: float = math.inf) -> None:
        xml = network_xml(request)
        with self._line(known_network(request.uuid)) as line:
            network = _find(line, request)
            if network is None and request.mode is NetworkMode.BRIDGED:
                require_bridge(line, request.bridge)
            in_time(not_after)
            new = network is None
            if network is None:
                network = asked(line, line.raw.networkDefineXML, xml)
            try:
                asked(line, network.setAutostart, int(request.autostart))
                if not line.call(network.isActive):
                    asked(line, network.create)
            except DriverError:
                if new:  # a network that cannot start is not what was asked for
                    with suppress(DriverError):
                        line.call(network.undefine)
                raise

    def start_network(self, network_uuid: str, not_after: float = math.inf) -> None:
        with self._network(network_uuid) as (line, network):
            if line.call(network.isActive):
                return
            in_time(not_after)
            asked(line, network.create)

    def stop_network(self, network_uuid: str, not_after: float = math.inf) -> None:
        with self._network(network_uuid) as (line, network):
            if not line.call(network.isActive):
                return
            _require_unplugged(line, str(network.name()), running_only=True)
            in_time(not_after)
            asked(line, network.destroy)

    def autostart_network(self, network_uuid: str, on: bool, not_after: float = math.inf) -> None:
        with self._network(network_uuid) as (line, network):
            in_time(not_after)
            asked(line, network.setAutostart, int(on))

    def delete_network(self, network_uuid: str, not_after: float = math.inf) -> None:
        uuid = known_network(network_uuid)
        with self._line(uuid) as line:
            try:
                network = line.call(line.raw.networkLookupByUUIDString, uuid)
            except NotFound:  # gone already
                return
            _require_unplugged(line, str(network.name()), running_only=False)
            in_time(not_after)
            if line.call(network.isActive):
                asked(line, network.destroy)
            if line.call(network.isPersistent):
                asked(line, network.undefine)


def _find(line: Connection, request: NetworkRequest) -> Any | None:
    """The network with this UUID. Raises: Rejected when it or another has the wrong name."""
    try:
        found = line.call(line.raw.networkLookupByUUIDString, known_network(request.uuid))
    except NotFound:
        found = None
    if found is not None and found.name() != request.name:
        raise Rejected(_("Another network of this host has this UUID."))
    if found is None:
        with suppress(NotFound):
            line.call(line.raw.networkLookupByName, request.name)
            raise Rejected(_("Another network of this host has this name; choose another."))
    return found


def _require_unplugged(line: Connection, name: str, *, running_only: bool) -> None:
    """Raises: Rejected with the name of a guest that is plugged into it."""
    for domain, node in every_description(line, running_only=running_only):
        if any(nic.get("network", path="source") == name for nic in node.all("devices/interface")):
            raise Rejected(
                _("The guest %(guest)s is plugged into this network; plug it elsewhere first."),
                guest=clean(domain.name(), LONGEST_NAME),
            )
