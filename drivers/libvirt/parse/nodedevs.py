"""A host's devices: PCI devices, what reaches storage, network interfaces.

Source: https://libvirt.org/formatnode.html; class codes: PCI Code and ID Assignment Specification.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from drivers.libvirt.parse.common import try_xml
from drivers.libvirt.text import whole
from drivers.libvirt.xml import Node
from drivers.types import HostBusAdapterFact, HostNicFact, PciFact

MOST_DEVICES = 4_000
MOST_INTERFACES = 1_000
MOST_FUNCTIONS = 4_096
MOST_PORTS = 4_096
_WORD = 64
_NAME = 128
_LARGEST = 0xFFFFFFFF
_PARTS = ("domain", "bus", "slot", "function")
_NO_SPEED = 0xFFFFFFFF  # what an interface that is down says, -1 as unsigned
_CLASS = re.compile(r"0x([0-9a-f]{6})")
_WWN = re.compile(r"[0-9a-f]{16}")
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5,19}[0-9a-f]{2}")  # InfiniBand's has 20 bytes
_PCI_NAME = re.compile(r"pci_([0-9a-f]{4,8})_([0-9a-f]{2})_([0-9a-f]{2})_([0-9a-f])")
_STORAGE = {
    "0100": "scsi",
    "0101": "ide",
    "0104": "raid",
    "0105": "ata",
    "0106": "sata",
    "0107": "sas",
    "0108": "nvme",
    "0180": "storage",
    "0c04": "fc",
}
_NETWORK = "02"  # a network card that is a SCSI host, too, does iSCSI by itself
# Interfaces that guests, containers and the kernel make for themselves: they come and go, or are never used.
PASSING = re.compile(
    r"(?:lo|ovs-system|br-int|(?:sit|tunl|ip6tnl|ip6_vti|ip_vti|gre|gretap|ip6gre|erspan)0)"
    r"|(?:vnet|macvtap|macvlan|tap|tun|vif|veth|virbr|docker|podman|cni|lxcbr|lxdbr|fwbr|fwpr|fwln)\d[\w.-]*"
    r"|(?:veth|cali|lxc|tap|qbr|qvb|qvo|qvr|vxlan_sys_)[0-9a-f-]+(?:@\w+)?"
    r"|br-[0-9a-f]{12}"
)
_DOWN = frozenset({"down", "lowerlayerdown", "notpresent", "dormant"})
_MADE_OF_OTHERS = frozenset({"bond", "bridge", "vlan"})


@dataclass(frozen=True, slots=True)
class Devices:
    pci: tuple[PciFact, ...]
    adapters: tuple[HostBusAdapterFact, ...]
    nics: tuple[HostNicFact, ...]


def devices(device_xmls: Iterable[str], interface_xmls: Iterable[str], made: frozenset[str]) -> Devices:
    """All of a host's. `made` names the interfaces that libvirt made, which are none of the host's own."""
    kinds: dict[str, list[tuple[Node, Node]]] = defaultdict(list)
    for xml in list(device_xmls)[:MOST_DEVICES]:
        if node := try_xml(xml):
            for kind, capability in _by_type(node).items():
                kinds[kind].append((node, capability))
    found = {fact.address: fact for pair in kinds["pci"] if (fact := _pci(*pair))}
    pci = tuple(found[address] for address in sorted(found))
    return Devices(pci, _adapters(kinds["scsi_host"], found), _nics(kinds["net"], interface_xmls, found, made))


def _by_type(node: Node) -> dict[str, Node]:
    """What a device is, or what a capability of it has, in one pass: there may be hundreds of devices."""
    return {capability.get("type", limit=_WORD): capability for capability in node.all("capability")}


# PCI


def _pci(device: Node, capability: Node) -> PciFact | None:
    address = _own_address(device, capability)
    if not address:
        return None
    inner = _by_type(capability)
    virtual, physical, mediated = (inner.get(name) for name in ("virt_functions", "phys_function", "mdev_types"))
    return PciFact(
        address=address,
        device_class=_class(capability.text("class", limit=_WORD)),
        vendor=_maker(capability, "vendor"),
        product=_maker(capability, "product"),
        driver=device.text("driver/name", limit=_WORD),
        numa_cell=_optional_number(capability.get("node", path="numa", limit=_WORD)),
        iommu_group=_optional_number(capability.get("number", path="iommuGroup", limit=_WORD)),
        virtual_functions=sum(1 for _address in virtual.all("address", most=MOST_FUNCTIONS)) if virtual else 0,
        most_virtual_functions=whole(virtual.get("maxCount", limit=_WORD), largest=0xFFFF) if virtual else 0,
        physical_function=_address(physical.find("address")) if physical else "",
        mediated_types=tuple(sorted({kind.get("id", limit=_NAME) for kind in mediated.all("type")} - {""}))
        if mediated
        else (),
    )


def _own_address(device: Node, capability: Node) -> str:
    named = address_in_name(device.text("name", limit=_NAME))
    return named or _spell([_number(capability.text(part, limit=_WORD)) for part in _PARTS])


def _address(node: Node | None) -> str:
    return _spell([_number(node.get(part, limit=_WORD)) for part in _PARTS]) if node else ""


def _spell(parts: list[int | None]) -> str:
    """As the operating system's tools print it. A domain may need more than four digits (Intel VMD)."""
    domain, bus, slot, function = parts
    if bus is None or slot is None or function is None or bus > 0xFF or slot > 0x1F or function > 7:  # noqa: PLR2004
        return ""
    return f"{domain or 0:04x}:{bus:02x}:{slot:02x}.{function:x}"


