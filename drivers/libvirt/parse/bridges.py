"""Bridges that guests are plugged into and no network of libvirt covers: the kernel's, and Open vSwitch's."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterable

from drivers.libvirt.parse.common import try_xml
from drivers.libvirt.parse.network import bridge_ports, host_addresses, mtu_of
from drivers.libvirt.raw import RawBridge
from drivers.types import GuestFact, GuestState, NicFact, SwitchFact, SwitchKind

MOST_BRIDGES = 512
_PLUGGED = frozenset({GuestState.RUNNING, GuestState.PAUSED, GuestState.SUSPENDED})
# So that a bridge keeps its reference: made once, for `uuid5`.
_NAMESPACE = uuids.UUID("b3f2a9c4-6d0e-4f37-9a51-2f0c8e7d1b60")


def bare_bridges(
    guests: Iterable[GuestFact],
    switches: Iterable[SwitchFact],
    bridges: Iterable[RawBridge],
    host: str,
    taps: frozenset[str],
) -> tuple[SwitchFact, ...]:
    """One switch for each bridge that some guest names and no network does."""
    covered = {switch.bridge for switch in switches}
    plugs: dict[str, list[tuple[NicFact, bool]]] = {}
    for guest in guests:
        for nic in guest.nics:
            if nic.kind == "bridge" and nic.bridge and nic.bridge not in covered:
                plugs.setdefault(nic.bridge, []).append((nic, guest.state in _PLUGGED))
    told = {bridge.name: bridge for bridge in bridges}
    return tuple(
        _switch(told.get(name, RawBridge(name)), name, plugs[name], host, taps) for name in sorted(plugs)[:MOST_BRIDGES]
    )


def _switch(
    raw: RawBridge, name: str, plugs: Iterable[tuple[NicFact, bool]], host: str, taps: frozenset[str]
) -> SwitchFact:
    """It is there unless the host says no, and even then when a running guest is plugged into it."""
    plugs = list(plugs)
    interface = try_xml(raw.xml)
    uuid = str(uuids.uuid5(_NAMESPACE, f"{host}/{name}"))
    return SwitchFact(
        ref=f"{host}/{uuid}",
        host_ref=host,
        uuid=uuid,
        name=name,
        kind=SwitchKind.BRIDGED,
        bridge=name,
        active=not raw.missing or any(running for _nic, running in plugs),
        autostart=False,
        uplinks=tuple(dict.fromkeys(port for port in bridge_ports(interface, name, taps) if port)),
        virtual_port=next((nic.virtual_port for nic, _running in plugs if nic.virtual_port), ""),
        addresses=host_addresses(interface),
        mtu=mtu_of(interface),
        managed=False,
        mode="bridge",
    )
