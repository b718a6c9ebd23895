"""Guests' NICs and their addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from drivers.libvirt.parse.common import whole_or_none
from drivers.libvirt.parse.disks import boot_order
from drivers.libvirt.raw import RawGuest
from drivers.libvirt.xml import Node
from drivers.types import NicFact

MOST_ADDRESSES = 32
LONGEST_IP = 45  # an IPv6 address that ends as an IPv4 one
HIGHEST_VLAN = 4_095
LARGEST_MTU = 2**31
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")

Known = dict[str, tuple[str, tuple[str, ...]]]


def nic_fact(nic: Node, known: Known) -> NicFact:
    mac = clean_mac(nic.get("address", path="mac", limit=17))
    kind = nic.get("type", limit=16)
    network = nic.get("network", path="source")
    device = nic.get("dev", path="source", limit=64)
    addresses_from, addresses = known.get(mac, ("", ()))
    return NicFact(
        mac=mac,
        model=nic.get("type", path="model", limit=32),
        # Of a guest that runs, libvirt says how its network plugs it in: "bridge" or "direct".
        kind="network" if network else kind,
        network=network,
        bridge=nic.get("bridge", path="source", limit=64) or (device if kind == "direct" else ""),
        link_up=nic.get("state", path="link") != "down",
        addresses=addresses,
        addresses_from=addresses_from,
        port_group=nic.get("portgroup", path="source"),
        virtual_port=nic.get("type", path="virtualport", limit=32),
        vlans=_vlans(nic),
        native_vlan=_native_vlan(nic),
        device=nic.get("dev", path="target", limit=64),
        mtu=whole_or_none(nic.get("size", path="mtu"), smallest=1, largest=LARGEST_MTU),
        boot_order=boot_order(nic),
    )


def clean_mac(text: str) -> str:
    """In lower case; empty for what is none."""
    mac = text.lower()
    return mac if _MAC.fullmatch(mac) else ""


def _vlans(nic: Node) -> tuple[int, ...]:
    tags = (whole_or_none(tag.get("id"), largest=HIGHEST_VLAN) for tag in nic.all("vlan/tag"))
    return tuple(sorted({tag for tag in tags if tag is not None}))


def _native_vlan(nic: Node) -> int | None:
    """What travels without a tag on a trunk."""
    native = (tag for tag in nic.all("vlan/tag") if tag.get("nativeMode"))
    return next((whole_or_none(tag.get("id"), largest=HIGHEST_VLAN) for tag in native), None)


def known_addresses(raw: RawGuest) -> Known:
    """Where a NIC's addresses come from and which they are, by MAC address. The guest itself knows best."""
    agent = raw.agent.addresses if raw.agent else ()
    known: Known = {}
    for source, pairs in (("agent", agent), ("lease", raw.leases), ("arp", raw.arp), ("", raw.addresses)):
        for mac, addresses in _by_mac(pairs).items():
            if addresses:
                known.setdefault(mac, (source, addresses))
    return known


def _by_mac(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for mac, ip in pairs:
        found.setdefault(clean_mac(mac[:17]), set()).add(clean_ip(ip))
    found.pop("", None)
    # In one order, whatever order the source has: a change of that is none.
    return {mac: tuple(sorted(ips - {""}, key=_order)[:MOST_ADDRESSES]) for mac, ips in found.items()}


def _order(address: str) -> tuple[int, int]:
    ip = ipaddress.ip_address(address)
    return ip.version, int(ip)


def clean_ip(text: str) -> str:
    """The address in one spelling; a zone means something inside the guest only, and may be any text."""
    address = text[: LONGEST_IP + 1].partition("%")[0]
    try:
        return str(ipaddress.ip_address(address)) if len(address) <= LONGEST_IP else ""
    except ValueError:
        return ""
