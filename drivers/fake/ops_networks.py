"""Networks of a simulated host."""

from __future__ import annotations

import math

from drivers.errors import NotFound, Rejected
from drivers.fake.model import FakeGuest, FakeHost, FakePortGroup, FakeSwitch
from drivers.fake.ops_tasks import UP, TaskCalls, in_time
from drivers.requests import NetworkMode, NetworkRequest
from drivers.types import SwitchKind
from drivers.words import gettext_noop as _

LARGEST_VLAN = 4094
_KINDS = {
    NetworkMode.NAT: (SwitchKind.NAT, "nat"),
    NetworkMode.ISOLATED: (SwitchKind.ISOLATED, ""),
    NetworkMode.BRIDGED: (SwitchKind.BRIDGED, "bridge"),
    NetworkMode.OPEN_VSWITCH: (SwitchKind.BRIDGED, "bridge"),
}
_ON_BRIDGE = frozenset({NetworkMode.BRIDGED, NetworkMode.OPEN_VSWITCH})


class NetworkCalls(TaskCalls):
    def create_network(self, request: NetworkRequest, not_after: float = math.inf) -> None:
        _check(request)
        with self.acting("create_network") as (_state, host, _fault):
            there = next((one for one in host.switches if one.uuid == request.uuid), None)
            if there is not None and there.name != request.name:
                raise Rejected(_("Another network of this host has this UUID."))
            if there is None and any(one.name == request.name for one in host.switches):
                raise Rejected(_("Another network of this host has this name; choose another."))
            in_time(not_after)
            if there is None:
                there = _make(host, request)
                host.switches.append(there)
            there.active, there.autostart = True, request.autostart

    def start_network(self, network_uuid: str, not_after: float = math.inf) -> None:
        with self.acting("start_network") as (_state, host, _fault):
            switch = _find(host, network_uuid)
            in_time(not_after)
            switch.active = True

    def stop_network(self, network_uuid: str, not_after: float = math.inf) -> None:
        with self.acting("stop_network") as (_state, host, _fault):
            switch = _find(host, network_uuid)
            _require_unplugged(switch, [guest for guest in host.guests.values() if guest.state in UP])
            in_time(not_after)
            switch.active = False

    def autostart_network(self, network_uuid: str, on: bool, not_after: float = math.inf) -> None:
        with self.acting("autostart_network") as (_state, host, _fault):
            switch = _find(host, network_uuid)
            in_time(not_after)
            switch.autostart = on

    def delete_network(self, network_uuid: str, not_after: float = math.inf) -> None:
        with self.acting("delete_network") as (_state, host, _fault):
            if not network_uuid.count("-"):
                raise NotFound(_("This network is not on this host any more."))
            for switch in [one for one in host.switches if one.uuid == network_uuid]:
                _require_unplugged(switch, list(host.guests.values()))
                in_time(not_after)
                host.switches.remove(switch)


def _find(host: FakeHost, uuid: str) -> FakeSwitch:
    """Raises: NotFound."""
    for switch in host.switches:
        if switch.uuid == uuid:
            return switch
    raise NotFound(_("This network is not on this host any more."))


def _require_unplugged(switch: FakeSwitch, guests: list[FakeGuest]) -> None:
    """Raises: Rejected."""
    for guest in guests:
        if any(nic.network == switch.name for nic in guest.nics):
            raise Rejected(
                _("The guest %(guest)s is plugged into this network; plug it elsewhere first."), guest=guest.name
            )


def _check(request: NetworkRequest) -> None:
    """Raises: Rejected, NotFound. The finer rules are libvirt's own; the simulated host has those that are shown."""
    if not request.uuid.count("-"):
        raise NotFound(_("This network is not on this host any more."))
    if not request.name or not request.name.isprintable() or "/" in request.name:
        raise Rejected(_("This is not the name of a network."))
    if request.mode in _ON_BRIDGE and not request.bridge:
        raise Rejected(_("The name of a bridge has at most 15 letters, digits and . _ -"))
    if request.mode is NetworkMode.NAT and "/" not in request.address:
        raise Rejected(_("This network needs an address with its prefix, such as 192.0.2.1/24."))
    for group in request.port_groups:
        if group.vlans and request.mode is not NetworkMode.OPEN_VSWITCH:
            raise Rejected(_("Port groups with VLANs need an Open vSwitch bridge."))
        if not all(1 <= vlan <= LARGEST_VLAN for vlan in group.vlans):
            raise Rejected(_("A VLAN has a number from 1 to 4094."))


def _make(host: FakeHost, request: NetworkRequest) -> FakeSwitch:
    kind, mode = _KINDS[request.mode]
    taken = {switch.bridge for switch in host.switches}
    own = next(name for number in range(len(taken) + 1) if (name := f"virbr{number}") not in taken)
    return FakeSwitch(
        uuid=request.uuid,
        name=request.name,
        kind=kind,
        mode=mode,
        bridge=request.bridge or own,
        virtual_port="openvswitch" if request.mode is NetworkMode.OPEN_VSWITCH else "",
        addresses=[request.address] if request.address else [],
        dhcp=["-".join(request.dhcp)] if request.dhcp else [],
        port_groups=[
            FakePortGroup(name=group.name, default=group.default, vlans=list(group.vlans), trunk=len(group.vlans) > 1)
            for group in request.port_groups
        ],
    )
