"""A guest's disks, CDs and network adapters: added, changed, removed."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from access.models import require
from access.roles import Action
from core.errors import Conflict, Invalid
from core.units import format_bytes
from inventory.acts.rules import (
    DISK_ADD,
    DISK_GROW,
    DISK_REMOVE,
    MEDIA,
    NIC_ADD,
    NIC_CHANGE,
    NIC_REMOVE,
    submit_act,
)
from inventory.acts.volumes import (
    guests_named,
    is_iso,
    is_shared,
    lock_volume,
    path_on,
    reason_below,
    require_disk,
    require_no_task,
    require_unpromised,
    some,
    uses_of,
)
from inventory.models import Disk, Guest, Nic
from networks.models import PortGroup, VirtualSwitch
from operations.models import Job
from storage.acts import FORMATS, require_makes_volumes
from storage.models import Datastore, DatastoreMount, Volume
from storage.naming import checked_capacity, volume_name_like

BUSES = ("virtio", "scsi", "sata", "usb", "ide")
CACHES = ("", "none", "writeback", "writethrough", "directsync", "unsafe")
MODELS = ("virtio", "e1000e", "e1000", "rtl8139")
# The range that QEMU's and libvirt's adapters have. Source: https://libvirt.org/formatdomain.html#network-interfaces
MAC_PREFIX = "52:54:00"
MAC_TRIES = 20
Parameters = dict[str, Any]


# -- what there is to choose from


def mounts_for(guest: Guest) -> QuerySet[DatastoreMount]:
    """Started datastores as the guest's host sees them."""
    mounts = DatastoreMount.objects.filter(host=guest.host_id, missing_since=None, active=True)
    return mounts.select_related("datastore").order_by("datastore__name", "pk")


def switches_for(guest: Guest) -> QuerySet[VirtualSwitch]:
    """What the guest can be plugged into on its host."""
    return VirtualSwitch.objects.filter(host=guest.host_id, missing_since=None).order_by("name", "pk")


# -- CDs


def change_media(*, guest: Guest, target: str, volume: Volume | None, force: bool = False, by: Any) -> Job:
    """Queue putting an ISO into a CD drive, or ejecting what is in it. `force` ignores that the guest locked it.

    Raises: Forbidden; Invalid; Conflict; AlreadyOpen.
    Transaction: its own.
    """

    wanted = volume

    def make(fresh: Guest) -> Parameters:
        volume = lock_volume(wanted) if wanted else None
        drive = _disk(fresh, target, "cdrom", "floppy")
        if volume is None and not drive.source:
            raise Conflict(_("The drive is empty already."))
        path, name, chosen = "", "", ""
        if volume is not None:
            if not is_iso(volume):
                raise Invalid(_("This volume is not an ISO image."), field="volume")
            if reason := reason_not_to_read(volume):
                raise Conflict(reason)
            require_no_task(volume)
            path, name = path_on(_mount(fresh, volume.datastore_id), volume), volume.name
            chosen = str(volume.pk)
        return {
            "target": target,
            "volume": chosen,
            "path": path,
            "volume_name": name,
            "force": force,
            "before": drive.source,
            "before_name": drive.source.rpartition("/")[2],
        }

    return submit_act(guest=guest, kind=MEDIA, make=make, by=by)


def restore_media(*, guest: Guest, target: str, path: str, by: Any) -> Job:
    """Queue putting back what was in a drive before, by its path on the host; an empty one ejects.

    Raises: as `change_media`; Conflict when it is no volume of the guest's host any more.
    Transaction: its own.
    """
    if not path:
        return change_media(guest=guest, target=target, volume=None, by=by)
    for mount in mounts_for(guest):
        for volume in Volume.objects.filter(datastore=mount.datastore_id, name=path.rpartition("/")[2]):
            if path_on(mount, volume) == path:
                return change_media(guest=guest, target=target, volume=volume, by=by)
    raise Conflict(_("What was in the drive before is not on the guest's host any more."))


# -- disks


