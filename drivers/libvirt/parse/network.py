"""Virtual networks.

Source: https://libvirt.org/formatnetwork.html
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from itertools import islice

from drivers.libvirt.parse.common import clean_uuid, pci_address, try_xml, whole_or_none
from drivers.libvirt.parse.nics import LONGEST_IP, clean_ip
from drivers.libvirt.raw import RawNetwork
from drivers.libvirt.text import whole
from drivers.libvirt.xml import MOST_CHILDREN, Node
from drivers.types import GuestFact, PortGroupFact, SwitchFact, SwitchKind

_SWITCH_KINDS = {
    "": SwitchKind.ISOLATED,
    "nat": SwitchKind.NAT,
    "route": SwitchKind.ROUTED,
    "open": SwitchKind.OPEN,
    "bridge": SwitchKind.BRIDGED,
    "private": SwitchKind.MACVTAP,
    "vepa": SwitchKind.MACVTAP,
    "passthrough": SwitchKind.MACVTAP,
}
_BRIDGES_OF_THEIR_OWN = frozenset({"openvswitch", "midonet"})
LARGEST_MTU = 65_535
LARGEST_VLAN = 4_095
LONGEST_DEVICE = 64
# What libvirt and Xen name guests' ends themselves: a guest that started after the guests were read has one, too.
_GUESTS_END = re.compile(r"(?:vnet|macvtap|macvlan)\d+|vif\d+\.\d+(?:-emu)?")
# Of an address without a prefix, as libvirt has it: by the first number of an IPv4 address.
_CLASSES = ((128, 8), (192, 16), (224, 24))


def switch_fact(raw: RawNetwork, host: str, taps: frozenset[str]) -> SwitchFact | None:
    node = try_xml(raw.xml)
    uuid = clean_uuid(node.text("uuid")) if node else ""
    if node is None or not uuid:
        return None
    bridge = node.get("name", path="bridge", limit=LONGEST_DEVICE)
    virtual_port = node.get("type", path="virtualport", limit=32)
    mode = _mode(node)
    own = try_xml(raw.bridge_xml)
    vlans, native, trunk = vlans_of(node)
    return SwitchFact(
        ref=f"{host}/{uuid}",
        host_ref=host,
        uuid=uuid,
        name=node.text("name") or uuid,
        kind=_switch_kind(mode, bridge, virtual_port),
        bridge=bridge,
        active=raw.active,
        autostart=raw.autostart,
        uplinks=_unique(name for name in (*_uplinks(node), *bridge_ports(own, bridge, taps))),
        virtual_port=virtual_port,
        vlans=vlans,
        native_vlan=native,
        port_groups=tuple(_port_groups(node)),
        addresses=_unique(map(_with_prefix, node.all("ip"))) or host_addresses(own),
        dhcp=_unique(_ranges(node)),
        domain=node.get("name", path="domain"),
        mtu=mtu_of(node) or mtu_of(own),
        mode=mode,
        trunk=trunk,
        dhcp_hosts=sum(len(ip.element.findall("dhcp/host")) for ip in node.all("ip")),
    )


def _mode(node: Node) -> str:
    forward = node.find("forward")
    return (forward.get("mode", limit=16) or "nat") if forward else ""


def _switch_kind(mode: str, bridge: str, virtual_port: str) -> SwitchKind:
    """Mode `bridge` is a bridge that is there or, without one, macvtap on the devices it forwards to."""
    kind = _SWITCH_KINDS.get(mode, SwitchKind.OTHER)
    bare = kind is SwitchKind.BRIDGED and not bridge and virtual_port not in _BRIDGES_OF_THEIR_OWN
    return SwitchKind.MACVTAP if bare else kind


def _uplinks(node: Node) -> Iterator[str]:
    """The devices that lead out. A physical function stands for its virtual ones, which libvirt lists beside it."""
    yield node.get("dev", path="forward", limit=LONGEST_DEVICE)
    physical = [name for device in node.all("forward/pf") if (name := device.get("dev", limit=LONGEST_DEVICE))]
    if physical:
        yield from physical
        return
    for device in node.all("forward/interface"):
        yield device.get("dev", limit=LONGEST_DEVICE)
    yield from (pci_address(address) for address in node.all("forward/address") if address.get("slot"))


def bridge_ports(interface: Node | None, bridge: str, taps: frozenset[str]) -> Iterator[str]:
    """A bridge's ports but for guests' own ends, and the dummy that old libvirts put there to hold a MAC address."""
    for port in interface.all("bridge/interface") if interface else ():
        name = port.get("name", limit=LONGEST_DEVICE)
        if name not in taps and name != f"{bridge}-nic" and not _GUESTS_END.fullmatch(name):
            yield name


def host_addresses(interface: Node | None) -> tuple[str, ...]:
    return _unique(map(_with_prefix, interface.all("protocol/ip"))) if interface else ()


def mtu_of(node: Node | None) -> int | None:
    return whole(node.get("size", path="mtu", limit=8), largest=LARGEST_MTU) or None if node else None


def vlans_of(node: Node) -> tuple[tuple[int, ...], int | None, bool]:
    """The tags that pass, the one that travels without its tag, and whether the others keep theirs."""
    read = [(whole_or_none(tag.get("id", limit=8), largest=LARGEST_VLAN), tag) for tag in node.all("vlan/tag")]
    tags = [(number, tag.get("nativeMode") != "") for number, tag in read if number is not None]
    numbers = tuple(sorted({number for number, _native in tags}))
    trunk = len(numbers) > 1 or node.get("trunk", path="vlan", limit=8) == "yes"
    return numbers, next((number for number, native in tags if native), None), trunk


def _port_groups(node: Node) -> Iterator[PortGroupFact]:
    for group in node.all("portgroup"):
        vlans, native, trunk = vlans_of(group)
        yield PortGroupFact(
            name=group.get("name"),
            default=group.get("default", limit=8) == "yes",
            vlans=vlans,
            native_vlan=native,
            virtual_port=group.get("type", path="virtualport", limit=32),
            trunk=trunk,
        )


def _ranges(node: Node) -> Iterator[str]:
    for ip in node.all("ip"):
        for one in ip.all("dhcp/range"):
            start, end = clean_ip(one.get("start")), clean_ip(one.get("end"))
            yield f"{start}-{end}" if start and end else ""


def _with_prefix(ip: Node) -> str:
    address = clean_ip(ip.get("address"))
    length = ip.get("prefix", limit=8) or ip.get("netmask", limit=LONGEST_IP)
    if not address:
        return ""
    try:
        return str(ipaddress.ip_interface(f"{address}/{length or _usual_prefix(address)}"))
    except ValueError:
        return address


def _usual_prefix(address: str) -> int:
    if ":" in address:
        return 64
    first = int(address.partition(".")[0])
    return next((prefix for below, prefix in _CLASSES if first < below), 32)


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(dict.fromkeys(text for text in texts if text), MOST_CHILDREN))


def guest_devices(guests: Iterable[GuestFact]) -> frozenset[str]:
    """The host's devices that are guests' own ends: ports of a bridge, but no uplinks."""
    return frozenset(nic.device for guest in guests for nic in guest.nics if nic.device)
