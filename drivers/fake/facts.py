"""From a simulated host to the facts a driver reports. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from zlib import crc32

from drivers.fake.load import guest_load, host_load
from drivers.fake.model import FakeDatastore, FakeDisk, FakeGuest, FakeHost, FakeNic, FakeSwitch
from drivers.fake.ops_model import FakeSnapshot
from drivers.types import (
    DatastoreFact,
    DiskFact,
    GuestFact,
    GuestHardware,
    GuestSnapshotFact,
    GuestState,
    GuestStateFact,
    HostFact,
    NicFact,
    PortGroupFact,
    Snapshot,
    StateReading,
    SwitchFact,
    VolumeFact,
)

ISO_BYTES = 650 << 20


def snapshot_of(
    host: FakeHost, guests: dict[str, FakeGuest], now: float, elsewhere: Iterable[FakeGuest] = ()
) -> Snapshot:
    """What a host tells. `elsewhere`: guests of other hosts, whose disks lie on the shared datastores as well."""
    everybody = [*elsewhere, *guests.values()]
    return Snapshot(
        read_started_at=datetime.fromtimestamp(now, UTC),
        complete=True,
        hosts=(_host(host),),
        guests=tuple(_guest(host, guest) for guest in guests.values()),
        datastores=tuple(
            _datastore(host, store, everybody if store.source else guests.values()) for store in host.datastores
        ),
        switches=tuple(_switch(host, switch) for switch in host.switches),
    )


def reading_of(host: FakeHost, guests: dict[str, FakeGuest], now: float) -> StateReading:
    return StateReading(
        read_started_at=datetime.fromtimestamp(now, UTC),
        complete=True,
        guests=tuple(_state(host, guest, now) for guest in guests.values()),
        hosts=(host_load(host, [one for one in guests.values() if one.state is GuestState.RUNNING], now),),
    )


def _host(host: FakeHost) -> HostFact:
    return HostFact(
        ref=host.uuid,
        uuid=host.uuid,
        name=host.name,
        hypervisor="QEMU",
        hypervisor_version="7.2.22",
        manager_version="9.0.0",
        vendor=host.vendor,
        model=host.model,
        cpu_model=host.cpu_model,
        cpu_sockets=host.cpu_sockets,
        cpu_cores=host.cpu_cores,
        cpu_threads=host.cpu_threads,
        cpu_mhz=host.cpu_mhz,
        memory_bytes=host.memory_bytes,
        architecture="x86_64",
        hardware=host.hardware,
    )


def _guest(host: FakeHost, guest: FakeGuest) -> GuestFact:
    return GuestFact(
        ref=guest.uuid,
        host_ref=host.uuid,
        uuid=guest.uuid,
        name=guest.name,
        title=guest.title,
        notes=guest.notes,
        state=guest.state,
        state_reason=guest.state_reason,
        vcpus=guest.vcpus,
        memory_bytes=guest.memory_bytes,
        autostart=guest.autostart,
        persistent=guest.persistent,
        architecture="x86_64",
        machine=guest.machine,
        firmware=guest.firmware,
        cpu_mode=guest.cpu_mode,
        snapshot_count=guest.snapshot_count,
        passthrough=tuple(guest.passthrough),
        disks=tuple(map(_disk, guest.disks)),
        nics=tuple(map(_nic, guest.nics)),
        hardware=GuestHardware(
            most_vcpus=max(guest.most_vcpus, guest.vcpus),
            most_memory_bytes=max(guest.most_memory_bytes, guest.memory_bytes),
            snapshots=tuple(snapshot_fact(guest, one) for one in guest.snapshots),
        ),
    )


def snapshot_fact(guest: FakeGuest, snapshot: FakeSnapshot) -> GuestSnapshotFact:
    return GuestSnapshotFact(
        name=snapshot.name,
        parent=snapshot.parent,
        created_at=datetime.fromtimestamp(int(snapshot.created_at), UTC),
        state=snapshot.state,
        notes=snapshot.notes,
        current=snapshot.name == guest.current_snapshot,
        memory=snapshot.memory,
        external=snapshot.external,
    )


def _disk(disk: FakeDisk) -> DiskFact:
    return DiskFact(
        target=disk.target,
        device=disk.device,
        bus=disk.bus,
        source=disk.source,
        source_type="file" if disk.source else "",
        format=disk.format,
        cache=disk.cache,
        read_only=disk.read_only,
        shareable=disk.shareable,
        capacity_bytes=disk.capacity_bytes,
    )


def _nic(nic: FakeNic) -> NicFact:
    return NicFact(
        mac=nic.mac,
        model=nic.model,
        kind="network" if nic.network else "bridge",
        network=nic.network,
        bridge=nic.bridge,
        link_up=nic.link_up,
        addresses=tuple(nic.addresses),
        port_group=nic.port_group,
    )


def _datastore(host: FakeHost, store: FakeDatastore, guests: Iterable[FakeGuest]) -> DatastoreFact:
    return DatastoreFact(
        ref=f"{host.uuid}/{store.name}",
        host_ref=host.uuid,
        uuid=store.uuid,
        name=store.name,
        technology=store.technology,
        storage_class=store.storage_class,
        path=store.path,
        source=store.source,
        active=store.active,
        capacity_bytes=store.capacity_bytes,
        available_bytes=store.available_bytes,
        autostart=store.autostart,
        kind=store.kind,
        format=store.format,
        servers=tuple(store.servers),
        volumes=_volumes(store, guests) if store.active and not store.unlisted else (),
        volumes_cut=store.unlisted or not store.active,
    )


def _volumes(store: FakeDatastore, guests: Iterable[FakeGuest]) -> tuple[VolumeFact, ...]:
    """The disks of guests that lie there, and ISO images; by key."""
    sizes = {f"{store.path}/{name}": ISO_BYTES for name in store.isos}
    formats = dict.fromkeys(sizes, "iso")
    ahead = {*sizes, *(f"{store.path}/{volume.name}" for volume in store.volumes.values() if volume.allocated)}
    for disk in (disk for guest in guests for disk in guest.disks):
        if disk.source.startswith(f"{store.path}/"):
            sizes[disk.source], formats[disk.source] = disk.capacity_bytes or 0, disk.format
    for volume in store.volumes.values():
        path = f"{store.path}/{volume.name}"
        sizes[path], formats[path] = volume.capacity_bytes, volume.format
    return tuple(
        VolumeFact(
            key=path,
            name=path.rpartition("/")[2],
            path=path,
            kind="file",
            format=formats[path],
            capacity_bytes=size,
            allocated_bytes=size if path in ahead else size * (20 + crc32(path.encode()) % 60) // 100,
        )
        for path, size in sorted(sizes.items())
    )


def _switch(host: FakeHost, switch: FakeSwitch) -> SwitchFact:
    return SwitchFact(
        ref=f"{host.uuid}/{switch.name}",
        host_ref=host.uuid,
        uuid=switch.uuid,
        name=switch.name,
        kind=switch.kind,
        bridge=switch.bridge,
        active=switch.active,
        autostart=switch.autostart,
        uplinks=tuple(switch.uplinks),
        mode=switch.mode,
        virtual_port=switch.virtual_port,
        port_groups=tuple(
            PortGroupFact(name=group.name, default=group.default, vlans=tuple(group.vlans), trunk=group.trunk)
            for group in switch.port_groups
        ),
        addresses=tuple(switch.addresses),
        dhcp=tuple(switch.dhcp),
    )


def _state(host: FakeHost, guest: FakeGuest, now: float) -> GuestStateFact:
    return GuestStateFact(
        ref=guest.uuid,
        host_ref=host.uuid,
        uuid=guest.uuid,
        name=guest.name,
        state=guest.state,
        state_reason=guest.state_reason,
        load=guest_load(guest, now) if guest.state is GuestState.RUNNING else None,
    )
