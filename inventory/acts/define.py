"""New guests, clones, and deleting guests: what is asked for and what speaks against it. `define_runner` does it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from django.db.models import Q, Sum
from django.utils.translation import gettext as _

from access.models import require
from access.roles import Action
from core.db import write_transaction
from core.errors import Conflict, Invalid
from core.units import format_bytes
from drivers.types import Capability
from hosts.able import require_able
from hosts.facts import digest
from hosts.models import Host
from inventory.acts.devices import free_mac, reason_not_to_add, reason_not_to_read
from inventory.acts.rules import GUEST_CREATE, checked_guest_name, checked_notes, checked_title
from inventory.acts.volumes import (
    is_iso,
    lock_volume,
    path_on,
    reason_to_keep,
    require_disk,
    require_no_task,
    require_unpromised,
    uses_of,
)
from inventory.holds import exclusive_key
from inventory.models import Disk, Guest, GuestState, Nic, Placement
from networks.models import PortGroup, VirtualSwitch
from operations.errors import AlreadyOpen
from operations.models import Job
from operations.selectors import open_job_for
from operations.services import sentence_busy, submit_job
from storage.acts import FORMATS, checked_format, require_makes_volumes, require_new_name, require_room
from storage.models import Datastore, DatastoreMount, Upload, Volume
from storage.naming import checked_capacity, checked_volume_name, volume_name_like
from storage.uploads import lock_upload, require_free, require_whole

GUEST_CLONE = "guest_clone"
GUEST_DELETE = "guest_delete"

LEAST_MEMORY_BYTES = 1 << 20
MOST_MEMORY_BYTES = 1 << 50
MOST_VCPUS = 1024
# Pools whose volumes are block devices: a guest is told which of both its disk is.
BLOCK_KINDS = frozenset({"logical", "disk", "zfs"})
BUSES = ("virtio", "scsi", "sata", "ide")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
# Source: libosinfo names operating systems by such addresses, https://libosinfo.org/
_OS = re.compile(r"https?://[A-Za-z0-9./_-]{1,200}")


def create_title(parameters: Mapping[str, Any]) -> str:
    return _("Create guest %(name)s") % {"name": parameters.get("name", "?")}


def clone_title(parameters: Mapping[str, Any]) -> str:
    return _("Clone to %(name)s") % {"name": parameters.get("name", "?")}


def delete_title(parameters: Mapping[str, Any]) -> str:
    return _("Delete guest with its disks") if parameters.get("disks") else _("Delete guest")


# -- a new guest


@dataclass(frozen=True, slots=True)
class NewDisk:
    """Either an existing volume, or a blank one to be made in a datastore."""

    volume: Volume | None = None
    datastore: Datastore | None = None
    capacity_bytes: int = 0
    format: str = "qcow2"
    bus: str = "virtio"


@dataclass(frozen=True, slots=True)
class NewCd:
    """Either an ISO that lies in a datastore, or a file that was sent and is to be put into one."""

    volume: Volume | None = None
    upload: Upload | None = None
    datastore: Datastore | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class NewGuest:
    """What a person asks for. An empty machine is the host's default."""

    host: Host
    name: str
    memory_bytes: int
    vcpus: int
    uefi: bool = False
    machine: str = ""
    os: str = ""
    title: str = ""
    notes: str = ""
    disk: NewDisk | None = None
    cd: NewCd | None = None
    switch: VirtualSwitch | None = None
    port_group: str = ""
    start: bool = False


@dataclass(frozen=True, slots=True)
class HostRoom:
    """A host for a new guest, and how much of its memory no running guest was promised."""

    host: Host
    free_bytes: int


def rooms(hosts: Iterable[Host]) -> list[HostRoom]:
    """Hosts, the one with the most free memory first. One query."""
    found = list(hosts)
    running = Guest.objects.filter(host__in=[host.pk for host in found], missing_since=None, state=GuestState.RUNNING)
    used = dict(running.order_by().values_list("host").annotate(Sum("memory_bytes")))
    made = [HostRoom(host, max(0, host.memory_bytes - used.get(host.pk, 0))) for host in found]
    return sorted(made, key=lambda room: (-room.free_bytes, room.host.name))


