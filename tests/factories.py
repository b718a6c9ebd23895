"""Rows as a source would have left them: users of each role, and inventories of any size."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from django.utils import timezone

from access.models import User
from access.roles import Role
from core.ids import new_id
from core.search import fold
from drivers.fake.hardware import make_hardware
from drivers.types import HostHardware
from history.models import GuestMove, How
from hosts.details import facts_json, pci_json
from hosts.models import Cluster, Datacenter, Host, HostDetails, HostState, Source, SourceState
from inventory.models import Disk, Folder, Guest, GuestDetails, GuestState, Nic, Placement
from labels.models import ENTRIES, OBJECTS, Tag
from metrics.models import GuestLoad, HostLoad
from networks.models import PortGroup, VirtualSwitch
from operations.models import Job, JobState
from storage.models import Datastore, DatastoreMount, Upload, Volume

GIB = 1024**3
PASSWORD = "correct horse battery staple"
_SPACE = UUID("3f0e4b3a-50cf-4f0d-9a7c-6b9f4e4e7f11")
# Scrypt is meant to be slow; made once for all users of all tests.
_HASHES: dict[str, str] = {}


def make_user(role: str = Role.VIEWER, username: str = "", **values: Any) -> User:
    """A user who signs in with PASSWORD."""
    user = User(username=username or f"the-{role}", role=role, **values)
    if PASSWORD not in _HASHES:
        user.set_password(PASSWORD)
        _HASHES[PASSWORD] = user.password
    user.password = _HASHES[PASSWORD]
    user.save()
    return user


def make_cluster(name: str = "compute", datacenter: Datacenter | None = None) -> Cluster:
    datacenter = datacenter or Datacenter.objects.get_or_create(name="Berlin")[0]
    return Cluster.objects.create(name=name, datacenter=datacenter)


def make_folder(name: str = "web", parent: Folder | None = None, datacenter: Datacenter | None = None) -> Folder:
    if datacenter is None:
        datacenter = parent.datacenter if parent else Datacenter.objects.get_or_create(name="Berlin")[0]
    return Folder.objects.create(name=name, parent=parent, datacenter=datacenter)


def make_tag(name: str = "prod", *objects: Guest | Host | Datastore | VirtualSwitch, color: str = "blue") -> Tag:
    """A tag as these objects have it; the index of the search does not know of it."""
    key = fold(name)
    tag = Tag.objects.get_or_create(name_key=key, defaults={"name": name, "color": color})[0]
    for row in objects:
        kind = next(kind for kind, model in OBJECTS.items() if isinstance(row, model))
        entry: dict[str, Any] = {"tag": tag, kind.value: row}
        ENTRIES[kind].objects.get_or_create(**entry)
    return tag


def make_source(name: str = "rack-1", **values: Any) -> Source:
    now = timezone.now()
    datacenter = values.pop("datacenter", None) or Datacenter.objects.get_or_create(name="Berlin")[0]
    defaults: dict[str, Any] = {
        "kind": "libvirt",
        "transport": "tcp",
        "address": f"{name}.example.net",
        "state": SourceState.OK,
        "state_since": now - timedelta(days=3),
        "next_inventory_at": now + timedelta(days=1),
        "next_states_at": now + timedelta(days=1),
        "inventory_read_at": now - timedelta(seconds=90),
        "states_read_at": now - timedelta(seconds=9),
    }
    return Source.objects.create(name=name, datacenter=datacenter, **(defaults | values))


def make_host(name: str = "kvm-01", source: Source | None = None, **values: Any) -> Host:
    source = source or make_source(f"source-of-{name}"[:100])
    defaults: dict[str, Any] = {
        "uuid": str(uuid5(_SPACE, name)),
        "state": HostState.CONNECTED,
        "hypervisor": "QEMU",
        "hypervisor_version": "7.2.9",
        "manager_version": "9.0.0",
        "vendor": "Supermicro",
        "model": "AS -1014S-WTRT",
        "architecture": "x86_64",
        "cpu_model": "EPYC-Milan",
        "cpu_sockets": 2,
        "cpu_cores": 32,
        "cpu_threads": 64,
        "cpu_mhz": 2850,
        "memory_bytes": 256 * GIB,
        "evidence_at": timezone.now() - timedelta(seconds=90),
    }
    ref = str(uuid5(_SPACE, f"ref {name}"))
    return Host.objects.create(source=source, datacenter=source.datacenter, ref=ref, name=name, **(defaults | values))


def add_host_details(host: Host, hardware: HostHardware | None = None) -> HostDetails:
    """What a host is built from; plausible hardware unless told."""
    if hardware is None:
        chance = random.Random(host.name)
        hardware = make_hardware(chance, memory_bytes=host.memory_bytes, cpu_threads=host.cpu_threads)
    Host.objects.filter(pk=host.pk).update(serial=hardware.serial[:255], white_box=hardware.white_box)
    return HostDetails.objects.create(
        host=host, facts=facts_json(hardware), facts_hash="read", pci=pci_json(hardware), pci_hash="read"
    )


def make_datastore(name: str = "fast", hosts: tuple[Host, ...] = (), **values: Any) -> Datastore:
    """A datastore that these hosts see; shared when there are several."""
    now = timezone.now()
    datacenter = hosts[0].datacenter if hosts else Datacenter.objects.get_or_create(name="Berlin")[0]
    defaults: dict[str, Any] = {
        "identity": f"{name} {uuid5(_SPACE, str(hosts))}",
        "technology": "gluster" if len(hosts) > 1 else "local",
        "storage_class": "nas" if len(hosts) > 1 else "das",
        "path": f"/srv/{name}",
        "shared": len(hosts) > 1,
        "capacity_bytes": 4096 * GIB,
        "available_bytes": 1700 * GIB,
        "evidence_at": now - timedelta(seconds=90),
    }
    datastore = Datastore.objects.create(datacenter=datacenter, name=name, **(defaults | values))
    for host in hosts:
        DatastoreMount.objects.create(
            datastore=datastore,
            host=host,
            ref=str(uuid5(_SPACE, name)),
            name=name,
            path=datastore.path,
            active=True,
            evidence_at=now - timedelta(seconds=90),
        )
    return datastore


def add_volume(datastore: Datastore, name: str = "db-07-0.qcow2", **values: Any) -> Volume:
    """A volume as the first host that mounts the datastore would tell of it."""
    mount = datastore.mounts.order_by("host__name").first()
    defaults: dict[str, Any] = {
        "key": name[:255],
        "path": f"{datastore.path}/{name}",
        "kind": "file",
        "format": "qcow2",
        "capacity_bytes": 40 * GIB,
        "allocated_bytes": 13 * GIB,
        "told_by": mount.pk if mount else new_id(),
    }
    return Volume.objects.create(datastore=datastore, name=name, **(defaults | values))


def make_upload(user: User, name: str = "debian.iso", size_bytes: int = 10, **values: Any) -> Upload:
    """One that this user began and of which nothing is here yet."""
    usual: dict[str, Any] = {
        "created_at": timezone.now(),
        "created_by_id": str(user.pk),
        "created_by_name": user.username,
    }
    return Upload.objects.create(name=name, size_bytes=size_bytes, **(usual | values))


def add_port_group(switch: VirtualSwitch, name: str = "office", **values: Any) -> PortGroup:
    return PortGroup.objects.create(switch=switch, name=name, **({"vlans": [20], "virtual_port": ""} | values))


def make_switch(name: str = "default", host: Host | None = None, **values: Any) -> VirtualSwitch:
    host = host or make_host()
    defaults: dict[str, Any] = {
        "kind": "nat",
        "bridge": "virbr0",
        "active": True,
        "autostart": True,
        "uplinks": [],
        "evidence_at": timezone.now() - timedelta(seconds=90),
    }
    ref = str(uuid5(_SPACE, f"{host.pk} {name}"))
    return VirtualSwitch.objects.create(host=host, ref=ref, uuid=ref, name=name, **(defaults | values))


def make_guest(name: str = "db-07", host: Host | None = None, **values: Any) -> Guest:
    """A guest with its placement, without disks and NICs."""
    host = host or make_host()
    evidence: datetime = values.pop("evidence_at", timezone.now() - timedelta(seconds=9))
    uuid = values.pop("uuid", str(uuid5(_SPACE, f"guest {name}")))
    defaults: dict[str, Any] = {
        "state": GuestState.RUNNING,
        "state_reason": "booted",
        "vcpus": 4,
        "memory_bytes": 8 * GIB,
        "architecture": "x86_64",
        "machine": "pc-q35-7.2",
        "firmware": "uefi",
        "cpu_mode": "host-model",
        "addresses": "192.0.2.17",
    }
    guest = Guest.objects.create(
        datacenter=host.datacenter,
        host=host,
        uuid=uuid,
        ref=uuid,
        name=name,
        evidence_at=evidence,
        **(defaults | values),
    )
    Placement.objects.create(guest=guest, host=host, ref=guest.ref, state=guest.state, evidence_at=evidence)
    return guest


def add_move(guest: Guest, to: Host, name: str = "", **values: Any) -> GuestMove:
    """Of a guest from its host to another one; found by a poll unless told."""
    usual: dict[str, Any] = {
        "at": timezone.now(),
        "guest_name": name or guest.name,
        "from_host_id": guest.host_id,
        "from_host_name": name or guest.host.name,
        "to_host_id": to.pk,
        "to_host_name": name or to.name,
        "state": GuestState.RUNNING,
        "how": How.POLL,
    }
    return GuestMove.objects.create(guest_id=guest.pk, **(usual | values))


def add_details(guest: Guest, text: str = "", **facts: Any) -> GuestDetails:
    """What a guest is made of, with a tree of three snapshots; `text` stands in every field that holds any."""
    usual: dict[str, Any] = {
        "cpu_sockets": 1,
        "cpu_cores": 2,
        "cpu_threads": 2,
        "most_vcpus": 8,
        "most_memory_bytes": 16 * GIB,
        "cpu_features": [text or "require vmx"],
        "balloon": text or "virtio",
        "secure_boot": True,
        "tpm": text or "tpm-crb 2.0 emulator",
        "os": text,
        "boot": [text or "vda"],
        "metadata": [text or "http://libosinfo.org/xmlns/libvirt/domain/1.0"],
        "features": [text or "acpi", "apic"],
        "displays": [{"kind": text or "vnc", "address": text or "127.0.0.1", "port": 5901}],
        "consoles": [
            {"kind": "serial", "target": text or "isa-serial", "backend": "pty", "source": text or "/dev/pts/3"},
            {"kind": "channel", "target": "org.qemu.guest_agent.0", "backend": "unix", "connected": True},
        ],
        "devices": [{"kind": text or "video", "model": text or "virtio", "detail": text, "count": 1}],
        "snapshots": [
            {"name": "installed", "created_at": "2026-01-05T10:00:00Z", "state": "off", "notes": text},
            {"name": "patched", "parent": "installed", "created_at": "2026-03-01T10:00:00Z", "state": "running",
             "memory": True, "current": True},
            {"name": text or "tried", "parent": "installed", "created_at": "2026-02-01T10:00:00Z", "state": "off",
             "external": True},
        ],
    }  # fmt: skip
    agent = {
        "hostname": text or guest.name,
        "os": text or "Debian GNU/Linux 12 (bookworm)",
        "kernel": text or "6.1.0-31-amd64",
        "time_zone": text or "UTC",
        "file_systems": [{"mount": text or "/", "kind": "ext4", "devices": ["vda"], "total_bytes": 40 * GIB}],
    }
    return GuestDetails.objects.create(guest=guest, facts=usual | facts, agent=agent)


def add_disk(guest: Guest, datastore: Datastore | None, **values: Any) -> Disk:
    position = guest.disks.count()
    defaults: dict[str, Any] = {
        "target": f"vd{'abcdefgh'[position % 8]}",
        "device": "disk",
        "bus": "virtio",
        "source": f"{datastore.path}/{guest.name}-{position}.qcow2" if datastore else "",
        "source_type": "file",
        "format": "qcow2",
        "cache": "none",
        "capacity_bytes": 40 * GIB,
    }
    return Disk.objects.create(guest=guest, datastore=datastore, position=position, **(defaults | values))


def add_nic(guest: Guest, switch: VirtualSwitch | None, **values: Any) -> Nic:
    position = guest.nics.count()
    digits = uuid5(_SPACE, f"{guest.pk} {position}").hex
    defaults: dict[str, Any] = {
        "mac": f"52:54:00:{digits[0:2]}:{digits[2:4]}:{digits[4:6]}",
        "model": "virtio",
        "kind": "network",
        "network": switch.name if switch else "",
        "bridge": switch.bridge if switch else "",
        "addresses": guest.addresses.split(),
    }
    return Nic.objects.create(guest=guest, switch=switch, position=position, **(defaults | values))


def make_job(guest: Guest, **values: Any) -> Job:
    """A power action on a guest that is under way."""
    defaults: dict[str, Any] = {
        "kind": "power",
        "state": JobState.RUNNING,
        "parameters": {"action": "start"},
        "submitted_by_name": "operator",
        "submitted_at": timezone.now() - timedelta(seconds=40),
        "started_at": timezone.now() - timedelta(seconds=39),
    }
    return Job.objects.create(
        target_kind="guest", target_id=str(guest.pk), target_name=guest.name, **(defaults | values)
    )


def set_load(guest: Guest, cpu_percent: float | None = 12.0, **values: Any) -> GuestLoad:
    defaults: dict[str, Any] = {
        "read_at": timezone.now() - timedelta(seconds=9),
        "memory_used_bytes": guest.memory_bytes // 2,
        "disk_read_rate": 1_300_000.0,
        "disk_write_rate": 640_000.0,
        "net_receive_rate": 92_000.0,
        "net_send_rate": 45_000.0,
    }
    return GuestLoad.objects.create(guest_id=guest.pk, cpu_percent=cpu_percent, **(defaults | values))


def set_host_load(host: Host, cpu_percent: float | None = 34.0, **values: Any) -> HostLoad:
    defaults: dict[str, Any] = {
        "read_at": timezone.now() - timedelta(seconds=9),
        "memory_used_bytes": host.memory_bytes * 6 // 10,
    }
    return HostLoad.objects.create(host_id=host.pk, cpu_percent=cpu_percent, **(defaults | values))


class Inventory:
    """A small installation: hosts in two datacenters, a shared and a local datastore each, guests in every state."""

    def __init__(self, *, hosts: int = 3, guests: int = 12, seed: int = 7) -> None:
        self.chance = random.Random(seed)
        self.sources = [make_source(f"rack-{number}") for number in (1, 2)]
        self.hosts = [
            make_host(
                f"kvm-{number + 1:02d}",
                self.sources[number % 2],
                memory_bytes=self.chance.choice([128, 256, 512]) * GIB,
            )
            for number in range(hosts)
        ]
        self.shared = make_datastore("shared-nvme", tuple(self.hosts), available_bytes=620 * GIB)
        self.local = [make_datastore(f"local-{host.name}", (host,)) for host in self.hosts]
        self.switches = [self._switch(host) for host in self.hosts]
        for host in self.hosts:
            add_host_details(host)
            set_host_load(
                host,
                round(self.chance.uniform(3, 96), 1),
                memory_used_bytes=int(host.memory_bytes * self.chance.uniform(0.2, 0.93)),
            )
        self.guests = [self._guest(number) for number in range(guests)]

    def _switch(self, host: Host) -> VirtualSwitch:
        nat = {"addresses": ["192.168.122.1/24"], "dhcp": ["192.168.122.2-192.168.122.254"], "mtu": 1500}
        make_switch("default", host, mode="nat", details=nat)
        make_switch("isolated", host, kind="isolated", bridge="virbr1")
        prod = make_switch("prod", host, kind="bridged", bridge="br0", uplinks=["eno1", "eno2"])
        add_port_group(prod, default=True)
        add_port_group(prod, "routers", vlans=[20, 30], trunk=True, native_vlan=20)
        return prod

    def _guest(self, number: int) -> Guest:
        chance, host_number = self.chance, number % len(self.hosts)
        host = self.hosts[host_number]
        role = chance.choice(["db", "web", "app", "cache", "ci-runner", "mail", "dns", "Build", "gitlab", "k8s-node"])
        state = chance.choices(list(GuestState), weights=[80, 3, 2, 12, 1, 0])[0]
        running = state == GuestState.RUNNING
        guest = make_guest(
            f"{role}-{number + 1:03d}",
            host,
            state=state,
            state_reason="",
            vcpus=chance.choice([1, 2, 2, 4, 4, 8, 16]),
            memory_bytes=chance.choice([1, 2, 4, 8, 8, 16, 32, 64]) * GIB,
            addresses=f"10.20.{number // 250}.{number % 250 + 4}" if running else "",
            notes="Ask the storage team before a reboot." if number % 9 == 0 else "",
            autostart=bool(number % 3),
            snapshot_count=0 if number % 4 else 3,
        )
        if number % 4 == 0:
            add_details(guest)
        store = self.shared if number % 3 else self.local[host_number]
        disk = add_disk(guest, store, capacity_bytes=chance.choice([10, 40, 80, 500]) * GIB)
        add_volume(store, f"{guest.name}-0.qcow2", capacity_bytes=disk.capacity_bytes)
        if number % 4 == 0:
            add_disk(guest, self.local[host_number], capacity_bytes=200 * GIB)
        add_nic(guest, self.switches[host_number])
        if running:
            set_load(
                guest,
                round(min(99.0, chance.expovariate(1 / 15)), 1),
                memory_used_bytes=int(guest.memory_bytes * chance.uniform(0.2, 0.97)),
            )
        return guest
