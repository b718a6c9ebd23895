"""What a simulated world consists of; kept as JSON. Times are seconds since the epoch."""

from __future__ import annotations

import msgspec

from drivers.fake.ops_model import FakeSnapshot, FakeTask, FakeVolume
from drivers.types import GuestState, HostHardware, StorageClass, SwitchKind, Technology


class FakeDisk(msgspec.Struct, kw_only=True):
    target: str
    source: str = ""
    device: str = "disk"
    bus: str = "virtio"
    format: str = "qcow2"
    cache: str = "none"
    read_only: bool = False
    shareable: bool = False
    capacity_bytes: int | None = None
    locked: bool = False  # a CD drive whose guest holds its tray


class FakeNic(msgspec.Struct, kw_only=True):
    mac: str
    network: str = ""
    bridge: str = ""
    link_up: bool = True
    addresses: list[str] = []
    model: str = "virtio"
    port_group: str = ""


class FakeWaiting(msgspec.Struct, kw_only=True):
    """What a running guest gets at its next start."""

    memory_bytes: int = 0
    most_memory_bytes: int = 0
    vcpus: int = 0
    most_vcpus: int = 0
    disks: list[FakeDisk] | None = None
    nics: list[FakeNic] | None = None


class FakeGuest(msgspec.Struct, kw_only=True):
    uuid: str
    name: str
    title: str = ""
    notes: str = ""
    state: GuestState = GuestState.RUNNING
    state_reason: str = "booted"
    vcpus: int = 1
    memory_bytes: int = 1 << 30
    autostart: bool = False
    persistent: bool = True
    firmware: str = "bios"
    cpu_mode: str = "host-model"
    snapshot_count: int = 0
    passthrough: list[str] = []
    disks: list[FakeDisk] = []
    nics: list[FakeNic] = []
    started_at: float = 0.0
    stamp: str = ""
    claim: str = ""  # the stamp of another operation than a migration
    snapshots: list[FakeSnapshot] = []
    current_snapshot: str = ""
    most_memory_bytes: int = 0  # 0: no more than it has
    most_vcpus: int = 0
    machine: str = "pc-q35-7.2"
    waiting: FakeWaiting | None = None


class FakeDatastore(msgspec.Struct, kw_only=True):
    uuid: str
    name: str
    path: str
    technology: Technology = Technology.LOCAL
    storage_class: StorageClass = StorageClass.DAS
    source: str = ""
    kind: str = "dir"
    format: str = ""
    servers: list[str] = []
    isos: list[str] = []  # what lies there beside guests' disks
    active: bool = True
    unlisted: bool = False  # it holds more than a host tells
    autostart: bool = True
    capacity_bytes: int = 1 << 40
    available_bytes: int = 1 << 39
    volumes: dict[str, FakeVolume] = {}  # by name; those of the generated guests are not listed


class FakePortGroup(msgspec.Struct, kw_only=True):
    name: str
    default: bool = False
    vlans: list[int] = []
    trunk: bool = False


class FakeSwitch(msgspec.Struct, kw_only=True):
    uuid: str
    name: str
    kind: SwitchKind = SwitchKind.BRIDGED
    bridge: str = ""
    active: bool = True
    autostart: bool = True
    uplinks: list[str] = []
    mode: str = ""
    virtual_port: str = ""
    port_groups: list[FakePortGroup] = []
    addresses: list[str] = []
    dhcp: list[str] = []


class FakeFault(msgspec.Struct, kw_only=True):
    """One scripted fault. `at` is a session method or "open"; `do` is one of faults.EFFECTS; `times` counts down.

    Migration faults have `at="migration"` and strike when `after` of the memory is copied.
    """

    at: str
    do: str
    times: int = 1  # below zero: for ever
    seconds: float = 0.0
    after: float = 0.5
    fired: int = 0


class FakeMove(msgspec.Struct, kw_only=True):
    """A migration under way or ended, kept at its source host."""

    guest_uuid: str
    stamp: str
    target: str
    started_at: float
    seconds: float
    bytes_total: int
    fault: str = ""
    fault_after: float = 1.0
    fault_seconds: float = 0.0
    cancelled: bool = False
    ended: bool = False
    error: str = ""


class FakeHost(msgspec.Struct, kw_only=True):
    uuid: str
    name: str
    cpu_model: str = "EPYC-Milan"
    cpu_sockets: int = 2
    cpu_cores: int = 32
    cpu_threads: int = 64
    cpu_mhz: int = 2450
    memory_bytes: int = 256 << 30
    vendor: str = "Example Systems"
    model: str = "R1"
    hardware: HostHardware = HostHardware()
    booted_at: float = 0.0
    down_until: float = 0.0
    flapping_s: float = 0.0  # it answers for so long, and then does not for as long
    guests: dict[str, FakeGuest] = {}  # by uuid
    datastores: list[FakeDatastore] = []
    switches: list[FakeSwitch] = []
    faults: list[FakeFault] = []
    moves: list[FakeMove] = []
    tasks: list[FakeTask] = []
    stale_guests: dict[str, FakeGuest] = {}  # what a stale read still shows


class FakeState(msgspec.Struct, kw_only=True):
    """A whole world. `migration_seconds` is how long a move of any guest takes, `task_seconds` another task."""

    hosts: dict[str, FakeHost] = {}
    migration_seconds: float = 0.3
    task_seconds: float = 0.0
