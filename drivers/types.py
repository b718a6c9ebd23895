"""Facts: what a driver reports, as frozen values. Units are in the names; links are backend references."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import msgspec

from drivers.words import Parameters


class Capability(StrEnum):
    """What a session can do; what is not declared raises NotSupported."""

    POWER = "power"
    LIVE_MIGRATION = "live_migration"
    SNAPSHOTS = "snapshots"
    EDIT = "edit"  # name, notes, memory, virtual CPUs …
    DEVICES = "devices"  # disks, CDs, network adapters of a guest
    DEFINE = "define"  # guests: make, clone, forget
    STORAGE = "storage"  # volumes and pools
    CONTENT = "content"  # upload, resize
    NETWORKS = "networks"
    EVENTS = "events"  # tells by itself what changes


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
    TLS = "tls"
    SSH = "ssh"
    UNIX = "unix"
    TEST = "test"
    FAKE = "fake"


class Hypervisor(StrEnum):
    """Which of libvirt's drivers is spoken to. Source: https://libvirt.org/drivers.html"""

    QEMU = "qemu"
    LXC = "lxc"
    XEN = "xen"


class SwitchKind(StrEnum):
    NAT = "nat"
    ROUTED = "routed"
    ISOLATED = "isolated"
    BRIDGED = "bridged"
    MACVTAP = "macvtap"
    OPEN = "open"
    OTHER = "other"


class Technology(StrEnum):
    """How a datastore is reached. Local is a directory, file system or disk the host itself has mounted or holds."""

    LOCAL = "local"
    NFS = "nfs"
    SMB = "smb"
    GLUSTER = "gluster"
    ISCSI = "iscsi"
    FC = "fc"
    SCSI = "scsi"
    SAS = "sas"
    MULTIPATH = "multipath"
    LVM = "lvm"
    ZFS = "zfs"
    RBD = "rbd"
    SHEEPDOG = "sheepdog"
    VSTORAGE = "vstorage"  # Virtuozzo storage
    OTHER = "other"


class StorageClass(StrEnum):
    DAS = "das"
    SAN = "san"
    NAS = "nas"