def add_disk(
    *, guest: Guest, volume: Volume, bus: str = "virtio", cache: str = "", read_only: bool = False, by: Any
) -> Job:
    """Queue adding an existing volume that no guest has; read only also one that others share.

    Raises: Forbidden; Invalid; Conflict; AlreadyOpen.
    Transaction: its own.
    """

    wanted = volume

    def make(fresh: Guest) -> Parameters:
        volume = lock_volume(wanted)
        mount = _mount(fresh, volume.datastore_id)
        require_disk(volume, "volume")
        if reason := reason_not_to_add(volume, read_only=read_only):
            raise Conflict(reason)
        require_unpromised(volume, read_only=read_only)
        return {
            "volume": str(volume.pk),
            "volume_name": volume.name,
            "path": path_on(mount, volume),
            "format": volume.format if volume.format in FORMATS else "raw",
            "block": volume.kind == "block",
            "capacity_bytes": volume.capacity_bytes,
            **_how(bus, cache),
            "read_only": read_only,
        }

    return submit_act(guest=guest, kind=DISK_ADD, make=make, by=by)


def create_disk(
    *,
    guest: Guest,
    datastore: Datastore,
    capacity_bytes: int,
    format: str = "qcow2",  # noqa: A002 - the field's word
    bus: str = "virtio",
    cache: str = "",
    by: Any,
) -> Job:
    """Queue making a new, empty volume and adding it. Needs the right to make volumes, too.

    Raises: Forbidden; Invalid; Conflict; AlreadyOpen.
    Transaction: its own.
    """
    if not isinstance(by, str):
        require(by, Action.PROVISION)

    def make(fresh: Guest) -> Parameters:
        mount = _mount(fresh, datastore.pk)
        require_makes_volumes(datastore)
        if format not in FORMATS:
            raise Invalid(_("A new volume is raw or qcow2."), field="format")
        if not mount.uuid:
            raise Conflict(_("This datastore was not read in full yet."))
        # What makes the name this task's own stands at its end, however long the guest's is.
        stem = volume_name_like(fresh.name)[:150] or "disk"
        name = f"{stem}-{secrets.token_hex(4)}.{'qcow2' if format == 'qcow2' else 'img'}"
        return {
            "new": {"datastore_uuid": mount.uuid, "datastore_name": datastore.name, "format": format},
            "volume_name": name,
            "capacity_bytes": checked_capacity(capacity_bytes),
            "format": format,
            **_how(bus, cache),
            "read_only": False,
        }

    return submit_act(guest=guest, kind=DISK_ADD, make=make, by=by)


def grow_disk(*, guest: Guest, target: str, capacity_bytes: int, by: Any) -> Job:
    """Queue making a disk larger; its content stays, and the guest has to use the room.

    Raises: Forbidden; Invalid; Conflict; AlreadyOpen.
    Transaction: its own.
    """

    def make(fresh: Guest) -> Parameters:
        disk = _disk(fresh, target, "disk")
        if not disk.source or disk.read_only:
            raise Conflict(_("This disk cannot be made larger: it has no volume of its own to write to."))
        if checked_capacity(capacity_bytes) <= (disk.capacity_bytes or 0):
            words = {"size": format_bytes(disk.capacity_bytes)}
            raise Invalid(_("A disk only grows: it has %(size)s now.") % words, field="capacity_bytes")
        return {
            "target": target,
            "path": _path_of(disk),
            "capacity_bytes": capacity_bytes,
            "before": disk.capacity_bytes,
        }

    return submit_act(guest=guest, kind=DISK_GROW, make=make, by=by)


def remove_disk(*, guest: Guest, target: str, by: Any) -> Job:
    """Queue taking a disk away from the guest. Its volume stays as it is.

    Raises: Forbidden; Invalid; Conflict; AlreadyOpen.
    Transaction: its own.
    """

    def make(fresh: Guest) -> Parameters:
        disk = _disk(fresh, target, "disk", "lun", "cdrom", "floppy")
        return {"target": target, "path": _path_of(disk), "volume_name": disk.source.rpartition("/")[2]}

    return submit_act(guest=guest, kind=DISK_REMOVE, make=make, by=by)


