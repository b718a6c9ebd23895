"""Facts: what a driver reports, as frozen values. Units are in the names; links are backend references."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from drivers.words import Parameters


class Capability(StrEnum):
    """What a session can do; what is not declared raises NotSupported."""

    POWER = "power"
    LIVE_MIGRATION = "live_migration"


class GuestState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    SUSPENDED = "suspended"  # asleep in memory or on disk by the guest's own power management
    OFF = "off"
    CRASHED = "crashed"
    UNKNOWN = "unknown"


class PowerAction(StrEnum):
    START = "start"
    SHUTDOWN = "shutdown"  # asks the guest's operating system
    RESET = "reset"
    OFF = "off"  # pulls the plug
    SUSPEND = "suspend"  # stops the virtual CPUs, memory stays
    RESUME = "resume"


class Transport(StrEnum):
    TCP = "tcp"
    SSH = "ssh"
    UNIX = "unix"
    TEST = "test"
    FAKE = "fake"


class SwitchKind(StrEnum):
    NAT = "nat"
    ROUTED = "routed"
    ISOLATED = "isolated"
    BRIDGED = "bridged"
    MACVTAP = "macvtap"
    OPEN = "open"
    OTHER = "other"


class Technology(StrEnum):
    """How a datastore is reached."""

    LOCAL = "local"
    NFS = "nfs"
    SMB = "smb"
    GLUSTER = "gluster"
    ISCSI = "iscsi"
    FC = "fc"
    SCSI = "scsi"
    LVM = "lvm"
    ZFS = "zfs"
    RBD = "rbd"
    OTHER = "other"


class StorageClass(StrEnum):
    DAS = "das"
    SAN = "san"
    NAS = "nas"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a source is and how to sign in. Built from validated parts, never from a user's URI.

    `uri` is only for transports from the server's own configuration (unix, test, fake).
    """

    kind: str  # registry kind: "libvirt", "fake"
    transport: Transport
    address: str = ""  # host name or IP literal
    port: int | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)  # OpenSSH PEM
    host_key: str = ""  # pinned, as "type base64", what ssh-keyscan prints without the host
    uri: str = ""
    key: str = ""  # stable name for caches and logs, e.g. the source's id


@dataclass(frozen=True, slots=True)
class HostKeyFact:
    """An SSH host key as presented now. `fingerprint` is OpenSSH's SHA256:… form."""

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class HostFact:
    ref: str
    uuid: str
    name: str
    hypervisor: str  # "QEMU"
    hypervisor_version: str
    manager_version: str  # libvirt's own
    vendor: str
    model: str
    cpu_model: str
    cpu_sockets: int
    cpu_cores: int  # whole host
    cpu_threads: int  # whole host
    cpu_mhz: int
    memory_bytes: int
    architecture: str


@dataclass(frozen=True, slots=True)
class DiskFact:
    target: str  # vda
    device: str  # disk, cdrom, floppy, lun
    bus: str
    source: str  # path, pool/volume or network name; "" for an empty drive
    source_type: str  # file, block, network, volume, ""
    format: str
    cache: str
    read_only: bool
    shareable: bool
    capacity_bytes: int | None


@dataclass(frozen=True, slots=True)
class NicFact:
    mac: str
    model: str
    kind: str  # network, bridge, direct, user …
    network: str  # libvirt network (our switch) name, or ""
    bridge: str
    link_up: bool
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GuestFact:
    ref: str
    host_ref: str
    uuid: str
    name: str
    title: str
    notes: str
    state: GuestState
    state_reason: str
    vcpus: int
    memory_bytes: int
    autostart: bool
    persistent: bool
    architecture: str
    machine: str
    firmware: str  # bios, uefi, direct kernel
    cpu_mode: str
    snapshot_count: int
    passthrough: tuple[str, ...]
    disks: tuple[DiskFact, ...]
    nics: tuple[NicFact, ...]


@dataclass(frozen=True, slots=True)
class DatastoreFact:
    """One mount of a datastore on one host; the sync decides which mounts are one datastore."""

    ref: str
    host_ref: str
    uuid: str
    name: str
    technology: Technology
    storage_class: StorageClass
    path: str
    source: str  # server:/export, volume group … or ""
    active: bool
    capacity_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True)
class SwitchFact:
    ref: str
    host_ref: str
    uuid: str
    name: str
    kind: SwitchKind
    bridge: str
    active: bool
    autostart: bool
    uplinks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One read of a source. Only a complete one may mark rows missing."""

    read_started_at: datetime  # UTC
    complete: bool
    hosts: tuple[HostFact, ...]
    guests: tuple[GuestFact, ...]
    datastores: tuple[DatastoreFact, ...]
    switches: tuple[SwitchFact, ...]


@dataclass(frozen=True, slots=True)
class GuestLoadFact:
    """Counters since the guest started; rates come from two readings."""

    cpu_time_ns: int
    memory_used_bytes: int
    disk_read_bytes: int
    disk_written_bytes: int
    net_received_bytes: int
    net_sent_bytes: int


@dataclass(frozen=True, slots=True)
class GuestStateFact:
    ref: str
    host_ref: str
    uuid: str
    name: str
    state: GuestState
    state_reason: str
    load: GuestLoadFact | None


@dataclass(frozen=True, slots=True)
class HostLoadFact:
    ref: str
    cpu_busy_ns: int
    cpu_total_ns: int
    memory_used_bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class StateReading:
    """The quick poll: state and load of every guest, in a constant number of round trips a host."""

    read_started_at: datetime
    complete: bool
    guests: tuple[GuestStateFact, ...]
    hosts: tuple[HostLoadFact, ...]


@dataclass(frozen=True, slots=True)
class GuestSighting:
    """What one host says of one guest, asked just now."""

    ref: str
    uuid: str
    name: str
    state: GuestState
    state_reason: str
    persistent: bool
    stamp: str  # migration attempt written into the guest's metadata, or ""
    job_active: bool  # a migration or save of this guest is under way on this host


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One pre-check's result: `check` is its stable name, `message` a sentence, `fix` what to do or "".

    A driver's two texts are templates for `parameters`.
    """

    check: str
    severity: Severity
    message: str
    fix: str = ""
    parameters: Parameters = ()


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """One attempt to move one guest. `target` is seen from the source host (peer to peer)."""

    guest_ref: str
    guest_uuid: str
    target: Endpoint
    live: bool = True


class MigrationPhase(StrEnum):
    PREPARING = "preparing"
    COPYING = "copying"
    SWITCHING = "switching"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class MigrationProgress:
    """A live reading of an attempt.

    `error`, a template for `error_parameters`, is a sentence when our own call failed; the truth is asked of both
    hosts.
    """

    phase: MigrationPhase
    bytes_total: int | None = None
    bytes_processed: int | None = None
    bytes_remaining: int | None = None
    rate_bytes_per_s: int | None = None
    dirty_rate_bytes_per_s: int | None = None
    iteration: int | None = None
    downtime_ms: int | None = None
    expected_downtime_ms: int | None = None
    elapsed_ms: int | None = None
    error: str = ""
    error_parameters: Parameters = ()
    cancelled: bool = False
