"""Growing and deleting volumes: acts that must know who uses one, on whatever host. `volumes_runner` does it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils.translation import gettext as _

from access.models import require
from access.roles import Action
from core.errors import Conflict, Invalid
from core.units import format_bytes
from drivers.types import Capability
from hosts.able import require_able
from hosts.models import Host, Source
from inventory.acts.rules import DISK_ADD
from inventory.models import Disk, Guest, GuestState
from operations.models import Job, JobState
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


@dataclass(slots=True)
class Uses:
    """Who needs a volume: guests' disks that are it or are built upon it, and other volumes that are."""

    names: dict[Any, set[str]]  # what guests and volumes of each host may call it, by the host's id
    disks: list[Disk] = field(default_factory=list)
    overlays: list[Volume] = field(default_factory=list)

    @property
    def every(self) -> set[str]:
        return set().union(*self.names.values())

    def has(self, disk: Disk, volume: Volume) -> bool:
        near = self.names.get(disk.guest.host_id, set())
        if disk.source in near or (disk.datastore_id == volume.datastore_id and disk.source in self.every):
            return True
        return bool(near & set(_backing(disk)))


def uses_of(volumes: Iterable[Volume]) -> dict[UUID, Uses]:
    """Of each volume, on every host that sees its datastore. Four queries, however many there are."""
    found = {volume.pk: (volume, Uses(names)) for volume, names in _named(list(volumes))}
    hosts = {host for _volume, uses in found.values() for host in uses.names if host is not None}
    every = set().union(*(uses.every for _volume, uses in found.values()))
    stores = {volume.datastore_id for volume, _uses in found.values()}
    rows = Disk.objects.select_related("guest__host").order_by("guest__name", "guest", "position")
    near = Q(datastore__in=stores) | Q(guest__host__in=hosts)
    disks = list(rows.filter(near & (Q(source__in=every) | Q(details__backing__isnull=False))))
    beside = Datastore.objects.filter(mounts__host__in=hosts).values("pk")
    above = list(Volume.objects.filter(Q(datastore__in=beside) | Q(datastore__in=stores), backing__in=every).distinct())
    for volume, uses in found.values():
        uses.disks += [disk for disk in disks if uses.has(disk, volume)]
        uses.overlays += [one for one in above if one.pk != volume.pk and one.backing in uses.every]
    return {pk: uses for pk, (_volume, uses) in found.items()}


def _named(volumes: list[Volume]) -> Iterator[tuple[Volume, dict[Any, set[str]]]]:
    stores = {volume.datastore_id for volume in volumes}
    by_store: dict[Any, list[DatastoreMount]] = {}
    for mount in DatastoreMount.objects.filter(datastore__in=stores, missing_since=None):
        by_store.setdefault(mount.datastore_id, []).append(mount)
    for volume in volumes:
        names: dict[Any, set[str]] = {None: {volume.path} - {""}}
        for mount in by_store.get(volume.datastore_id, ()):
            names[mount.host_id] = {path_on(mount, volume), f"{mount.name}/{volume.name}"} - {""}
            if mount.pk == volume.told_by:
                names[mount.host_id] |= {volume.path} - {""}
        yield volume, names


def _backing(disk: Disk) -> Iterator[str]:
    for link in disk.details.get("backing") or ():
        if isinstance(link, dict):
            yield str(link.get("source", ""))


def disks_on(volume: Volume) -> list[Disk]:
    return uses_of([volume])[volume.pk].disks


def guests_named(disks: list[Disk], *, but: Guest | None = None) -> list[str]:
    names = {disk.guest.name: None for disk in disks if but is None or disk.guest_id != but.pk}
    return list(names)


def some(names: list[str]) -> str:
    """For a sentence: the first few, and how many more."""
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else _("%(names)s and %(n)d more") % {"names": shown, "n": len(names) - NAMED}


def reason_to_keep(volume: Volume, *, but: Guest | None = None, uses: Uses | None = None) -> str:
    """Why it must not be deleted, as far as the inventory knows; empty when nobody else needs it."""
    uses = uses or uses_of([volume])[volume.pk]
    names = guests_named(uses.disks, but=but)
    if names:
        return _("%(name)s is used by %(guests)s.") % {"name": volume.name, "guests": some(names)}
    if uses.overlays:
        names = [one.name for one in uses.overlays]
        return _("%(volumes)s rests on %(name)s and would be lost.") % {"name": volume.name, "volumes": some(names)}
    return ""


def require_unpromised(volume: Volume) -> None:
    """Between a task's begin and the next read of its host nobody else knows whose a volume is. Raises: Conflict."""
    given = Q(parameters__disk__volume=str(volume.pk)) | Q(kind=DISK_ADD, parameters__volume=str(volume.pk))
    for job in Job.objects.filter(given).exclude(state__in=(JobState.FAILED, JobState.CANCELLED)):
        if job.is_open or not _is_read_since(job):
            guest = job.target_name if job.kind == DISK_ADD else job.parameters.get("name", "?")
            raise Conflict(_("%(name)s is given to %(guest)s already.") % {"name": volume.name, "guest": guest})


def _is_read_since(job: Job) -> bool:
    """Whether every source that it asked was read in full after its end, or is no more."""
    steps = (job.checkpoint.get("asked") or {}).values()
    unread = Q(inventory_read_at=None) | Q(inventory_read_at__lt=job.ended_at)
    return not Source.objects.filter(unread, pk__in={UUID(step["source"]) for step in steps}).exists()


def reason_not_to_grow(volume: Volume) -> str:
    """Why it must not be made larger now, as far as the inventory knows; empty when nothing speaks against it."""
    uses = uses_of([volume])[volume.pk]
    up = [disk for disk in uses.disks if disk.guest.state not in AT_REST]
    if up:
        words = {"guests": some(guests_named(up))}
        return _("%(guests)s runs with it: grow the disk on the guest's page, or power the guest off first.") % words
    return _("Other volumes rest on it: they would not see it grow.") if uses.overlays else ""


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
    reason = reason_not_to_grow(volume)
    if reason:
        raise Conflict(reason)
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
    require_unpromised(volume)
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