def warnings_for(new: NewGuest) -> list[str]:
    """What does not stand against it, and a person should know."""
    free = rooms([new.host])[0].free_bytes
    found = []
    if new.memory_bytes > free:
        words = {"host": new.host.name, "free": format_bytes(free)}
        found.append(_("%(host)s has %(free)s of memory that no running guest was promised.") % words)
    disk = new.disk
    if disk and disk.datastore and disk.capacity_bytes > disk.datastore.available_bytes:
        words = {"datastore": disk.datastore.name, "free": format_bytes(disk.datastore.available_bytes)}
        found.append(_("%(datastore)s has %(free)s free: the disk cannot grow to its full size there.") % words)
    return found


def submit_guest_create(*, new: NewGuest, by: Any) -> Job:
    """Queue making a guest with its disk and CD.

    Raises: Forbidden; Invalid, naming the field; Conflict; AlreadyOpen while another task makes one of this name.
    Transaction: its own.
    """
    require(by, Action.PROVISION)
    name = checked_guest_name(new.name)
    with write_transaction():
        new = _locked(new)
        parameters = _create_parameters(new, name)
        require_able(new.host, Capability.DEFINE)
        require_new_guest_name(new.host, name)
        upload = new.cd.upload if new.cd else None
        if upload is not None:
            require_free(lock_upload(upload))
        if new.disk and new.disk.volume:
            require_unpromised(new.disk.volume)
        job = submit_job(
            kind=GUEST_CREATE,
            target_kind="host",
            target_id=new.host.pk,
            target_name=new.host.name,
            parameters=parameters,
            exclusive=f"new-guest:{new.host.pk}/{digest(name)}",
            by=by,
        )
        if upload is not None:
            Upload.objects.filter(pk=upload.pk).update(job_id=job.pk)
    return job


def _locked(new: NewGuest) -> NewGuest:
    """With the volumes as they are now. In one order for everybody, so that no two wait for each other."""
    disk, cd = new.disk, new.cd
    wanted = {part.volume.pk: part.volume for part in (disk, cd) if part and part.volume}
    held = {pk: lock_volume(wanted[pk]) for pk in sorted(wanted)}
    if disk and disk.volume:
        disk = replace(disk, volume=held[disk.volume.pk])
    if cd and cd.volume:
        cd = replace(cd, volume=held[cd.volume.pk])
    return replace(new, disk=disk, cd=cd)


def _create_parameters(new: NewGuest, name: str) -> dict[str, Any]:
    """Raises: Invalid, Conflict."""
    uuid = str(uuid4())
    return {
        "name": name,
        "uuid": uuid,
        **_shape(new),
        "disk": _disk_parameters(new, uuid),
        "cd": _cd_parameters(new),
        "nic": _nic_parameters(new),
        "start": new.start,
        "warnings": warnings_for(new),
    }


def require_new_guest_name(host: Host, name: str) -> None:
    """As far as the inventory knows; the host is asked again. Raises: Invalid."""
    here = Q(host=host) | Q(placements__host=host)
    if Guest.objects.filter(here, name=name, missing_since=None).exists():
        raise Invalid(_("%(host)s has a guest of this name; choose another.") % {"host": host.name}, field="name")


def _shape(new: NewGuest) -> dict[str, Any]:
    """Raises: Invalid."""
    if not LEAST_MEMORY_BYTES <= new.memory_bytes < MOST_MEMORY_BYTES:
        raise Invalid(_("This is not an amount of memory that a guest can have."), field="memory_bytes")
    if not 1 <= new.vcpus <= MOST_VCPUS:
        raise Invalid(_("This is not a number of virtual CPUs that a guest can have."), field="vcpus")
    if new.machine and not _WORD.fullmatch(new.machine):
        raise Invalid(_("This is not the name of a machine, such as q35."), field="machine")
    if new.os and not _OS.fullmatch(new.os):
        raise Invalid(_("An operating system is named as libosinfo does: http://debian.org/debian/12."), field="os")
    return {
        "memory_bytes": new.memory_bytes,
        "vcpus": new.vcpus,
        "uefi": new.uefi,
        "machine": new.machine,
        "os": new.os,
        "title": checked_title(new.title),
        "notes": checked_notes(new.notes),
    }


