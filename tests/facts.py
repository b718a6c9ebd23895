"""Facts for tests of the sync, with what a test does not name filled in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from django.utils import timezone

from drivers.types import (
    DatastoreFact,
    DiskFact,
    GuestFact,
    GuestLoadFact,
    GuestState,
    GuestStateFact,
    HostFact,
    HostLoadFact,
    NicFact,
    Snapshot,
    StateReading,
    StorageClass,
    SwitchFact,
    SwitchKind,
    Technology,
    VolumeFact,
)
from hosts.models import Datacenter, Source, SourceState

GIB = 1 << 30
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """A moment of a test's own clock."""
    return START + timedelta(seconds=seconds)


def uuid_of(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, name))


def make_source(name: str = "alpha", datacenter: str = "dc", **values: Any) -> Source:
    now = timezone.now()
    where, _created = Datacenter.objects.get_or_create(name=datacenter)
    values = {"state": SourceState.OK, "next_inventory_at": now, "next_states_at": now} | values
    return Source.objects.create(name=name, datacenter=where, kind="fake", transport="fake", **values)


def host_fact(ref: str = "alpha", **values: Any) -> HostFact:
    usual: dict[str, Any] = {
        "ref": ref,
        "uuid": uuid_of(f"host {ref}"),
        "name": ref,
        "hypervisor": "QEMU",
        "hypervisor_version": "7.2.22",
        "manager_version": "9.0.0",
        "vendor": "Example Systems",
        "model": "R1",
        "cpu_model": "EPYC",
        "cpu_sockets": 1,
        "cpu_cores": 8,
        "cpu_threads": 16,
        "cpu_mhz": 2450,
        "memory_bytes": 64 * GIB,
        "architecture": "x86_64",
    }
    return HostFact(**(usual | values))


def disk_fact(target: str = "vda", source: str = "/srv/shared/a.qcow2", **values: Any) -> DiskFact:
    usual: dict[str, Any] = {
        "target": target,
        "device": "disk",
        "bus": "virtio",
        "source": source,
        "source_type": "file",
        "format": "qcow2",
        "cache": "none",
        "read_only": False,
        "shareable": False,
        "capacity_bytes": 10 * GIB,
    }
    return DiskFact(**(usual | values))


def nic_fact(mac: str = "52:54:00:00:00:01", **values: Any) -> NicFact:
    usual: dict[str, Any] = {
        "mac": mac,
        "model": "virtio",
        "kind": "network",
        "network": "default",
        "bridge": "",
        "link_up": True,
        "addresses": ("10.0.0.7",),
    }
    return NicFact(**(usual | values))


def guest_fact(name: str = "db-07", host: str = "alpha", **values: Any) -> GuestFact:
    usual: dict[str, Any] = {
        "ref": uuid_of(name),
        "host_ref": host,
        "uuid": uuid_of(name),
        "name": name,
        "title": "",
        "notes": "",
        "state": GuestState.RUNNING,
        "state_reason": "booted",
        "vcpus": 2,
        "memory_bytes": 2 * GIB,
        "autostart": False,
        "persistent": True,
        "architecture": "x86_64",
        "machine": "pc",
        "firmware": "bios",
        "cpu_mode": "host-model",
        "snapshot_count": 0,
        "passthrough": (),
        "disks": (disk_fact(),),
        "nics": (nic_fact(),),
    }
    return GuestFact(**(usual | values))


def datastore_fact(name: str = "shared", host: str = "alpha", **values: Any) -> DatastoreFact:
    usual: dict[str, Any] = {
        "ref": name,
        "host_ref": host,
        "uuid": uuid_of(f"pool {name}"),
        "name": name,
        "technology": Technology.LOCAL,
        "storage_class": StorageClass.DAS,
        "path": f"/srv/{name}",
        "source": "",
        "active": True,
        "capacity_bytes": 1000 * GIB,
        "available_bytes": 500 * GIB,
    }
    return DatastoreFact(**(usual | values))


def volume_fact(name: str = "a.qcow2", folder: str = "/srv/shared", **values: Any) -> VolumeFact:
    usual: dict[str, Any] = {
        "key": f"{folder}/{name}",
        "name": name,
        "path": f"{folder}/{name}",
        "kind": "file",
        "format": "qcow2",
        "capacity_bytes": 100 * GIB,
        "allocated_bytes": 40 * GIB,
    }
    return VolumeFact(**(usual | values))


def switch_fact(name: str = "default", host: str = "alpha", **values: Any) -> SwitchFact:
    usual: dict[str, Any] = {
        "ref": name,
        "host_ref": host,
        "uuid": uuid_of(f"switch {host} {name}"),
        "name": name,
        "kind": SwitchKind.NAT,
        "bridge": f"br-{name}",
        "active": True,
        "autostart": True,
        "uplinks": (),
    }
    return SwitchFact(**(usual | values))


def snapshot(seconds: float, *guests: GuestFact, host: str = "alpha", complete: bool = True, **values: Any) -> Snapshot:
    """A read that began at this second, of one host unless `hosts` says otherwise."""
    usual: dict[str, Any] = {"hosts": (host_fact(host),), "datastores": (), "switches": ()}
    return Snapshot(read_started_at=at(seconds), complete=complete, guests=guests, **(usual | values))


def state_fact(name: str = "db-07", host: str = "alpha", load: GuestLoadFact | None = None, **values: Any) -> Any:
    usual: dict[str, Any] = {
        "ref": uuid_of(name),
        "host_ref": host,
        "uuid": uuid_of(name),
        "name": name,
        "state": GuestState.RUNNING,
        "state_reason": "booted",
        "load": load,
    }
    return GuestStateFact(**(usual | values))


def states(
    seconds: float, *guests: GuestStateFact, hosts: tuple[HostLoadFact, ...] = (), complete: bool = True
) -> StateReading:
    return StateReading(read_started_at=at(seconds), complete=complete, guests=guests, hosts=hosts)


def load_fact(cpu_time_ns: int = 0, counters: int = 0) -> GuestLoadFact:
    c = counters
    return GuestLoadFact(cpu_time_ns, GIB, c, c, c, c, memory_bytes=2 * GIB, disk_reads=c, disk_writes=c)