def reason_not_to_add(volume: Volume, *, read_only: bool) -> str:
    """Why it must be no guest's disk, whatever the hosts that see it call it; empty when it may be."""
    if read_only:
        return reason_not_to_read(volume)
    uses = uses_of([volume])[volume.pk]
    names = guests_named(uses.disks)
    if names:
        words = {"name": volume.name, "guests": some(names)}
        return _("%(name)s is used by %(guests)s: two guests that write to one disk ruin it.") % words
    if uses.overlays:
        return _("Other volumes rest on %(name)s: writing to it ruins them.") % {"name": volume.name}
    return reason_below(volume)


def reason_not_to_read(volume: Volume) -> str:
    """Why no guest may have it even to read: what one guest writes for itself is not another's to see."""
    own = [disk for disk in uses_of([volume])[volume.pk].disks if not is_shared(disk)]
    if not own:
        return reason_below(volume)
    return _("It is a disk of %(guests)s and not shareable: no other guest may read it.") % {
        "guests": some(guests_named(own))
    }


def _how(bus: str, cache: str) -> Parameters:
    """Raises: Invalid."""
    if bus not in BUSES:
        raise Invalid(_("There is no such bus."), field="bus")
    if cache not in CACHES:
        raise Invalid(_("There is no such cache mode."), field="cache")
    return {"bus": bus, "cache": cache}


def _disk(guest: Guest, target: str, *devices: str) -> Disk:
    """Raises: Conflict."""
    disk = Disk.objects.filter(guest=guest, target=target, device__in=devices).first()
    if disk is None:
        raise Conflict(_("The guest has no such device any more; look at its hardware again."))
    return disk


def _path_of(disk: Disk) -> str:
    """A disk by pool and volume, or over the network, has no path on the host."""
    return disk.source if disk.source_type in {"file", "block"} else ""


def _mount(guest: Guest, datastore_id: Any) -> DatastoreMount:
    """Raises: Conflict."""
    mount = mounts_for(guest).filter(datastore=datastore_id).first()
    if mount is None:
        raise Conflict(_("This datastore is not started on the guest's host."))
    return mount


# -- network adapters


def add_nic(
    *, guest: Guest, switch: VirtualSwitch, port_group: str = "", model: str = "virtio", link_up: bool = True, by: Any
) -> Job:
    """Queue adding a network adapter with a MAC address nobody has.

    Raises: Forbidden; Invalid; Conflict; AlreadyOpen.
    Transaction: its own.
    """

    def make(fresh: Guest) -> Parameters:
        return {"mac": free_mac(), **_plugged(fresh, switch, port_group), "model": _model(model), "link_up": link_up}

    return submit_act(guest=guest, kind=NIC_ADD, make=make, by=by)


def change_nic(
    *,
    guest: Guest,
    mac: str,
    switch: VirtualSwitch | None = None,
    port_group: str = "",
    link_up: bool | None = None,
    by: Any,
) -> Job:
    """Queue plugging an adapter in elsewhere, and its link up or down. What is none stays as it is.

    Raises: Forbidden; Invalid; Conflict; AlreadyOpen.
    Transaction: its own.
    """

    def make(fresh: Guest) -> Parameters:
        nic = _nic(fresh, mac)
        before = plug_of(nic)
        wanted = _plugged(fresh, switch, port_group) if switch is not None else before
        wanted = {**before, **wanted, "link_up": nic.link_up if link_up is None else link_up}
        if wanted == before:
            raise Invalid(_("Nothing was changed."))
        return {"mac": nic.mac, "model": nic.model or "virtio", **wanted, "before": before}

    return submit_act(guest=guest, kind=NIC_CHANGE, make=make, by=by)


def restore_nic(*, guest: Guest, mac: str, before: Mapping[str, Any], by: Any) -> Job:
    """Queue plugging an adapter in where it was before, as `change_nic` noted it. Raises: as `change_nic`."""
    network, bridge = before.get("network", ""), before.get("bridge", "")
    switches = switches_for(guest)
    known = switches.filter(managed=True, name=network) if network else switches.filter(managed=False, bridge=bridge)
    switch = known.first()
    if switch is None:
        raise Conflict(_("What it was plugged into before is not on the guest's host any more."))
    words = {"port_group": before.get("port_group", ""), "link_up": bool(before.get("link_up"))}
    return change_nic(guest=guest, mac=mac, switch=switch, by=by, **words)