def mount_on(host: Host, datastore_id: Any, field: str) -> DatastoreMount:
    """Raises: Invalid."""
    mounts = DatastoreMount.objects.filter(host=host, datastore=datastore_id, missing_since=None, active=True)
    mount = mounts.select_related("datastore").first()
    if mount is None:
        raise Invalid(_("This datastore is not started on %(host)s.") % {"host": host.name}, field=field)
    return mount


def _disk_parameters(new: NewGuest, uuid: str) -> dict[str, Any] | None:
    """Raises: Invalid, Conflict."""
    disk = new.disk
    if disk is None:
        return None
    if disk.bus not in BUSES:
        raise Invalid(_("There is no such bus."), field="disk_bus")
    if disk.volume is not None:
        return _existing_disk(new.host, disk.volume, disk.bus)
    if disk.datastore is None:
        raise Invalid(_("Choose a datastore for the disk."), field="disk_datastore")
    mount = mount_on(new.host, disk.datastore.pk, "disk_datastore")
    require_makes_volumes(disk.datastore)
    return {
        "bus": disk.bus,
        "datastore": str(mount.datastore_id),
        "datastore_name": mount.datastore.name,
        "name": own_volume_name(new.name, uuid, 0, checked_format(disk.format)),
        "capacity_bytes": checked_capacity(disk.capacity_bytes, field="disk_bytes"),
        "format": disk.format,
    }


def own_volume_name(guest_name: str, uuid: str, number: int, format: str) -> str:  # noqa: A002
    """For people by the guest's name, and like no other by its UUID."""
    stem = volume_name_like(guest_name)[:150] or "guest"
    return f"{stem}-{uuid[:8]}-{number}.{'qcow2' if format == 'qcow2' else 'img'}"


def _existing_disk(host: Host, volume: Volume, bus: str) -> dict[str, Any]:
    """Raises: Invalid, Conflict."""
    mount = mount_on(host, volume.datastore_id, "disk_volume")
    require_disk(volume, "disk_volume")
    if reason := reason_not_to_add(volume, read_only=False):
        raise Conflict(reason)
    return {
        "bus": bus,
        "volume": str(volume.pk),
        "volume_name": volume.name,
        "path": path_on(mount, volume),
        "format": volume.format if volume.format in FORMATS else "raw",
        "block": volume.kind == "block",
    }


def _cd_parameters(new: NewGuest) -> dict[str, Any] | None:
    """Raises: Invalid, Conflict."""
    cd = new.cd
    if cd is None:
        return None
    if cd.volume is not None:
        if not is_iso(cd.volume):
            raise Invalid(_("This volume is not an ISO image."), field="cd_volume")
        if reason := reason_not_to_read(cd.volume):
            raise Conflict(reason)
        require_no_task(cd.volume)
        mount = mount_on(new.host, cd.volume.datastore_id, "cd_volume")
        return {"volume": str(cd.volume.pk), "volume_name": cd.volume.name, "path": path_on(mount, cd.volume)}
    if cd.upload is None or cd.datastore is None:
        raise Invalid(_("Choose an ISO, or a file to upload and a datastore for it."), field="cd_datastore")
    mount = mount_on(new.host, cd.datastore.pk, "cd_datastore")
    require_makes_volumes(cd.datastore)
    require_whole(cd.upload)
    name = checked_volume_name(cd.name or volume_name_like(cd.upload.name), field="cd_name")
    require_new_name(cd.datastore, name, field="cd_name")
    require_room(cd.datastore, cd.upload.size_bytes, field="cd_datastore")
    return {
        "upload": str(cd.upload.pk),
        "upload_name": cd.upload.name,
        "datastore": str(mount.datastore_id),
        "datastore_name": mount.datastore.name,
        "name": name,
        "bytes": cd.upload.size_bytes,
    }


def _nic_parameters(new: NewGuest) -> dict[str, Any] | None:
    """Raises: Invalid."""
    switch = new.switch
    if switch is None:
        return None
    if switch.host_id != new.host.pk or switch.missing_since is not None:
        raise Invalid(_("This virtual switch is not on %(host)s.") % {"host": new.host.name}, field="switch")
    if new.port_group and not PortGroup.objects.filter(switch=switch, name=new.port_group).exists():
        raise Invalid(_("The virtual switch has no such port group."), field="port_group")
    plugged: dict[str, Any] = {"mac": free_mac(), "switch_name": switch.name}
    if switch.managed:
        return {**plugged, "network": switch.name, "port_group": new.port_group}
    is_ovs = switch.virtual_port == "openvswitch"
    return {**plugged, "bridge": switch.bridge or switch.name, "open_vswitch": is_ovs}


