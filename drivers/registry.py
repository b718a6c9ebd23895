"""The kinds of source we know, as data. Loads no driver: importable anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import cast

from drivers.base import OpenSession
from drivers.errors import NotSupported
from drivers.types import Capability, Endpoint, Hypervisor, PowerAction, Transport
from drivers.words import gettext_noop as _

OPERATIONS = frozenset(Capability) - {Capability.POWER, Capability.LIVE_MIGRATION}


@dataclass(frozen=True, slots=True)
class DriverKind:
    """`opener` is the dotted path of a function `open_session(endpoint)`, imported only where sessions are opened."""

    kind: str
    label: str
    opener: str
    capabilities: frozenset[Capability]
    page_transports: tuple[Transport, ...]  # what a person may add on the page
    server_transports: tuple[Transport, ...]  # what only the server's own configuration may add


KINDS: dict[str, DriverKind] = {
    driver.kind: driver
    for driver in (
        DriverKind(
            kind="libvirt",
            label=_("KVM / QEMU (libvirt)"),
            opener="drivers.libvirt.session:open_session",
            capabilities=frozenset({Capability.POWER, Capability.LIVE_MIGRATION, *OPERATIONS}),
            page_transports=(Transport.SSH, Transport.TLS, Transport.TCP),
            server_transports=(Transport.TCP, Transport.TLS, Transport.SSH, Transport.UNIX, Transport.TEST),
        ),
        DriverKind(
            kind="fake",
            label=_("Simulated hypervisor"),
            opener="drivers.fake.session:open_session",
            capabilities=frozenset({Capability.POWER, Capability.LIVE_MIGRATION, *OPERATIONS}),
            page_transports=(),
            server_transports=(Transport.FAKE,),
        ),
    )
}


_COMMON = frozenset({Capability.POWER, Capability.EDIT, Capability.STORAGE, Capability.NETWORKS, Capability.EVENTS})
_CANNOT = _("Sources of this kind cannot do that.")


@dataclass(frozen=True, slots=True)
class Flavor:
    """What one of libvirt's hypervisors can do here, and for what it cannot a sentence why."""

    capabilities: frozenset[Capability]
    reasons: dict[Capability, str]
    power: dict[PowerAction, str] = field(default_factory=dict)  # what it cannot of the power actions
    settings: dict[str, str] = field(default_factory=dict)  # which of a guest's settings it cannot change


_CONTAINER_VCPUS = _("libvirt gives containers no other number of virtual CPUs.")

FLAVORS: dict[Hypervisor, Flavor] = {
    Hypervisor.QEMU: Flavor(KINDS["libvirt"].capabilities, {}),
    # Seen with libvirt 9.0: snapshots, resetting, renaming, virtual CPUs and jobs are not supported by its LXC driver.
    Hypervisor.LXC: Flavor(
        _COMMON,
        {
            Capability.LIVE_MIGRATION: _("libvirt cannot move a running container to another host."),
            Capability.SNAPSHOTS: _("libvirt makes no snapshots of containers."),
            Capability.DEVICES: _("Devices of containers are not changed from here; use virsh edit on their host."),
            Capability.DEFINE: _("Containers are not made or deleted from here; use virsh on their host."),
            Capability.CONTENT: _("Files are not sent to the datastores of hosts that run containers."),
        },
        {PowerAction.RESET: _("A container cannot be reset; power it off, then start it.")},
        {
            "name": _("libvirt cannot rename a container."),
            "vcpus": _CONTAINER_VCPUS,
            "most_vcpus": _CONTAINER_VCPUS,
        },
    ),
    # Source: https://libvirt.org/hvsupport.html, the column of libxl.
    Hypervisor.XEN: Flavor(
        _COMMON,
        {
            Capability.LIVE_MIGRATION: _("Guests on Xen are not moved from here: use virsh or xl on their host."),
            Capability.SNAPSHOTS: _("libvirt makes no snapshots of guests on Xen."),
            Capability.DEVICES: _("Devices of guests on Xen are not changed from here; use virsh edit on their host."),
            Capability.DEFINE: _("Guests on Xen are not made or deleted from here; use virsh on their host."),
            Capability.CONTENT: _("Files are not sent to the datastores of hosts that run Xen."),
        },
    ),
}
TEST_CAPABILITIES = KINDS["libvirt"].capabilities - {
    Capability.LIVE_MIGRATION,
    Capability.DEVICES,
    Capability.CONTENT,
}
"""Of libvirt's built-in test driver."""


def capabilities_of(kind: str, transport: str, hypervisor: str) -> frozenset[Capability]:
    """What a source's sessions declare, without opening one; nothing for an unknown kind."""
    if kind != "libvirt":
        return KINDS[kind].capabilities if kind in KINDS else frozenset()
    if transport == Transport.TEST:
        return TEST_CAPABILITIES
    return FLAVORS[Hypervisor(hypervisor)].capabilities


def unsupported_reason(kind: str, transport: str, hypervisor: str, capability: Capability) -> str:
    """Why sources like this one cannot do it; empty when they can."""
    if capability in capabilities_of(kind, transport, hypervisor):
        return ""
    return FLAVORS[Hypervisor(hypervisor)].reasons.get(capability, _CANNOT) if kind == "libvirt" else _CANNOT


def powerless_reason(kind: str, hypervisor: str, action: PowerAction) -> str:
    """Why guests of sources like this one know no such action; empty when they do."""
    return FLAVORS[Hypervisor(hypervisor)].power.get(action, "") if kind == "libvirt" else ""


def fixed_reason(kind: str, hypervisor: str, setting: str) -> str:
    """Why this setting of guests of sources like this one stays as it is; empty when it can be changed."""
    return FLAVORS[Hypervisor(hypervisor)].settings.get(setting, "") if kind == "libvirt" else ""


def load_opener(endpoint: Endpoint) -> OpenSession:
    """Import the driver of an endpoint.

    Raises: NotSupported for an unknown kind.
    """
    driver = KINDS.get(endpoint.kind)
    if driver is None:
        raise NotSupported(_("This kind of source is not known here."))
    module, name = driver.opener.split(":")
    return cast("OpenSession", getattr(import_module(module), name))
