"""Asking for virtual networks: made, started, stopped, deleted. `act_runner` does it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import uuid4

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from access.models import require
from access.roles import Action
from core.errors import Conflict, Invalid
from drivers.requests import NetworkMode
from drivers.types import Capability
from hosts.able import require_able
from hosts.facts import digest
from hosts.models import Host
from networks.models import VirtualSwitch
from operations.models import Job
from operations.services import submit_job

NETWORK_CREATE = "network_create"
NETWORK_SWITCH = "network_switch"
LARGEST_VLAN = 4094
MOST_PORT_GROUPS = 100
ON_BRIDGE = frozenset({NetworkMode.BRIDGED, NetworkMode.OPEN_VSWITCH})
# The least that every driver takes.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+:@-]{0,98}")
_BRIDGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


class NetworkAct(StrEnum):
    """What is done to a network that is there."""

    START = "start"
    STOP = "stop"
    AUTOSTART_ON = "autostart_on"
    AUTOSTART_OFF = "autostart_off"
    DELETE = "delete"


NETWORK_ACTS: dict[str, Any] = {
    NetworkAct.START: gettext_lazy("Start network"),
    NetworkAct.STOP: gettext_lazy("Stop network"),
    NetworkAct.AUTOSTART_ON: gettext_lazy("Switch autostart on"),
    NetworkAct.AUTOSTART_OFF: gettext_lazy("Switch autostart off"),
    NetworkAct.DELETE: gettext_lazy("Delete network"),
}


def create_title(parameters: Mapping[str, Any]) -> str:
    return _("Create network %(name)s") % {"name": parameters.get("name", "?")}


def switch_title(parameters: Mapping[str, Any]) -> str:
    return str(NETWORK_ACTS.get(str(parameters.get("action")), "?"))


@dataclass(frozen=True, slots=True)
class PortGroup:
    """As a person asks for it: one VLAN makes an access port, several a trunk."""

    name: str
    vlans: tuple[int, ...] = ()
    default: bool = False


def checked_name(text: str) -> str:
    """Raises: Invalid."""
    name = text.strip()
    if not _NAME.fullmatch(name):
        raise Invalid(
            _("A name begins with a letter or digit and has at most 99 letters, digits, spaces and . _ + : @ -"),
            field="name",
        )
    return name


@dataclass(frozen=True, slots=True)
class NewNetwork:
    """What a person asks for: `bridge` for bridged and Open vSwitch networks, addresses for NAT and isolated ones."""

    host: Host
    name: str
    mode: str
    bridge: str = ""
    address: str = ""
    dhcp_first: str = ""
    dhcp_last: str = ""
    domain: str = ""
    port_groups: tuple[PortGroup, ...] = ()
    autostart: bool = True


def submit_network_create(*, new: NewNetwork, by: Any) -> Job:
    """Queue a new network.

    Raises: Forbidden, Invalid, Conflict; AlreadyOpen while another task makes one of this name there.
    """
    require(by, Action.PROVISION)
    host, name, mode, groups = new.host, checked_name(new.name), _mode(new.mode), new.port_groups
    _check_groups(groups, mode)
    parts = _on_bridge(new.bridge) if mode in ON_BRIDGE else _addressed(new, mode)
    require_able(host, Capability.NETWORKS)
    if VirtualSwitch.objects.filter(host=host, managed=True, missing_since=None, name=name).exists():
        raise Invalid(_("%(host)s has a network of this name; choose another.") % {"host": host.name}, field="name")
    return submit_job(
        kind=NETWORK_CREATE,
        target_kind="host",
        target_id=host.pk,
        target_name=host.name,
        parameters={
            "name": name,
            "uuid": str(uuid4()),
            "mode": mode.value,
            **parts,
            "port_groups": [{"name": one.name, "vlans": list(one.vlans), "default": one.default} for one in groups],
            "autostart": new.autostart,
        },
        exclusive=f"network:{host.pk}/{digest(name)}",
        by=by,
    )


def _mode(text: str) -> NetworkMode:
    """Raises: Invalid."""
    try:
        return NetworkMode(text)
    except ValueError:
        names = ", ".join(known.value for known in NetworkMode)
        raise Invalid(_("Use one of: %(names)s.") % {"names": names}, field="mode") from None


def _on_bridge(bridge: str) -> dict[str, Any]:
    """Raises: Invalid."""
    if not _BRIDGE.fullmatch(bridge.strip()):
        raise Invalid(
            _("Name the bridge of the host: at most 15 letters, digits and . _ -"),
            field="bridge",
        )
    return {"bridge": bridge.strip(), "address": "", "dhcp": None, "domain": ""}


def _addressed(new: NewNetwork, mode: NetworkMode) -> dict[str, Any]:
    """Raises: Invalid."""
    own, domain = _interface(new.address.strip(), mode), new.domain.strip()
    first, last = new.dhcp_first.strip(), new.dhcp_last.strip()
    if domain and not _DOMAIN.fullmatch(domain):
        raise Invalid(_("This is not the name of a DNS domain."), field="domain")
    if (first or last) and own is None:
        raise Invalid(_("A range for DHCP needs the network's own address."), field="address")
    dhcp = _range(own, first, last) if own is not None and (first or last) else None
    return {"bridge": "", "address": str(own or ""), "dhcp": dhcp, "domain": domain}


Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def _interface(address: str, mode: NetworkMode) -> Interface | None:
    """Raises: Invalid."""
    if not address and mode is NetworkMode.ISOLATED:
        return None
    wrong = Invalid(_("Enter an address with its prefix, such as 192.0.2.1/24."), field="address")
    if "/" not in address:
        raise wrong
    try:
        own = ipaddress.ip_interface(address)
    except ValueError:
        raise wrong from None
    if own.network.num_addresses <= 2 or own.ip == own.network.network_address:  # noqa: PLR2004 - no room for a guest
        raise wrong
    return own


def _range(own: Interface, first: str, last: str) -> list[str]:
    """Raises: Invalid."""
    try:
        ends = [ipaddress.ip_address(first), ipaddress.ip_address(last)]
    except ValueError:
        raise Invalid(_("Enter the first and the last address for DHCP."), field="dhcp_first") from None
    if any(end not in own.network for end in ends) or int(ends[0]) > int(ends[1]):
        raise Invalid(_("The range lies in the network, its first address before its last."), field="dhcp_first")
    return [str(end) for end in ends]


def _check_groups(groups: tuple[PortGroup, ...], mode: NetworkMode) -> None:
    """Raises: Invalid."""
    if len(groups) > MOST_PORT_GROUPS:
        raise Invalid(_("A network has 100 port groups at most."), field="port_groups")
    for group in groups:
        if not _NAME.fullmatch(group.name):
            raise Invalid(_("This is not the name of a port group."), field="port_groups")
        if not all(1 <= vlan <= LARGEST_VLAN for vlan in group.vlans):
            raise Invalid(_("A VLAN has a number from 1 to 4094."), field="port_groups")
        if group.vlans and mode is not NetworkMode.OPEN_VSWITCH:
            raise Invalid(_("Port groups with VLANs need an Open vSwitch bridge."), field="port_groups")
    if len({group.name for group in groups}) < len(groups) or sum(group.default for group in groups) > 1:
        raise Invalid(_("Each port group has a name of its own, and one at most is the default."), field="port_groups")


def submit_network_switch(*, switch: VirtualSwitch, action: NetworkAct | str, confirmation: str = "", by: Any) -> Job:
    """Queue starting, stopping, autostart or deleting. To delete it, its name is typed. Needs host and source.

    Raises: Forbidden, Invalid, Conflict, AlreadyOpen.
    """
    require(by, Action.PROVISION)
    try:
        wanted = NetworkAct(action)
    except ValueError:
        names = ", ".join(known.value for known in NetworkAct)
        raise Invalid(_("Use one of: %(names)s.") % {"names": names}, field="action") from None
    reason = reason_unmanaged(switch)
    if reason:
        raise Conflict(reason)
    require_able(switch.host, Capability.NETWORKS)
    if wanted is NetworkAct.DELETE and confirmation.strip() != switch.name:
        raise Invalid(_("Type the name of the network as it is written above."), field="confirmation")
    return submit_job(
        kind=NETWORK_SWITCH,
        target_kind="switch",
        target_id=switch.pk,
        target_name=switch.name,
        parameters={
            "action": wanted.value,
            "uuid": switch.uuid,
            "host": str(switch.host_id),
            "host_name": switch.host.name,
        },
        exclusive=f"switch:{switch.pk}",
        by=by,
    )


def reason_unmanaged(switch: VirtualSwitch) -> str:
    """Why a console cannot change it; empty when it can."""
    if not switch.managed:
        return _("This is a bridge of the host itself, not a network of the hypervisor; change it on the host.")
    if switch.missing_since is not None:
        return _("It was not found at the last read of its host.")
    return ""