# -- an existing guest, off


def reason_against(guest: Guest, *, but_job: Job | None = None) -> str:
    """Why it can neither be cloned nor deleted now, as far as is known; empty when it can. Needs `host.source`."""
    if guest.missing_since is not None:
        return _("The guest was not found at the last read of its host.")
    if guest.conflict:
        return _("Two hosts run a guest with this identity. Settle that first.")
    if not guest.persistent:
        return _("The guest is not defined on its host: it is gone when it ends.")
    if guest.state != GuestState.OFF:
        return _("The guest is %(state)s; power it off first.") % {"state": GuestState(guest.state).label}
    holder = open_job_for(exclusive=exclusive_key(guest.pk))
    return sentence_busy(holder) if holder is not None and holder != but_job else ""


def _require_ready(guest: Guest) -> Guest:
    """The guest as it is now. Raises: Conflict, AlreadyOpen."""
    fresh = Guest.objects.select_related("host__source").get(pk=guest.pk)
    holder = open_job_for(exclusive=exclusive_key(fresh.pk))
    if holder is not None:
        raise AlreadyOpen(sentence_busy(holder), job=holder)
    reason = reason_against(fresh)
    if reason:
        raise Conflict(reason)
    require_able(fresh.host, Capability.DEFINE)
    return fresh


@dataclass(frozen=True, slots=True)
class GuestDisk:
    """A disk of a guest and the volume it is. `reason`: why the volume must stay; `own`: nobody else has it."""

    disk: Disk
    volume: Volume | None
    reason: str = ""
    own: bool = False

    @property
    def name(self) -> str:
        return self.volume.name if self.volume else self.disk.source.rpartition("/")[2]


def disks_of(guest: Guest) -> list[GuestDisk]:
    """The disks of a guest that are no CDs, each with why it must stay. Seven queries, however many there are."""
    disks = list(Disk.objects.filter(guest=guest, device__in=("disk", "lun")).exclude(source="").order_by("position"))
    volumes = _volumes_of(guest, disks)
    uses = uses_of(volumes.values())
    found = []
    for disk in disks:
        volume = volumes.get(disk.pk)
        if volume is None:
            found.append(GuestDisk(disk, None, _("Its volume is not known; refresh its datastore, then try again.")))
            continue
        reason = reason_to_keep(volume, but=guest, uses=uses[volume.pk])
        found.append(GuestDisk(disk, volume, reason, own=not (reason or disk.read_only or disk.shareable)))
    return found


def _volumes_of(guest: Guest, disks: list[Disk]) -> dict[Any, Volume]:
    """The volume that each disk is, by what the guest's host calls it."""
    rows = DatastoreMount.objects.filter(host=guest.host_id, missing_since=None)
    mounts = {mount.datastore_id: mount for mount in rows}
    names = {disk.source.rpartition("/")[2] for disk in disks}
    near = Volume.objects.select_related("datastore").filter(datastore__in=list(mounts), name__in=names)
    called: dict[tuple[Any, str], Volume] = {}
    for volume in near:
        mount = mounts[volume.datastore_id]
        for name in (volume.path, path_on(mount, volume), f"{mount.name}/{volume.name}"):
            called[volume.datastore_id, name] = volume
    places = {disk.pk: (disk.datastore_id, disk.source) for disk in disks}
    return {pk: called[place] for pk, place in places.items() if place in called}


def submit_guest_delete(*, guest: Guest, confirmation: str, disks: Iterable[str] = (), by: Any) -> Job:
    """Queue forgetting a guest that is off, and deleting these disks of it for ever.

    A disk is named by its `source`, so that what was put into its place meanwhile is never meant.

    Raises: Forbidden; Invalid; Conflict, naming the disk that must stay; AlreadyOpen.
    Transaction: its own.
    """
    require(by, Action.PROVISION)
    if confirmation.strip() != guest.name:
        raise Invalid(_("Type the name of the guest as it is written above."), field="confirmation")
    with write_transaction():
        fresh = _require_ready(guest)
        chosen = _chosen(fresh, frozenset(disks))
        return submit_job(
            kind=GUEST_DELETE,
            target_kind="guest",
            target_id=fresh.pk,
            target_name=fresh.name,
            parameters={
                "uuid": fresh.uuid,
                "host": str(fresh.host_id),
                "host_name": fresh.host.name,
                "disks": [
                    {
                        "target": one.disk.target,
                        "name": one.volume.name,
                        "volume": str(one.volume.pk),
                        "datastore": str(one.volume.datastore_id),
                    }
                    for one in chosen
                    if one.volume is not None
                ],
            },
            exclusive=exclusive_key(fresh.pk),
            by=by,
        )