def address_in_name(device_name: str) -> str:
    """From libvirt's name of a device; empty for what is none on the PCI bus."""
    told = _PCI_NAME.fullmatch(device_name)
    return "{}:{}:{}.{}".format(*told.groups()) if told else ""


def _class(text: str) -> str:
    told = _CLASS.fullmatch(text.lower())
    return told[1] if told else ""


def _maker(capability: Node, name: str) -> str:
    """In words, or as its number when the host's list of them does not know it."""
    return capability.text(name, limit=_NAME) or capability.get("id", path=name, limit=_WORD)


# Storage


def _adapters(hosts: list[tuple[Node, Node]], pci: dict[str, PciFact]) -> tuple[HostBusAdapterFact, ...]:
    """Every Fibre Channel port, then every other controller once, however many hosts its driver makes of it."""
    fibre = [fact for device, capability in hosts if (fact := _fibre_channel(device, capability))]
    ported = {adapter.pci_address for adapter in fibre}
    names = _host_names(hosts)
    others = (
        _controller(card, kind, names)
        for address, card in pci.items()
        if (kind := _controller_kind(card, names)) and address not in ported and not card.physical_function
    )
    return tuple(sorted([*fibre, *others], key=lambda adapter: (adapter.pci_address, adapter.name)))


def _fibre_channel(device: Node, capability: Node) -> HostBusAdapterFact | None:
    port = capability.find("capability[@type='fc_host']")
    if port is None:
        return None
    ports = capability.text("capability[@type='vport_ops']/max_vports", limit=_WORD)
    return HostBusAdapterFact(
        name=_host_name(device, capability),
        kind="fc",
        pci_address=address_in_name(device.text("parent", limit=_NAME)),
        wwnn=_wwn(port, "wwnn"),
        wwpn=_wwn(port, "wwpn"),
        fabric_wwn=_wwn(port, "fabric_wwn"),
        virtual_ports=whole(ports, largest=_LARGEST),
    )


def _host_names(hosts: list[tuple[Node, Node]]) -> dict[str, str]:
    """The name with the lowest number by PCI address."""
    found: dict[str, list[str]] = defaultdict(list)
    for device, capability in hosts:
        if address := address_in_name(device.text("parent", limit=_NAME)):
            found[address].append(_host_name(device, capability))
    return {address: min(names, key=lambda name: (len(name), name)) for address, names in found.items()}


def _host_name(device: Node, capability: Node) -> str:
    number = _number(capability.text("host", limit=_WORD))
    return device.text("name", limit=_NAME) if number is None else f"host{number}"


def _controller_kind(card: PciFact, names: dict[str, str]) -> str:
    """Empty for what reaches no storage."""
    kind = _STORAGE.get(card.device_class[:4], "")
    if kind or card.address not in names:
        return kind
    return "iscsi" if card.device_class.startswith(_NETWORK) else "scsi"


def _controller(card: PciFact, kind: str, names: dict[str, str]) -> HostBusAdapterFact:
    return HostBusAdapterFact(name=names.get(card.address, card.address), kind=kind, pci_address=card.address)


def _wwn(port: Node, name: str) -> str:
    told = port.text(name, limit=_WORD).lower().removeprefix("0x").replace(":", "")
    return told if _WWN.fullmatch(told) and told.strip("0") and told.strip("f") else ""


