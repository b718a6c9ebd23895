"""What the API tells of each kind of object: every field is named here, none comes by itself."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.utils import timezone

from drivers.types import Transport
from history.models import GuestMove
from hosts.certificates import warnings
from hosts.models import Cluster, Datacenter, Host, HostDetails, Source
from inventory.models import Disk, Folder, Guest, GuestDetails, GuestState, Nic
from inventory.usage import Usage
from labels.models import Tag
from metrics.models import GuestLoad, HostLoad
from migrations.models import GuestMigration
from migrations.planner import Target, as_data
from networks.models import PortGroup, VirtualSwitch
from operations.kinds import kind_of
from operations.models import Job, JobStep
from storage.models import Datastore, DatastoreMount, Volume

Json = dict[str, Any]


def link(row: Any) -> Json | None:
    """Another object, by id and name."""
    return None if row is None else _named(row)


def _named(row: Any) -> Json:
    return {"id": row.pk, "name": str(row)}


def newest(moments: Iterable[datetime | None]) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)


def datacenter_json(datacenter: Datacenter) -> Json:
    """Ours: it has no state, and nothing is read of it."""
    return {"id": datacenter.pk, "name": datacenter.name}


def cluster_json(cluster: Cluster) -> Json:
    return {"id": cluster.pk, "name": cluster.name, "datacenter": link(cluster.datacenter)}


def folder_json(folder: Folder) -> Json:
    return {
        "id": folder.pk,
        "name": folder.name,
        "datacenter": link(folder.datacenter),
        "parent": link(folder.parent),
    }


def tag_json(tag: Tag) -> Json:
    """Needs a row of `tag_list`, which has the counts."""
    row: Any = tag
    return {
        "id": tag.pk,
        "name": tag.name,
        "color": tag.color,
        "created_at": tag.created,
        "guests": row.guest_count,
        "hosts": row.host_count,
        "datastores": row.datastore_count,
        "switches": row.switch_count,
    }


def source_json(source: Source) -> Json:
    return {
        "id": source.pk,
        "name": source.name,
        "state": source.state,
        "seen_at": newest((source.inventory_read_at, source.states_read_at)),
        "message": source.state_message,
        "state_since": source.state_since,
        "kind": source.kind,
        "hypervisor": source.hypervisor,
        "transport": source.transport,
        "address": source.address,
        "port": source.port,
        "datacenter": link(source.datacenter),
        "certificates": {"client": None, "ca": [], "server": None, **source.certificates} if by_tls(source) else None,
        "warnings": warnings(source.certificates),
    }


def by_tls(source: Source) -> bool:
    return source.transport == Transport.TLS


def host_json(host: Host, load: HostLoad | None = None) -> Json:
    return {
        "id": host.pk,
        "name": host.name,
        "state": host.state,
        "seen_at": _seen_on(host, host.evidence_at, host.missing_since),
        "maintenance": host.maintenance,
        "uuid": host.uuid,
        "source": link(host.source),
        "datacenter": link(host.datacenter),
        "cluster": link(host.cluster),
        "hypervisor": host.hypervisor,
        "hypervisor_version": host.hypervisor_version,
        "manager_version": host.manager_version,
        "vendor": host.vendor,
        "model": host.model,
        "serial": host.serial,
        "white_box": host.white_box,
        "architecture": host.architecture,
        "cpu_model": host.cpu_model,
        "cpu_sockets": host.cpu_sockets,
        "cpu_cores": host.cpu_cores,
        "cpu_threads": host.cpu_threads,
        "cpu_mhz": host.cpu_mhz,
        "memory_bytes": host.memory_bytes,
        "load": _load_json(load),
    }


def source_detail_json(source: Source, seen: Iterable[Host]) -> Json:
    """`seen`: the hosts that another source reads and this one sees, too."""
    return {
        **source_json(source),
        "findings": [finding["message"] for finding in source.findings],
        "also_sees": [{**_named(host), "source": link(host.source)} for host in seen],
    }


def host_detail_json(
    host: Host, load: HostLoad | None, details: HostDetails, standing_by: Iterable[Source] = ()
) -> Json:
    return {
        **host_json(host, load),
        "also_seen_by": [link(source) for source in standing_by],
        "hardware": {**details.facts, "pci": details.pci},
    }


def guest_json(guest: Guest, load: GuestLoad | None = None) -> Json:
    return {
        "id": guest.pk,
        "name": guest.name,
        "state": guest.state,
        "seen_at": guest.seen_at,
        "missing_since": guest.missing_since,
        "host": link(guest.host),
        "uuid": guest.uuid,
        "title": guest.title,
        "state_reason": guest.state_reason,
        "vcpus": guest.vcpus,
        "memory_bytes": guest.memory_bytes,
        "addresses": guest.addresses.split(),
        "conflict": guest.conflict,
        "load": _load_json(load) if _runs(guest) else None,
    }


def _runs(guest: Guest) -> bool:
    return guest.state == GuestState.RUNNING and guest.missing_since is None


def guest_detail_json(
    guest: Guest,
    load: GuestLoad | None,
    disks: Iterable[Disk],
    nics: Iterable[Nic],
    details: GuestDetails,
    twins: Iterable[Guest] = (),
) -> Json:
    return {
        **guest_json(guest, load),
        "conflict_with": [{**_named(twin), "host": link(twin.host)} for twin in twins],
        "notes": guest.notes,
        "autostart": guest.autostart,
        "persistent": guest.persistent,
        "architecture": guest.architecture,
        "machine": guest.machine,
        "firmware": guest.firmware,
        "cpu_mode": guest.cpu_mode,
        "snapshot_count": guest.snapshot_count,
        "passthrough": guest.passthrough,
        "disks": [_disk_json(disk) for disk in disks],
        "nics": [_nic_json(nic) for nic in nics],
        "snapshots": details.facts.get("snapshots", []),
        "hardware": {name: value for name, value in details.facts.items() if name != "snapshots"},
        "agent": details.agent,
    }


def datastore_json(datastore: Datastore) -> Json:
    """Needs a row of `datastore_list`, which has the mounts prefetched."""
    mounts = [mount for mount in datastore.mounts.all() if mount.missing_since is None]
    return {
        "id": datastore.pk,
        "name": datastore.name,
        "state": active_state(datastore.active, datastore.missing_since),
        "seen_at": newest(
            (datastore.evidence_at, *(_seen_on(one.host, one.evidence_at, None) for one in mounts)),
        ),
        "technology": datastore.technology,
        "class": datastore.storage_class,
        "shared": datastore.shared,
        "path": datastore.path,
        "source": datastore.source,
        "capacity_bytes": datastore.capacity_bytes,
        "available_bytes": datastore.available_bytes,
        "datacenter": link(datastore.datacenter),
        "hosts": [_mount_json(mount) for mount in mounts],
    }


def datastore_detail_json(datastore: Datastore) -> Json:
    mounts = [mount for mount in datastore.mounts.all() if mount.missing_since is None]
    return {
        **datastore_json(datastore),
        "kind": datastore.kind,
        "details": datastore.details,
        "mounts": [
            {
                "host": link(mount.host),
                "name": mount.name,
                "path": mount.path,
                "active": mount.active,
                "details": mount.details,
                "volumes_cut": mount.volumes_cut,
            }
            for mount in mounts
        ],
    }


def volume_json(volume: Volume, usage: Usage) -> Json:
    return {
        "id": volume.pk,
        "name": volume.name,
        "path": volume.path,
        "kind": volume.kind,
        "format": volume.format,
        "capacity_bytes": volume.capacity_bytes,
        "allocated_bytes": volume.allocated_bytes,
        "backing": volume.backing,
        "base_of": usage.base_of,
        "guests": [link(guest) for guest in usage.guests],
    }


def switch_json(switch: VirtualSwitch) -> Json:
    return {
        "id": switch.pk,
        "name": switch.name,
        "state": active_state(switch.active, switch.missing_since),
        "seen_at": _seen_on(switch.host, switch.evidence_at, switch.missing_since),
        "host": link(switch.host),
        "kind": switch.kind,
        "mode": switch.mode,
        "managed": switch.managed,
        "bridge": switch.bridge,
        "autostart": switch.autostart,
        "uplinks": switch.uplinks,
    }


def switch_detail_json(switch: VirtualSwitch, port_groups: Iterable[PortGroup]) -> Json:
    return {
        **switch_json(switch),
        "virtual_port": switch.virtual_port,
        "details": switch.details,
        "port_groups": [_port_group_json(group) for group in port_groups],
    }


def move_json(move: GuestMove) -> Json:
    """Names are those of then. `migration` is none when somebody else moved it."""
    return {
        "at": move.at,
        "guest": {"id": move.guest_id, "name": move.guest_name},
        "from_host": {"id": move.from_host_id, "name": move.from_host_name},
        "to_host": {"id": move.to_host_id, "name": move.to_host_name},
        "state": move.state,
        "how": move.how,
        "migration": move.migration_id,
        "downtime_ms": move.downtime_ms,
        "bytes_moved": move.bytes_moved,
    }


def task_json(job: Job) -> Json:
    return {
        "id": job.pk,
        "name": f"{_title(job)}: {job.target_name}",
        "state": job.state,
        "seen_at": job.ended_at or timezone.now(),  # our own row: true until it ends
        "kind": job.kind,
        "target": {"kind": job.target_kind, "id": job.target_id, "name": job.target_name},
        "progress": job.progress,
        "message": job.message,
        "submitted_by": job.submitted_by_name,
        "submitted_at": job.submitted_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }


def task_detail_json(job: Job) -> Json:
    return {**task_json(job), "steps": [_step_json(step) for step in job.steps.all()]}


def migration_json(migration: GuestMigration) -> Json:
    job = migration.job
    return {
        "id": job.pk,
        "name": migration.guest_name,
        "state": job.state,
        "seen_at": job.ended_at or timezone.now(),
        "guest": {"id": migration.guest_id, "name": migration.guest_name},
        "source_host": {"id": migration.source_host_id, "name": migration.source_host_name},
        "target_host": {"id": migration.target_host_id, "name": migration.target_host_name},
        "live": migration.live,
        "progress": job.progress,
        "message": job.message,
        "findings": migration.findings,
        "downtime_ms": migration.downtime_ms,
        "bytes_moved": migration.bytes_moved,
        "submitted_by": job.submitted_by_name,
        "submitted_at": job.submitted_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }


def migration_detail_json(migration: GuestMigration) -> Json:
    return {**migration_json(migration), "steps": [_step_json(step) for step in migration.job.steps.all()]}


def target_json(target: Target) -> Json:
    return {
        "host": link(target.host),
        "possible": target.possible,
        "findings": as_data(target.findings),
    }


def _seen_on(host: Host, evidence_at: datetime, missing_since: datetime | None) -> datetime | None:
    """When something of a host was last read; what is missing was not seen by later reads."""
    source = host.source
    return evidence_at if missing_since else newest((evidence_at, source.states_read_at, source.inventory_read_at))


def active_state(active: bool, missing_since: datetime | None) -> str:
    return "missing" if missing_since else "active" if active else "inactive"


def _load_json(load: GuestLoad | HostLoad | None) -> Json | None:
    if load is None:
        return None
    return {
        "cpu_percent": load.cpu_percent,
        "memory_used_bytes": load.memory_used_bytes,
        "read_at": load.read_at,
    }


def _mount_json(mount: DatastoreMount) -> Json:
    return {"id": mount.host_id, "name": mount.host.name, "active": mount.active}


def _port_group_json(group: PortGroup) -> Json:
    return {
        "name": group.name,
        "default": group.default,
        "vlans": group.vlans,
        "native_vlan": group.native_vlan,
        "trunk": group.trunk,
        "virtual_port": group.virtual_port,
    }


def _disk_json(disk: Disk) -> Json:
    return {
        "target": disk.target,
        "device": disk.device,
        "bus": disk.bus,
        "source": disk.source,
        "source_type": disk.source_type,
        "format": disk.format,
        "cache": disk.cache,
        "read_only": disk.read_only,
        "shareable": disk.shareable,
        "capacity_bytes": disk.capacity_bytes,
        "datastore": link(disk.datastore),
        "details": disk.details,
    }


def _nic_json(nic: Nic) -> Json:
    return {
        "mac": nic.mac,
        "model": nic.model,
        "kind": nic.kind,
        "network": nic.network,
        "bridge": nic.bridge,
        "link_up": nic.link_up,
        "addresses": nic.addresses,
        "switch": link(nic.switch),
        "port_group": nic.port_group,
        "vlans": nic.vlans,
        "details": nic.details,
    }


def _step_json(step: JobStep) -> Json:
    return {"at": step.at, "state": step.state, "message": step.message}


def _title(job: Job) -> str:
    return kind_of(job.kind).title(job.parameters)
