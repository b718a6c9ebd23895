"""What operations are asked with and what they answer: frozen values, units in the names, built from validated parts.

A request never holds a piece of XML, a URI or a path that a person typed: its texts are escaped, and names are checked
again by the driver.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from drivers.words import Parameters


class Effect(StrEnum):
    """From when on a change counts."""

    NOW = "now"
    AFTER_NEXT_START = "after_next_start"  # of the guest: power it off and on, a restart from inside is not enough


class TaskPhase(StrEnum):
    RUNNING = "running"
    ENDED = "ended"  # as asked, unless `error_code` says otherwise
    UNKNOWN = "unknown"  # nothing of this name is known to run: it never began, or whoever began it is gone


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """A reading of an operation that lasts. Sizes are none where the hypervisor does not tell."""

    phase: TaskPhase
    bytes_total: int | None = None
    bytes_done: int | None = None
    error_code: str = ""  # of `drivers.errors.ERRORS`; empty while it runs and when it ended as asked
    error: str = ""  # a template for `error_parameters`
    error_parameters: Parameters = ()


# Snapshots


class SnapshotKind(StrEnum):
    INTERNAL = "internal"  # inside the disks' own images: may be reverted to anywhere
    EXTERNAL = "external"  # the disks go on in new files; without memory


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """`kind` none: internal where the guest allows it. `quiesce` lets the guest's agent flush its file systems."""

    name: str
    notes: str = ""
    memory: bool = True  # of a guest that runs; one that is off has none
    quiesce: bool = False
    kind: SnapshotKind | None = None


@dataclass(frozen=True, slots=True)
class SnapshotRef:
    """One snapshot of a guest: another of the same name, made at another time, is not meant."""

    name: str
    created_at: datetime | None = None


class RevertOutcome(StrEnum):
    NOT_DONE = "not_done"  # nothing was changed
    DONE = "done"
    UNCLEAR = "unclear"  # the guest was stopped for it, and is not what the snapshot says: a person looks at it


# Guests


@dataclass(frozen=True, slots=True)
class DiskRequest:
    """A disk of a new guest, or one to add. `path` is an existing volume's. The guest's name for it is chosen."""

    path: str
    format: str = "qcow2"  # of the volume: never guessed from its content, which the guest writes
    bus: str = "virtio"
    cache: str = ""
    read_only: bool = False
    block: bool = False  # the volume is a device, not a file


@dataclass(frozen=True, slots=True)
class NicRequest:
    """A network adapter. Exactly one of `network` and `bridge`. By its MAC address, the caller's, it is known again."""

    mac: str
    network: str = ""
    bridge: str = ""
    port_group: str = ""
    open_vswitch: bool = False  # of a bridge
    model: str = "virtio"
    link_up: bool = True


@dataclass(frozen=True, slots=True)
class GuestRequest:
    """A new guest, off at first. Its UUID is the caller's: by it the same request asked twice is known."""

    uuid: str
    name: str
    memory_bytes: int
    vcpus: int
    title: str = ""
    notes: str = ""
    architecture: str = ""  # the host's own
    machine: str = ""  # the host's default
    uefi: bool = False
    disks: tuple[DiskRequest, ...] = ()
    iso_path: str = ""
    nics: tuple[NicRequest, ...] = ()
    vnc: bool = True
    os: str = ""  # libosinfo's id, a URL


@dataclass(frozen=True, slots=True)
class CloneRequest:
    """A second guest like the first, which is off. Its volumes are copied before, by `copy_volume`.

    `disks` has for each target of a disk that is copied the copy's path; other disks, read-only ones and CDs are
    shared. `macs` are the new MAC addresses, in the order of the NICs.
    """

    uuid: str
    name: str
    disks: tuple[tuple[str, str], ...]
    macs: tuple[str, ...]


# Storage


@dataclass(frozen=True, slots=True)
class VolumeRequest:
    """A new volume in a pool."""

    datastore_uuid: str
    name: str
    capacity_bytes: int
    format: str = "qcow2"  # raw, qcow2
    preallocate: bool = False


@dataclass(frozen=True, slots=True)
class VolumeRef:
    datastore_uuid: str
    name: str


@dataclass(frozen=True, slots=True)
class VolumeResult:
    """Where a volume is, as guests name it."""

    name: str
    path: str
    capacity_bytes: int
    block: bool = False


# Networks


class NetworkMode(StrEnum):
    NAT = "nat"
    ISOLATED = "isolated"
    BRIDGED = "bridged"
    OPEN_VSWITCH = "open_vswitch"


@dataclass(frozen=True, slots=True)
class PortGroupRequest:
    """`vlans` has one number for an access port, several for a trunk, none for untagged."""

    name: str
    vlans: tuple[int, ...] = ()
    default: bool = False


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """A new virtual switch. Its UUID is the caller's: by it the same request asked twice is known.

    `bridge` is the host's existing bridge for bridged and Open vSwitch networks. `address` with its prefix
    (192.0.2.1/24) and `dhcp` (first, last) are for nat and isolated ones.
    """

    uuid: str
    name: str
    mode: NetworkMode
    bridge: str = ""
    address: str = ""
    dhcp: tuple[str, str] | None = None
    domain: str = ""
    port_groups: tuple[PortGroupRequest, ...] = ()
    autostart: bool = True
