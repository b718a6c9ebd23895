"""A source of any size: 20 guests a host, each with one or two disks and one or two NICs."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime

from drivers.types import (
    DatastoreFact,
    DiskFact,
    GuestFact,
    GuestState,
    HostFact,
    NicFact,
    Snapshot,
    StorageClass,
    SwitchFact,
    SwitchKind,
    Technology,
)

GUESTS_A_HOST = 20
SHARED = "/srv/shared"
LOCAL = "/var/lib/libvirt/images"


def make_snapshot(guests: int) -> Snapshot:
    """The same for the same size."""
    dice = random.Random(guests)
    hosts = [_uuid("host", number) for number in range(max(1, guests // GUESTS_A_HOST))]
    return Snapshot(
        read_started_at=datetime.now(UTC),
        complete=True,
        hosts=tuple(_host(ref, number) for number, ref in enumerate(hosts)),
        guests=tuple(_guest(hosts[number % len(hosts)], number, dice) for number in range(guests)),
        datastores=tuple(store for ref in hosts for store in _datastores(ref)),
        switches=tuple(_switch(ref, name) for ref in hosts for name in ("default", "lan")),
    )


def _uuid(*parts: object) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(map(str, parts))))


def _host(ref: str, number: int) -> HostFact:
    return HostFact(
        ref=ref,
        uuid=ref,
        name=f"host-{number:04d}",
        hypervisor="QEMU",
        hypervisor_version="7.2.22",
        manager_version="9.0.0",
        vendor="Example Systems",
        model="R1",
        cpu_model="EPYC",
        cpu_sockets=2,
        cpu_cores=64,
        cpu_threads=128,
        cpu_mhz=2450,
        memory_bytes=512 << 30,
        architecture="x86_64",
    )


def _guest(host_ref: str, number: int, dice: random.Random) -> GuestFact:
    ref = _uuid("guest", number)
    running = dice.random() < 0.8
    return GuestFact(
        ref=ref,
        host_ref=host_ref,
        uuid=ref,
        name=f"{dice.choice(('web', 'db', 'app', 'cache'))}-{number:05d}",
        title="",
        notes="Patched on the first Tuesday" if dice.random() < 0.3 else "",
        state=GuestState.RUNNING if running else GuestState.OFF,
        state_reason="booted" if running else "shutdown",
        vcpus=dice.choice((1, 2, 4, 8)),
        memory_bytes=dice.choice((1, 2, 4, 8, 16)) << 30,
        autostart=running,
        persistent=True,
        architecture="x86_64",
        machine="pc-q35-7.2",
        firmware="uefi",
        cpu_mode="host-model",
        snapshot_count=0,
        passthrough=(),
        disks=tuple(_disk(number, n) for n in range(dice.choice((1, 1, 2)))),
        nics=tuple(_nic(number, n) for n in range(dice.choice((1, 1, 1, 2)))),
    )


def _disk(guest: int, number: int) -> DiskFact:
    return DiskFact(
        target=f"vd{'ab'[number]}",
        device="disk",
        bus="virtio",
        source=f"{SHARED if number == 0 else LOCAL}/{guest:05d}-{number}.qcow2",
        source_type="file",
        format="qcow2",
        cache="none",
        read_only=False,
        shareable=False,
        capacity_bytes=20 << 30,
    )


def _nic(guest: int, number: int) -> NicFact:
    return NicFact(
        mac=f"52:54:{number:02x}:{guest >> 16 & 255:02x}:{guest >> 8 & 255:02x}:{guest & 255:02x}",
        model="virtio",
        kind="network",
        network=("default", "lan")[number],
        bridge="",
        link_up=True,
        addresses=(f"10.{guest >> 16 & 255}.{guest >> 8 & 255}.{guest & 255}",),
    )


def _datastores(host_ref: str) -> tuple[DatastoreFact, ...]:
    shared = _store(host_ref, _uuid("shared"), "shared", SHARED, Technology.NFS, StorageClass.NAS, "filer:/shared")
    return shared, _store(host_ref, _uuid("local", host_ref), "local", LOCAL, Technology.LOCAL, StorageClass.DAS, "")


def _store(
    host_ref: str, ref: str, name: str, path: str, technology: Technology, storage_class: StorageClass, source: str
) -> DatastoreFact:
    return DatastoreFact(
        ref=name,
        host_ref=host_ref,
        uuid=ref,
        name=name,
        technology=technology,
        storage_class=storage_class,
        path=path,
        source=source,
        active=True,
        capacity_bytes=4 << 40,
        available_bytes=1 << 40,
    )


def _switch(host_ref: str, name: str) -> SwitchFact:
    return SwitchFact(
        ref=name,
        host_ref=host_ref,
        uuid=_uuid("switch", host_ref, name),
        name=name,
        kind=SwitchKind.NAT,
        bridge=f"br-{name}",
        active=True,
        autostart=True,
        uplinks=(),
    )
