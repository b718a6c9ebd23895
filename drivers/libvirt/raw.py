"""What `collect` hands to `parse`: libvirt's answers as they came, so that recordings can stand in for a host."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RawAgent:
    """`info` is virDomainGetGuestInfo's answer, as far as it is used."""

    info: dict[str, int | str] = field(default_factory=dict)
    addresses: tuple[tuple[str, str], ...] = ()  # (MAC address, IP address)


@dataclass(frozen=True, slots=True)
class RawGuest:
    """`xml` is empty when it could not be read, `agent` None when it did not tell.

    Addresses are pairs of a MAC address and an IP address.
    """

    uuid: str
    name: str
    xml: str = ""
    stats: dict[str, int | str] = field(default_factory=dict)
    autostart: bool = False
    persistent: bool = True
    snapshot_count: int = 0
    addresses: tuple[tuple[str, str], ...] = ()  # by lease or ARP, in recordings from before they were told apart
    leases: tuple[tuple[str, str], ...] = ()
    arp: tuple[tuple[str, str], ...] = ()
    agent: RawAgent | None = None
    snapshots: tuple[str, ...] = ()  # their descriptions, without that of the guest as it was then
    current_snapshot: str = ""


@dataclass(frozen=True, slots=True)
class RawVolume:
    """`xml` is empty when it could not be read."""

    name: str
    key: str = ""
    xml: str = ""


@dataclass(frozen=True, slots=True)
class RawPool:
    """`cut` says that `volumes` may lack some."""

    xml: str
    active: bool
    autostart: bool
    volumes: tuple[RawVolume, ...] = ()
    cut: bool = False


@dataclass(frozen=True, slots=True)
class RawNetwork:
    xml: str
    active: bool
    autostart: bool
    bridge_xml: str = ""  # the host's own bridge, with its ports


@dataclass(frozen=True, slots=True)
class RawBridge:
    """A bridge that guests name. `xml` is empty when the host tells nothing of it, `missing` when it has none."""

    name: str
    xml: str = ""
    missing: bool = False


@dataclass(frozen=True, slots=True)
class RawHost:
    """`node` is virNodeGetInfo's tuple; memory is in KiB by name, CPU times in nanoseconds by kind."""

    hostname: str
    hypervisor: str
    hypervisor_version: int
    library_version: int
    node: tuple[str | int, ...]
    capabilities_xml: str = ""
    sysinfo_xml: str = ""
    memory_kib: dict[str, int] = field(default_factory=dict)
    cpu_ns: dict[str, int] = field(default_factory=dict)
    cpu_xml: str = ""  # the processor with every feature by name
    devices: tuple[str, ...] = ()  # PCI devices, network devices, SCSI hosts
    interfaces: tuple[str, ...] = ()  # where the host has libvirt's interface driver


@dataclass(frozen=True, slots=True)
class RawInventory:
    read_started_at: datetime
    complete: bool
    host: RawHost
    guests: tuple[RawGuest, ...]
    pools: tuple[RawPool, ...]
    networks: tuple[RawNetwork, ...]
    bridges: tuple[RawBridge, ...] = ()


@dataclass(frozen=True, slots=True)
class RawReading:
    """`bare` says that the guests' load was not asked for."""

    read_started_at: datetime
    host: RawHost
    guests: tuple[RawGuest, ...]
    bare: bool = False
