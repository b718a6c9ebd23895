"""Growing and deleting volumes: acts that must know who uses one, on whatever host. `volumes_runner` does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext as _

from access.models import require
from access.roles import Action
from core.errors import Conflict, Invalid
from core.units import format_bytes
from drivers.types import Capability
from hosts.able import require_able
from hosts.models import Host
from inventory.models import Disk, Guest, GuestState
from operations.models import Job
from operations.services import submit_job
from storage.models import Datastore, DatastoreMount, Volume
from storage.naming import checked_capacity
from storage.places import choose_mount, volume_key

VOLUME_GROW = "volume_grow"
VOLUME_DELETE = "volume_delete"
NAMED = 3  # guests in a sentence
AT_REST = frozenset({GuestState.OFF, GuestState.CRASHED})


def grow_title(parameters: Mapping[str, Any]) -> str:
    words = {"name": parameters.get("name", "?"), "size": format_bytes(parameters.get("capacity_bytes"))}
    return _("Grow volume %(name)s to %(size)s") % words


def delete_title(parameters: Mapping[str, Any]) -> str:
    return _("Delete volume %(name)s") % {"name": parameters.get("name", "?")}


# -- who uses it


def path_on(mount: DatastoreMount, volume: Volume) -> str:
    """How the host of this mount calls the volume."""
    if mount.path and volume.path.endswith(f"/{volume.key}"):
        return f"{mount.path.rstrip('/')}/{volume.key}"
    return volume.path


def names_by_host(volume: Volume) -> dict[Any, set[str]]:
    """What guests and other volumes of each host that sees the datastore may call it, by the host's id."""
    mounts = DatastoreMount.objects.filter(datastore=volume.datastore_id, missing_since=None)
    names = {mount.host_id: {path_on(mount, volume), f"{mount.name}/{volume.name}"} - {""} for mount in mounts}
    told = next((mount.host_id for mount in mounts if mount.pk == volume.told_by), None)
    if told is not None and volume.path:
        names[told].add(volume.path)
    return names


def disks_on(volume: Volume) -> list[Disk]:
    """Every guest's disk that is this volume or is built upon it, on any host that sees the datastore."""
    named = names_by_host(volume)
    every = set().union(*named.values(), {volume.path} - {""})
    used = Q(datastore=volume.datastore_id, source__in=every)
    for host, names in named.items():
        used |= Q(guest__host=host, source__in=names)
    rows = Disk.objects.select_related("guest__host").order_by("guest__name", "guest", "position")
    direct = list(rows.filter(used))
    chained = rows.filter(guest__host__in=list(named), details__backing__isnull=False)
    known = {disk.pk for disk in direct}
    return direct + [
        disk for disk in chained if disk.pk not in known and named[disk.guest.host_id] & set(_backing(disk))
    ]


def _backing(disk: Disk) -> Iterator[str]:
    for link in disk.details.get("backing") or ():
        if isinstance(link, dict):
            yield str(link.get("source", ""))


def overlays_of(volume: Volume) -> list[Volume]:
    """Other volumes that are built upon it, in whatever datastore of the hosts that see it."""
    named = names_by_host(volume)
    every = set().union(*named.values(), {volume.path} - {""})
    near = Datastore.objects.filter(mounts__host__in=list(named)).values("pk")
    return list(Volume.objects.filter(datastore__in=near, backing__in=every).exclude(pk=volume.pk).order_by("name"))


def guests_named(disks: list[Disk], *, but: Guest | None = None) -> list[str]:
    names = {disk.guest.name: None for disk in disks if but is None or disk.guest_id != but.pk}
    return list(names)


def some(names: list[str]) -> str:
    """For a sentence: the first few, and how many more."""
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else _("%(names)s and %(n)d more") % {"names": shown, "n": len(names) - NAMED}


def reason_to_keep(volume: Volume, *, but: Guest | None = None) -> str:
    """Why it must not be deleted, as far as the inventory knows; empty when nobody else needs it."""
    names = guests_named(disks_on(volume), but=but)
    if names:
        return _("%(name)s is used by %(guests)s.") % {"name": volume.name, "guests": some(names)}
    above = overlays_of(volume)
    if above:
        names = [one.name for one in above]
        return _("%(volumes)s rests on %(name)s and would be lost.") % {"name": volume.name, "volumes": some(names)}
    return ""


# -- asking


def submit_volume_grow(*, volume: Volume, capacity_bytes: int, host: Host | None = None, by: Any) -> Job:
    """Queue making a volume larger that no running guest has; a guest's own disk grows on the guest's page.

    Raises: Forbidden, Invalid, Conflict, AlreadyOpen.
    """
    require(by, Action.PROVISION)
    checked_capacity(capacity_bytes)
    if capacity_bytes <= volume.capacity_bytes:
        words = {"size": format_bytes(volume.capacity_bytes)}
        raise Invalid(_("A volume only grows: it has %(size)s now.") % words, field="capacity_bytes")
    up = [disk for disk in disks_on(volume) if disk.guest.state not in AT_REST]
    if up:
        raise Conflict(
            _("%(guests)s runs with it: grow the disk on the guest's page, or power the guest off first.")
            % {"guests": some(guests_named(up))}
        )
    if overlays_of(volume):
        raise Conflict(_("Other volumes rest on it: they would not see it grow."))
    return _submit(
        VOLUME_GROW, Capability.CONTENT, volume, host, by, capacity_bytes=capacity_bytes, before=volume.capacity_bytes
    )


def submit_volume_delete(*, volume: Volume, confirmation: str, host: Host | None = None, by: Any) -> Job:
    """Queue deleting a volume and its content for ever. `confirmation` is its name, typed by a person.

    Raises: Forbidden, Invalid; Conflict when a guest of any host or another volume needs it; AlreadyOpen.
    """
    require(by, Action.PROVISION)
    if confirmation.strip() != volume.name:
        raise Invalid(_("Type the name of the volume as it is written above."), field="confirmation")
    reason = reason_to_keep(volume)
    if reason:
        raise Conflict(reason)
    return _submit(VOLUME_DELETE, Capability.STORAGE, volume, host, by)


def _submit(kind: str, capability: Capability, volume: Volume, host: Host | None, by: Any, **parameters: Any) -> Job:
    store = volume.datastore
    mount = choose_mount(store, host)
    require_able(mount.host, capability)
    return submit_job(
        kind=kind,
        target_kind="datastore",
        target_id=store.pk,
        target_name=store.name,
        parameters={
            "name": volume.name,
            "volume": str(volume.pk),
            "volume_name": volume.name,
            "host": str(mount.host_id),
            "host_name": mount.host.name,
            **parameters,
        },
        exclusive=volume_key(store, volume.name),
        by=by,
    )