def remove_nic(*, guest: Guest, mac: str, by: Any) -> Job:
    """Queue taking an adapter away from the guest.

    Raises: Forbidden; Conflict; AlreadyOpen.
    Transaction: its own.
    """

    def make(fresh: Guest) -> Parameters:
        nic = _nic(fresh, mac)
        return {"mac": nic.mac, "switch_name": nic.network or nic.bridge}

    return submit_act(guest=guest, kind=NIC_REMOVE, make=make, by=by)


def free_mac() -> str:
    """One that no adapter in the inventory has."""
    for _try in range(MAC_TRIES):
        tail = secrets.token_bytes(3)
        mac = f"{MAC_PREFIX}:{tail[0]:02x}:{tail[1]:02x}:{tail[2]:02x}"
        if not Nic.objects.filter(mac=mac).exists():
            return mac
    raise Conflict(_("No free MAC address was found; try again."))


def _nic(guest: Guest, mac: str) -> Nic:
    """Raises: Conflict."""
    nic = Nic.objects.filter(guest=guest, mac__iexact=mac).first()
    if nic is None:
        raise Conflict(_("The guest has no such network adapter any more; look at its hardware again."))
    if nic.kind not in {"network", "bridge"}:
        raise Conflict(_("Only adapters on a virtual switch can be changed here."))
    return nic


def plug_of(nic: Nic) -> Parameters:
    """What an adapter is plugged into, and whether its link is up."""
    network = nic.network
    return {
        "network": network,
        "bridge": "" if network else nic.bridge,
        "port_group": nic.port_group if network else "",
        "open_vswitch": bool(not network and nic.details.get("virtual_port") == "openvswitch"),
        "switch_name": network or nic.bridge,
        "link_up": nic.link_up,
    }


def _plugged(guest: Guest, switch: VirtualSwitch, port_group: str) -> Parameters:
    """Raises: Invalid, Conflict."""
    if switch.host_id != guest.host_id or switch.missing_since is not None:
        raise Conflict(_("This virtual switch is not on the guest's host."))
    if port_group and not PortGroup.objects.filter(switch=switch, name=port_group).exists():
        raise Invalid(_("The virtual switch has no such port group."), field="port_group")
    if switch.managed:
        return {
            "network": switch.name,
            "bridge": "",
            "port_group": port_group,
            "open_vswitch": False,
            "switch_name": switch.name,
        }
    is_ovs = switch.virtual_port == "openvswitch"
    bridge = switch.bridge or switch.name
    return {"network": "", "bridge": bridge, "port_group": "", "open_vswitch": is_ovs, "switch_name": switch.name}


def _model(model: str) -> str:
    """Raises: Invalid."""
    if model not in MODELS:
        raise Invalid(_("There is no such model."), field="model")
    return model


# -- what lists of tasks show


def media_title(parameters: Mapping[str, Any]) -> str:
    words = {"target": parameters.get("target", "?"), "name": parameters.get("volume_name") or "?"}
    if parameters.get("path"):
        return _("Insert %(name)s into %(target)s") % words
    return _("Eject %(target)s") % words


def disk_title(kind: str, parameters: Mapping[str, Any]) -> str:
    words = {
        "target": parameters.get("target", "?"),
        "name": parameters.get("volume_name", "?"),
        "size": format_bytes(parameters.get("capacity_bytes")),
    }
    if kind == DISK_GROW:
        return _("Grow disk %(target)s to %(size)s") % words
    if kind == DISK_REMOVE:
        return _("Remove disk %(target)s") % words
    return (_("Add a new disk of %(size)s") if "new" in parameters else _("Add disk %(name)s")) % words


def nic_title(kind: str, parameters: Mapping[str, Any]) -> str:
    words = {"mac": parameters.get("mac", "?"), "switch": parameters.get("switch_name", "?")}
    if kind == NIC_ADD:
        return _("Add a NIC on %(switch)s") % words
    if kind == NIC_REMOVE:
        return _("Remove NIC %(mac)s") % words
    before = parameters.get("before") or {}
    if {**before, "link_up": None} != {**{name: parameters.get(name) for name in before}, "link_up": None}:
        return _("Plug NIC %(mac)s into %(switch)s") % words
    return (_("Link up: NIC %(mac)s") if parameters.get("link_up") else _("Link down: NIC %(mac)s")) % words
