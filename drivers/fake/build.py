"""Makes hosts and guests of plausible size and variety; the same seed gives the same world."""

from __future__ import annotations

import random
import time
import uuid

from drivers.fake.hardware import make_hardware
from drivers.fake.model import FakeDatastore, FakeDisk, FakeGuest, FakeHost, FakeNic, FakePortGroup, FakeSwitch
from drivers.types import GuestState, StorageClass, SwitchKind, Technology

GIB = 1 << 30
ROLES = ("web", "db", "app", "cache", "mail", "build", "proxy", "log")
SHARED_PATH = "/var/lib/libvirt/shared"
LOCAL_PATH = "/var/lib/libvirt/images"
ISOS = ("debian-12-netinst.iso", "virtio-win.iso")


def make_uuid(*parts: object) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "guesthouse-fake:" + ":".join(map(str, parts))))


def make_host(name: str, *, guests: int, seed: int = 0) -> FakeHost:
    """One host with its guests, a shared and a local datastore, and a switch of each usual kind."""
    dice = random.Random(f"{seed}:{name}")  # noqa: S311 (plausible data, no secrets)
    host = FakeHost(uuid=make_uuid(seed, "host", name), name=name, datastores=_datastores(name, seed))
    host.switches = _switches(name, seed)
    _build(host, seed)
    for number in range(guests):
        guest = make_guest(f"{dice.choice(ROLES)}-{name}-{number:02d}", dice=dice, seed=seed)
        host.guests[guest.uuid] = guest
    return host


def _build(host: FakeHost, seed: int) -> None:
    """With dice of its own: what a host is built from says nothing about its guests."""
    dice = random.Random(f"{seed}:{host.name}:hardware")  # noqa: S311
    host.hardware = make_hardware(dice, memory_bytes=host.memory_bytes, cpu_threads=host.cpu_threads)
    if host.hardware.white_box:
        host.vendor, host.model = "Example Boards", "B2"


def start_counters(host: FakeHost) -> None:
    """They begin a while ago."""
    now = time.time()
    host.booted_at = now - 3600
    for guest in host.guests.values():
        guest.started_at = now - 600


def make_guest(name: str, *, dice: random.Random, seed: int = 0) -> FakeGuest:
    running = dice.random() < 0.8  # noqa: PLR2004 (four of five run)
    mac = "52:54:00:" + ":".join(f"{dice.randrange(256):02x}" for _ in range(3))
    return FakeGuest(
        uuid=make_uuid(seed, "guest", name),
        name=name,
        title=f"{name.partition('-')[0]} server" if dice.random() < 0.5 else "",  # noqa: PLR2004
        notes="Patched on the first Tuesday" if dice.random() < 0.3 else "",  # noqa: PLR2004
        state=GuestState.RUNNING if running else GuestState.OFF,
        state_reason="booted" if running else "shutdown",
        vcpus=dice.choice((1, 2, 4, 8)),
        memory_bytes=dice.choice((1, 2, 4, 8, 16)) * GIB,
        autostart=running,
        firmware=dice.choice(("bios", "uefi")),
        disks=_disks(name, dice),
        nics=[FakeNic(mac=mac, bridge="br0", addresses=[f"10.66.{dice.randrange(256)}.{dice.randrange(1, 255)}"])],
    )


def _disks(name: str, dice: random.Random) -> list[FakeDisk]:
    return [
        FakeDisk(
            target=f"vd{'abc'[number]}",
            source=f"{SHARED_PATH}/{name}-{number}.qcow2",
            capacity_bytes=dice.choice((10, 20, 50, 100)) * GIB,
        )
        for number in range(dice.choice((1, 1, 2, 3)))
    ]


def _datastores(name: str, seed: int) -> list[FakeDatastore]:
    return [
        FakeDatastore(
            uuid=make_uuid(seed, "shared"),
            name="shared",
            path=SHARED_PATH,
            technology=Technology.GLUSTER,
            storage_class=StorageClass.NAS,
            source="filer:/shared",
            kind="netfs",
            format="glusterfs",
            servers=["filer"],
            capacity_bytes=20 << 40,
            available_bytes=8 << 40,
        ),
        FakeDatastore(uuid=make_uuid(seed, "local", name), name="local", path=LOCAL_PATH, isos=list(ISOS)),
    ]


def _switches(name: str, seed: int) -> list[FakeSwitch]:
    kinds: tuple[tuple[str, SwitchKind, str, str, list[str]], ...] = (
        ("default", SwitchKind.NAT, "nat", "virbr0", []),
        ("storage", SwitchKind.ISOLATED, "", "virbr1", []),
        ("lan", SwitchKind.BRIDGED, "bridge", "br0", ["eth1"]),
        ("vlans", SwitchKind.BRIDGED, "bridge", "ovs0", ["eth2"]),
    )
    default, storage, lan, vlans = (
        FakeSwitch(
            uuid=make_uuid(seed, name, switch), name=switch, kind=kind, mode=mode, bridge=bridge, uplinks=uplinks
        )
        for switch, kind, mode, bridge, uplinks in kinds
    )
    default.addresses, default.dhcp = ["192.168.122.1/24"], ["192.168.122.2-192.168.122.254"]
    vlans.virtual_port = "openvswitch"
    vlans.port_groups = [
        FakePortGroup(name="office", default=True, vlans=[20]),
        FakePortGroup(name="backup", vlans=[30]),
        FakePortGroup(name="routers", vlans=[20, 30], trunk=True),
    ]
    return [default, storage, lan, vlans]
