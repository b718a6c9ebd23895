"""Asks a host for what it is: its capabilities, its firmware's tables, its devices and network interfaces."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import libvirt

from drivers.errors import AuthFailed, Busy, NotFound, NotSupported, Rejected
from drivers.libvirt.connection import Connection
from drivers.libvirt.raw import RawHost
from drivers.libvirt.reader import Reader

MOST_DEVICES = 4_000
MOST_INTERFACES = 1_000
LONGEST_DEVICE = 256 * 1024  # a card with 256 virtual functions takes 25 KiB
MOST_DEVICE_TEXT = 16 * 1024 * 1024
LONGEST_CPU = 256 * 1024
# A big server has thousands of devices (CPUs' threads, disks, USB interfaces); these are the kinds that become facts.
_KINDS = (
    libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV
    | libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_NET
    | libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_SCSI_HOST
)
KEPT_S = 3600.0
# Guests' own ends come and go; their names spare a round trip each. libvirt names a device net_<interface>_<MAC>.
_GUESTS_ENDS = re.compile(r"(?:net_)?(?:vnet|macvtap|macvlan|tap|vif|veth|virbr)\d[\w.-]*|(?:net_)?lo(?:_[0-9a-f_]+)?")


class KeptDevices:
    """What a session remembers of its host's PCI devices, so that hundreds of round trips are made once an hour.

    They change when a device comes or goes, which shows in the list of names: then all are read anew.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._names: frozenset[str] = frozenset()
        self._read_at = 0.0
        self._xml: dict[str, str] = {}

    def fit(self, names: frozenset[str]) -> bool:
        return names == self._names and self._clock() - self._read_at < KEPT_S

    def start(self, names: frozenset[str]) -> None:
        self._names, self._read_at, self._xml = names, self._clock(), {}

    def get(self, name: str) -> str:
        return self._xml.get(name, "")

    def keep(self, name: str, xml: str) -> None:
        self._xml[name] = xml


def read_host(reader: Reader, kept: KeptDevices) -> RawHost:
    """Everything: twelve round trips, one per network device, SCSI host and interface, and for what `kept` lacks."""
    raw, call = reader.raw, reader.call
    capabilities = capabilities_xml(reader.connection)
    return RawHost(
        hostname=str(call(raw.getHostname)),
        hypervisor=str(call(raw.getType)),
        hypervisor_version=int(call(raw.getVersion)),
        library_version=int(call(raw.getLibVersion)),
        node=tuple(call(raw.getInfo)),
        capabilities_xml=capabilities,
        sysinfo_xml=_text(reader, raw.getSysinfo),
        cpu_xml=_cpu_xml(reader, capabilities),
        devices=_devices(reader, kept),
        interfaces=_interfaces(reader),
        **_figures(reader),
    )


def read_host_load(reader: Reader) -> RawHost:
    """Five round trips: libvirt's client asks first how many figures there are, twice."""
    node = tuple(reader.call(reader.raw.getInfo))
    return RawHost("", "", 0, 0, node, **_figures(reader))


def capabilities_xml(connection: Connection) -> str:
    """The capabilities, which hold the host's UUID. That does not change while a connection lives."""
    return str(connection.call(connection.raw.getCapabilities))


def _figures(reader: Reader) -> dict[str, Any]:
    raw = reader.raw
    return {
        "memory_kib": reader.optional({}, raw.getMemoryStats, libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS),
        "cpu_ns": reader.optional({}, raw.getCPUStats, libvirt.VIR_NODE_CPU_STATS_ALL_CPUS),
    }


def _text(reader: Reader, method: Callable[..., Any], *args: Any) -> str:
    """What a host, or this account on it, need not tell: a host without it is whole. A broken connection is an error.

    A device that always fails to be read must not make every read of its host incomplete.
    """
    try:
        return str(reader.call(method, *args))
    except (NotFound, NotSupported, Rejected, Busy, AuthFailed):
        return ""


def _all(reader: Reader, method: Callable[..., Any], flags: int, most: int) -> list[Any]:
    try:
        return list(reader.call(method, flags))[:most]
    except (NotSupported, Rejected, AuthFailed):
        return []


def _cpu_xml(reader: Reader, capabilities: str) -> str:
    """The host's processor with every feature by name.

    The capabilities name a model and the features beyond it. The hypervisor's own baseline and the domain
    capabilities leave out what guests cannot have, so this one is asked, about the host alone.

    Source: https://libvirt.org/html/libvirt-libvirt-host.html#virConnectBaselineCPU, on
    VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES: it lists "all CPU features that are part of the host CPU".
    """
    start, end = capabilities.find("<cpu>"), capabilities.find("</cpu>")
    cpu = capabilities[start : end + len("</cpu>")] if 0 <= start < end else ""
    if "<model>" not in cpu or len(cpu) > LONGEST_CPU:  # libvirt refuses it, and writes an error into its log
        return ""
    return _text(reader, reader.raw.baselineCPU, [cpu], libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES)


def _devices(reader: Reader, kept: KeptDevices) -> tuple[str, ...]:
    listed = _all(reader, reader.raw.listAllDevices, _KINDS, MOST_DEVICES)
    devices = {str(device.name()): device for device in listed}
    devices = {name: device for name, device in sorted(devices.items()) if not _GUESTS_ENDS.fullmatch(name)}
    names = frozenset(devices)
    if not kept.fit(names):
        kept.start(names)
    found, left = [], MOST_DEVICE_TEXT
    for name, device in devices.items():
        xml = kept.get(name) or _text(reader, device.XMLDesc, 0)
        left -= len(xml)
        if left < 0:
            break
        if len(xml) <= LONGEST_DEVICE:
            found.append(xml)
            if name.startswith("pci_"):
                kept.keep(name, xml)
    return tuple(xml for xml in found if xml)


def _interfaces(reader: Reader) -> tuple[str, ...]:
    interfaces = _all(reader, reader.raw.listAllInterfaces, 0, MOST_INTERFACES)
    named = {str(interface.name()): interface for interface in interfaces}
    read = (_text(reader, named[name].XMLDesc, 0) for name in sorted(named) if not _GUESTS_ENDS.fullmatch(name))
    return tuple(xml for xml in read if 0 < len(xml) <= LONGEST_DEVICE)
