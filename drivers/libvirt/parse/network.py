"""Virtual networks."""

from __future__ import annotations

from collections.abc import Iterable

from drivers.libvirt.parse.common import clean_uuid, try_xml
from drivers.libvirt.raw import RawGuest, RawNetwork
from drivers.libvirt.xml import Node
from drivers.types import SwitchFact, SwitchKind

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


def switch_fact(raw: RawNetwork, host: str, taps: frozenset[str]) -> SwitchFact | None:
    node = try_xml(raw.xml)
    uuid = clean_uuid(node.text("uuid")) if node else ""
    if node is None or not uuid:
        return None
    bridge = node.get("name", path="bridge", limit=64)
    return SwitchFact(
        ref=f"{host}/{uuid}",
        host_ref=host,
        uuid=uuid,
        name=node.text("name") or uuid,
        kind=_switch_kind(node, bridge),
        bridge=bridge,
        active=raw.active,
        autostart=raw.autostart,
        uplinks=_uplinks(node, raw.bridge_xml, taps),
    )


def _switch_kind(node: Node, bridge: str) -> SwitchKind:
    forward = node.find("forward")
    mode = (forward.get("mode", limit=16) or "nat") if forward else ""
    kind = _SWITCH_KINDS.get(mode, SwitchKind.OTHER)
    return SwitchKind.MACVTAP if kind is SwitchKind.BRIDGED and not bridge else kind


def _uplinks(node: Node, bridge_xml: str, taps: frozenset[str]) -> tuple[str, ...]:
    named = [node.get("dev", path="forward", limit=64)]
    named += [device.get("dev", limit=64) for name in ("interface", "pf") for device in node.all(f"forward/{name}")]
    bridge = try_xml(bridge_xml)
    if bridge:
        named += [port.get("name", limit=64) for port in bridge.all("bridge/interface")]
    return tuple(name for name in dict.fromkeys(named) if name and name not in taps)


def guest_devices(guests: Iterable[RawGuest]) -> frozenset[str]:
    """The host's devices that are guests' own ends: ports of a bridge, but no uplinks."""
    nodes = (try_xml(guest.xml) for guest in guests)
    return frozenset(
        nic.get("dev", path="target", limit=64) for node in nodes if node for nic in node.all("devices/interface")
    )