class Fact(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A read of a large source makes half a million: 7 times as cheap to make as dataclasses, 2.5 times to encode.

    They hold no circles, so the collector of garbage need not visit them.
    """


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
    private_key: str = field(default="", repr=False)  # OpenSSH or PEM; by TLS the client certificate's, PEM
    host_key: str = ""  # pinned, as "type base64", what ssh-keyscan prints without the host; a certificate's is "x509"
    uri: str = ""
    key: str = ""  # stable name for caches and logs, e.g. the source's id
    hypervisor: Hypervisor = Hypervisor.QEMU
    server_name: str = ""  # TLS: whom the certificate must be for, when `address` was looked up
    ca_certificate: str = ""  # TLS: PEM, one or more; without it the host's certificate is pinned
    client_certificate: str = ""  # TLS: PEM, with what is between it and the CA


@dataclass(frozen=True, slots=True)
class HostKeyFact:
    """An SSH host key or a TLS certificate as presented now.

    `fingerprint` is OpenSSH's SHA256:… form, or for a certificate that of `openssl x509 -fingerprint -sha256`.
    """

    key: str
    fingerprint: str


class NumaCellFact(Fact, frozen=True):
    number: int
    memory_bytes: int
    cpus: tuple[int, ...]
    distances: tuple[tuple[int, int], ...] = ()  # (other cell, distance; 10 is the cell itself)


class HugepagesFact(Fact, frozen=True):
    """One size of memory page and how many of it the host keeps apart."""

    page_bytes: int
    count: int


class HostNicFact(Fact, frozen=True):
    """A network interface of the host itself; guests' own ends (taps) are none."""

    name: str
    mac: str
    kind: str  # ethernet, bond, bridge, vlan, vf, wireless, infiniband; virtual when nothing says which
    link_up: bool
    speed_mbps: int | None = None
    pci_address: str = ""
    ports: tuple[str, ...] = ()  # what a bond or a bridge is made of, or a VLAN is on; guests' ends are none
    vlan: int | None = None
    physical_function: str = ""  # of a virtual function: its card's address


class HostBusAdapterFact(Fact, frozen=True):
    """A card that reaches storage. World wide names are empty where the technology has none."""

    name: str  # host3; the PCI address where the system has no such name
    kind: str  # fc, iscsi, sas, sata, ata, ide, nvme, raid, scsi, storage
    pci_address: str = ""
    wwnn: str = ""
    wwpn: str = ""
    fabric_wwn: str = ""
    virtual_ports: int = 0  # NPIV ports it may have
    iqn: str = ""


class PciFact(Fact, frozen=True):
    address: str  # 0000:3b:00.0
    device_class: str  # as the bus says, six hexadecimal digits
    vendor: str
    product: str
    driver: str
    numa_cell: int | None = None
    iommu_group: int | None = None
    virtual_functions: int = 0  # SR-IOV: how many there are now
    most_virtual_functions: int = 0
    physical_function: str = ""  # of a virtual function: its card's address
    mediated_types: tuple[str, ...] = ()


class HostHardware(Fact, frozen=True):
    """What a host is built from. Empty or none where the host does not tell."""

    white_box: bool | None = None  # the firmware names no maker or no product; then vendor and model are the board's
    serial: str = ""  # the system's, else the board's
    board: str = ""  # vendor and product of the main board
    bios_version: str = ""
    bios_date: str = ""  # ISO 8601
    cpu_vendor: str = ""
    cpu_flags: tuple[str, ...] = ()  # as the processor has them, sorted
    virtualization: str = ""  # VT-x, AMD-V
    virtualization_enabled: bool | None = None
    iommu: bool | None = None  # VT-d, AMD-Vi, SMMU: present and switched on
    security_models: tuple[str, ...] = ()
    guest_kinds: tuple[str, ...] = ()  # "x86_64 kvm", "aarch64 qemu": what its guests may be
    machine_types: tuple[str, ...] = ()  # of its own architecture
    numa: tuple[NumaCellFact, ...] = ()
    hugepages: tuple[HugepagesFact, ...] = ()
    nics: tuple[HostNicFact, ...] = ()
    adapters: tuple[HostBusAdapterFact, ...] = ()
    pci: tuple[PciFact, ...] = ()


class HostFact(Fact, frozen=True):
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
    hardware: HostHardware = HostHardware()


class ImageFact(Fact, frozen=True):
    """One link of a disk's backing chain."""

    source: str
    source_type: str
    format: str


class DiskFact(Fact, frozen=True):
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
    serial: str = ""
    wwn: str = ""
    io: str = ""  # native, threads, io_uring
    discard: str = ""
    boot_order: int | None = None
    servers: tuple[str, ...] = ()  # of a network disk, host:port
    backing: tuple[ImageFact, ...] = ()  # nearest first
    encrypted: bool = False


class NicFact(Fact, frozen=True):
    mac: str
    model: str
    kind: str  # network, bridge, direct, user …
    network: str  # libvirt network (our switch) name, or ""
    bridge: str
    link_up: bool
    addresses: tuple[str, ...] = ()
    addresses_from: str = ""  # agent, lease, arp
    port_group: str = ""
    virtual_port: str = ""  # openvswitch, 802.1Qbg …
    vlans: tuple[int, ...] = ()  # several make a trunk
    native_vlan: int | None = None
    device: str = ""  # the host's end
    mtu: int | None = None
    boot_order: int | None = None


class DisplayFact(Fact, frozen=True):
    kind: str  # vnc, spice, rdp, egl-headless …
    address: str = ""
    port: int | None = None
    tls_port: int | None = None
    socket: str = ""


class ConsoleFact(Fact, frozen=True):
    kind: str  # serial, console, parallel, channel
    target: str  # isa-serial, virtio, org.qemu.guest_agent.0 …
    backend: str  # pty, unix, tcp, file …
    source: str = ""  # path or address
    connected: bool | None = None  # of a channel: whether the guest's end is open


class DeviceFact(Fact, frozen=True):
    """Anything else a guest is made of. `detail` is in libvirt's own words: "action=reset"."""

    kind: str  # watchdog, rng, video, sound, controller, filesystem, input, memory, panic, vsock …
    model: str
    detail: str = ""
    count: int = 1  # of the same


class GuestSnapshotFact(Fact, frozen=True):
    """One node of a guest's tree of snapshots."""

    name: str
    parent: str  # "" for a root; never a stranger, never a circle
    created_at: datetime | None
    state: str  # of the guest when it was taken
    notes: str
    current: bool
    memory: bool
    external: bool  # some of it, disks or memory, is in files of its own


class FileSystemFact(Fact, frozen=True):
    mount: str
    kind: str
    devices: tuple[str, ...]  # targets of the guest's disks
    total_bytes: int | None = None


class AgentFact(Fact, frozen=True):
    """What the agent inside the guest says; nothing it says is trusted for more than being shown.

    A snapshot without it was not told: what was known may well hold until the guest stops.
    """

    hostname: str = ""
    os: str = ""  # "Debian GNU/Linux 12 (bookworm)"
    os_id: str = ""
    kernel: str = ""
    time_zone: str = ""
    file_systems: tuple[FileSystemFact, ...] = ()


class GuestHardware(Fact, frozen=True):
    """What a guest is made of beside disks and NICs."""

    cpu_sockets: int = 0  # the topology the guest sees; 0 when nothing is said
    cpu_cores: int = 0  # of a socket, over its dies and clusters
    cpu_threads: int = 0  # of a core
    most_vcpus: int = 0
    most_memory_bytes: int = 0
    cpu_features: tuple[str, ...] = ()  # "require vmx", "disable svm"
    features: tuple[str, ...] = ()  # of the machine: "acpi", "hyperv relaxed"
    cpu_shares: int | None = None
    hugepages: bool = False
    numa_cells: int = 0
    balloon: str = ""
    secure_boot: bool = False
    tpm: str = ""  # model, version, backend: "tpm-crb 2.0 emulator"
    os: str = ""  # libosinfo's id, as the guest's maker wrote it down
    os_type: str = ""  # hvm, exe for a container, xen or linux for a paravirtual guest
    init: str = ""  # of a container
    boot: tuple[str, ...] = ()  # hd, cdrom … or, in their order, disks' targets, NICs' MAC addresses and devices
    metadata: tuple[str, ...] = ()  # name spaces
    displays: tuple[DisplayFact, ...] = ()
    consoles: tuple[ConsoleFact, ...] = ()
    devices: tuple[DeviceFact, ...] = ()
    snapshots: tuple[GuestSnapshotFact, ...] = ()


class GuestFact(Fact, frozen=True):
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
    hardware: GuestHardware = GuestHardware()
    agent: AgentFact | None = None  # none: not told this time, which says nothing about what was told before


class VolumeFact(Fact, frozen=True):
    """A disk image, ISO or block device in a datastore. `allocated_bytes` moves all the time and is no news."""

    key: str
    name: str
    path: str
    kind: str  # file, block, dir, network …
    format: str
    capacity_bytes: int
    allocated_bytes: int
    backing: str = ""


class DatastoreFact(Fact, frozen=True):
    """One mount of a datastore on one host; the sync decides which mounts are one datastore.

    `available_bytes` moves by itself. `source` is one text that is equal wherever the same thing is meant; what it is
    made of is told apart in the fields from `servers` on.
    """

    ref: str
    host_ref: str
    uuid: str
    name: str
    technology: Technology
    storage_class: StorageClass
    path: str
    source: str  # server:/export, target, volume group … or ""
    active: bool
    capacity_bytes: int
    available_bytes: int
    autostart: bool = False
    kind: str = ""  # the driver's own word: dir, netfs, logical …
    format: str = ""  # nfs, ext4, lvm2, gpt …
    servers: tuple[str, ...] = ()  # host or host:port
    devices: tuple[str, ...] = ()  # disks, physical volumes, or an iSCSI target's name
    adapter: str = ""  # the host bus adapter: its WWPN, name or PCI address
    initiator: str = ""  # the iSCSI name the host signs in with
    volumes: tuple[VolumeFact, ...] = ()  # by key
    volumes_cut: bool = False  # `volumes` may lack some: too many, too slow, or the datastore is not active


class PortGroupFact(Fact, frozen=True):
    name: str
    default: bool
    vlans: tuple[int, ...] = ()
    native_vlan: int | None = None
    virtual_port: str = ""
    trunk: bool = False  # frames keep their tags


class SwitchFact(Fact, frozen=True):
    ref: str
    host_ref: str
    uuid: str
    name: str
    kind: SwitchKind
    bridge: str
    active: bool
    autostart: bool
    uplinks: tuple[str, ...]
    virtual_port: str = ""  # openvswitch …
    vlans: tuple[int, ...] = ()
    native_vlan: int | None = None
    port_groups: tuple[PortGroupFact, ...] = ()
    addresses: tuple[str, ...] = ()  # of the host on this switch, with their prefix: 192.0.2.1/24
    dhcp: tuple[str, ...] = ()  # ranges, "192.0.2.2-192.0.2.254"
    domain: str = ""
    mtu: int | None = None
    managed: bool = True  # false for a bare bridge, which libvirt only shows
    mode: str = ""  # the driver's own word: nat, vepa, hostdev …
    trunk: bool = False  # frames keep their tags
    dhcp_hosts: int = 0  # addresses kept for one MAC address each


class Snapshot(Fact, frozen=True):
    """One read of a source. Only a complete one may mark rows missing."""

    read_started_at: datetime  # UTC
    complete: bool
    hosts: tuple[HostFact, ...]
    guests: tuple[GuestFact, ...]
    datastores: tuple[DatastoreFact, ...]
    switches: tuple[SwitchFact, ...]
    server_certificate: str = ""  # of a source reached by TLS, spelled as Endpoint.host_key


class GuestLoadFact(Fact, frozen=True):
    """Counters since the guest started; rates come from two readings."""

    cpu_time_ns: int
    memory_used_bytes: int
    disk_read_bytes: int
    disk_written_bytes: int
    net_received_bytes: int
    net_sent_bytes: int
    memory_bytes: int = 0  # what the balloon leaves the guest now
    disk_reads: int = 0  # requests
    disk_writes: int = 0


class GuestStateFact(Fact, frozen=True):
    ref: str
    host_ref: str
    uuid: str
    name: str
    state: GuestState
    state_reason: str
    load: GuestLoadFact | None


class HostLoadFact(Fact, frozen=True):
    ref: str
    cpu_busy_ns: int
    cpu_total_ns: int
    memory_used_bytes: int
    memory_bytes: int


class StateReading(Fact, frozen=True):
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