def _chosen(guest: Guest, sources: frozenset[str]) -> list[GuestDisk]:
    """Raises: Invalid, Conflict."""
    known = {one.disk.source: one for one in disks_of(guest)} if sources else {}
    if sources - set(known):
        raise Invalid(_("The guest has no such disk any more; look at its hardware again."), field="disks")
    chosen = [known[source] for source in sorted(sources)]
    for one in chosen:
        if one.reason:
            raise Conflict(one.reason)
    elsewhere = Placement.objects.filter(guest=guest).exclude(host=guest.host_id).select_related("host").first()
    if chosen and elsewhere is not None:
        words = {"host": elsewhere.host.name}
        raise Conflict(_("%(host)s has this guest, too, with the same disks: delete it without its disks.") % words)
    return chosen


def submit_guest_clone(*, guest: Guest, name: str, datastore: Datastore | None = None, by: Any) -> Job:
    """Queue making another guest like this one, which is off, with copies of its disks.

    The copies are made beside the disks, or in one datastore. It gets a new UUID and new MAC addresses.

    Raises: Forbidden; Invalid; Conflict; AlreadyOpen.
    Transaction: its own.
    """
    require(by, Action.PROVISION)
    name, uuid = checked_guest_name(name), str(uuid4())
    with write_transaction():
        fresh = _require_ready(guest)
        require_new_guest_name(fresh.host, name)
        copies = _copies(fresh, name, uuid, datastore)
        return submit_job(
            kind=GUEST_CLONE,
            target_kind="guest",
            target_id=fresh.pk,
            target_name=fresh.name,
            parameters={
                "name": name,
                "uuid": uuid,
                "host": str(fresh.host_id),
                "host_name": fresh.host.name,
                "disks": copies,
                "macs": _new_macs(Nic.objects.filter(guest=fresh).count()),
            },
            exclusive=exclusive_key(fresh.pk),
            by=by,
        )


def _copies(guest: Guest, name: str, uuid: str, datastore: Datastore | None) -> list[dict[str, Any]]:
    """Raises: Invalid, Conflict."""
    own = [one for one in disks_of(guest) if not (one.disk.read_only or one.disk.shareable)]
    needed: dict[Any, tuple[Datastore, int]] = {}
    copies = []
    for number, one in enumerate(own):
        if one.volume is None:
            words = {"disk": one.disk.target}
            raise Conflict(
                _("The volume of disk %(disk)s is not known; refresh its datastore, then try again.") % words
            )
        store = datastore or one.volume.datastore
        mount_on(guest.host, store.pk, "datastore")
        require_makes_volumes(store)
        if (store.kind in BLOCK_KINDS) != (one.volume.datastore.kind in BLOCK_KINDS):
            raise Invalid(
                _("Disk %(disk)s cannot be copied between files and block devices; choose another datastore.")
                % {"disk": one.disk.target},
                field="datastore",
            )
        needed[store.pk] = (store, needed.get(store.pk, (store, 0))[1] + one.volume.allocated_bytes)
        said = one.disk.format or one.volume.format
        format = said if said in FORMATS else "raw"  # noqa: A001
        copies.append(
            {
                "target": one.disk.target,
                "from": one.volume.name,
                "from_datastore": str(one.volume.datastore_id),
                "datastore": str(store.pk),
                "name": own_volume_name(name, uuid, number, format),
                "capacity_bytes": one.volume.capacity_bytes,
                "format": format,
            }
        )
    for store, size in needed.values():
        require_room(store, size, field="datastore")
    return copies


def _new_macs(count: int) -> list[str]:
    macs: dict[str, None] = {}
    while len(macs) < count:
        macs[free_mac()] = None
    return list(macs)