# Network


@dataclass(frozen=True, slots=True)
class _Sources:
    """What is known of one interface: by the device, by the interface driver, or both."""

    device: Node | None
    capability: Node | None
    interface: Node | None

    def mac(self) -> str:
        told = self.capability.text("address", limit=_WORD) if self.capability else ""
        told = (told or (self.interface.get("address", path="mac", limit=_WORD) if self.interface else "")).lower()
        return told if _MAC.fullmatch(told) else ""

    def link(self, name: str) -> str:
        nodes = (node for node in (self.capability, self.interface) if node)
        return next((told for node in nodes if (told := node.get(name, path="link", limit=_WORD))), "")

    def parent(self) -> str:
        return self.device.text("parent", limit=_NAME) if self.device else ""


def _nics(
    nets: list[tuple[Node, Node]], interface_xmls: Iterable[str], pci: dict[str, PciFact], made: frozenset[str]
) -> tuple[HostNicFact, ...]:
    described = _described(interface_xmls)
    known: dict[str, tuple[Node | None, Node | None]] = {
        capability.text("interface", limit=_WORD): (device, capability) for device, capability in nets
    }
    names = sorted(name for name in known.keys() | described.keys() if _is_own(name, made))
    found = []
    for name in names[:MOST_INTERFACES]:
        device, capability = known.get(name, (None, None))
        found.append(_nic(name, _Sources(device, capability, described.get(name)), pci, made))
    return tuple(found)


def _described(interface_xmls: Iterable[str]) -> dict[str, Node]:
    """By name, ports inside a bridge or bond too; the description that says what it is made of is kept."""
    roots = [root for xml in list(interface_xmls)[:MOST_INTERFACES] if (root := try_xml(xml))]
    inner = (node for root in roots for node in root.all(".//interface", most=MOST_PORTS))
    found: dict[str, Node] = {}
    for node in (*(root for root in roots if root.tag == "interface"), *inner):
        name = node.get("name", limit=_WORD)
        if name not in found or (_has_parts(node) and not _has_parts(found[name])):
            found[name] = node
    return found


def _has_parts(node: Node) -> bool:
    return any(node.has(kind) for kind in _MADE_OF_OTHERS)


def _is_own(name: str, made: frozenset[str]) -> bool:
    return bool(name) and name not in made and not PASSING.fullmatch(name)


def _nic(name: str, sources: _Sources, pci: dict[str, PciFact], made: frozenset[str]) -> HostNicFact:
    card = pci.get(address_in_name(sources.parent()))
    kind = _nic_kind(sources, card)
    speed = whole(sources.link("speed"), largest=_LARGEST)
    return HostNicFact(
        name=name,
        mac=sources.mac(),
        kind=kind,
        link_up=sources.link("state") not in _DOWN,
        speed_mbps=speed if 0 < speed < _NO_SPEED else None,
        pci_address=address_in_name(sources.parent()),
        ports=tuple(sorted({port for port in _ports(sources.interface, kind) if _is_own(port, made)})),
        vlan=_optional_number(sources.interface.get("tag", path="vlan", limit=_WORD)) if sources.interface else None,
        physical_function=card.physical_function if card else "",
    )


def _nic_kind(sources: _Sources, card: PciFact | None) -> str:
    told = (sources.interface.get("type", limit=_WORD) or "ethernet") if sources.interface else ""
    if told in _MADE_OF_OTHERS:
        return told
    if card and card.physical_function:
        return "vf"
    if sources.capability and sources.capability.has("capability[@type='80211']"):
        return "wireless"
    if len(sources.mac()) > len("00:00:00:00:00:00"):
        return "infiniband"
    return "virtual" if not told and sources.parent() in {"", "computer"} else "ethernet"


def _ports(interface: Node | None, kind: str) -> Iterator[str]:
    if interface and kind in _MADE_OF_OTHERS:
        yield from (port.get("name", limit=_WORD) for port in interface.all(f"{kind}/interface", most=MOST_PORTS))


# Numbers


def _number(text: str) -> int | None:
    """As `0x0a` or `10`; None for what is none or negative."""
    try:
        number = int(text[:_WORD], 16 if text[:2].lower() == "0x" else 10)
    except ValueError:
        return None
    return number if 0 <= number <= _LARGEST else None


def _optional_number(text: str) -> int | None:
    return _number(text) if text else None
