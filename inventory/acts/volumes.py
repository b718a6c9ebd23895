"""Growing and deleting volumes: acts that must know who uses one, on whatever host. `volumes_runner` does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Q
from django.utils.translation import gettext as _

from access.models import require
from access.roles import Action
from core.db import write_transaction
from core.errors import Conflict, Invalid
from core.units import format_bytes
from drivers.types import Capability
from hosts.able import require_able
from hosts.models import Host, Source
from inventory.acts.rules import DISK_ADD, GUEST_CREATE, MEDIA
from inventory.models import Disk, Guest, GuestState
from operations.errors import AlreadyOpen
from operations.models import Job, JobState
from operations.selectors import open_job_for
from operations.services import sentence_busy, submit_job
from storage.acts import FORMATS
from storage.models import DISK_KINDS, Datastore, DatastoreMount, Volume
from storage.naming import checked_capacity
from storage.places import choose_mount, volume_key

VOLUME_GROW = "volume_grow"
VOLUME_DELETE = "volume_delete"
NAMED = 3  # guests in a sentence
MOST_BELOW = 50  # images in a chain
R = TypeVar("R", Disk, Volume)
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
    every: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.every = set().union(*self.names.values())

    def has(self, disk: Disk, volume: Volume) -> bool:
        near = self.names.get(disk.guest.host_id, set())
        return self.is_it(disk, volume) or bool(near & set(_backing(disk)))

    def is_it(self, disk: Disk, volume: Volume) -> bool:
        near = self.names.get(disk.guest.host_id, set())
        return disk.source in near or (disk.datastore_id == volume.datastore_id and disk.source in self.every)


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
    called = _by_name(disks, lambda disk: {disk.source, *_backing(disk)})
    resting = _by_name(above, lambda one: {one.backing})
    for volume, uses in found.values():
        uses.disks += [disk for disk in _called(called, uses.every) if uses.has(disk, volume)]
        uses.overlays += [one for one in _called(resting, uses.every) if one.pk != volume.pk]
    return {pk: uses for pk, (_volume, uses) in found.items()}


def volumes_below(volume: Volume) -> Iterator[Volume]:
    """The volumes that it rests on, the nearest first, as far as the inventory knows them."""
    seen = {volume.pk}
    while volume.backing and len(seen) <= MOST_BELOW:
        hosts = DatastoreMount.objects.filter(datastore=volume.datastore_id, missing_since=None).values("host")
        beside = DatastoreMount.objects.filter(host__in=hosts, missing_since=None).values("datastore")
        where = Q(datastore__in=beside) | Q(datastore=volume.datastore_id)
        called = list(Volume.objects.filter(where, name=volume.backing.rpartition("/")[2]).order_by("pk"))
        below = [one for one, names in _named(called) if any(volume.backing in near for near in names.values())]
        if not below or below[0].pk in seen:
            return
        volume = below[0]
        seen.add(volume.pk)
        yield volume


def reason_below(volume: Volume) -> str:
    """Why what it rests on speaks against giving it to a guest: that would read another's disk through it."""
    for below in volumes_below(volume):
        uses = uses_of([below])[below.pk]
        own = [disk for disk in uses.disks if uses.is_it(disk, below) and not is_shared(disk)]
        if own:
            words = {"name": volume.name, "below": below.name, "guests": some(guests_named(own))}
            return _("%(name)s rests on %(below)s, a disk of %(guests)s that is not shareable.") % words
    return ""


def is_shared(disk: Disk) -> bool:
    return disk.shareable or disk.read_only or disk.device in {"cdrom", "floppy"}


def _by_name(rows: list[R], names_of: Callable[[R], set[str]]) -> dict[str, list[tuple[int, R]]]:
    """Rows with their place in the list, by each of their names."""
    found: dict[str, list[tuple[int, R]]] = {}
    for place, row in enumerate(rows):
        for name in names_of(row):
            found.setdefault(name, []).append((place, row))
    return found


def _called(rows: dict[str, list[tuple[int, R]]], names: set[str]) -> list[R]:
    """Those that have any of these names, in their order."""
    found = dict(pair for name in names for pair in rows.get(name, ()))
    return [found[place] for place in sorted(found)]


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


def require_disk(volume: Volume, field: str) -> None:
    """Raises: Invalid when it is nothing that a guest can have as a disk."""
    if volume.is_directory:
        raise Invalid(_("%(name)s is a directory and no disk.") % {"name": volume.name}, field=field)
    if volume.kind not in DISK_KINDS:
        raise Invalid(_("Only files and block devices of the host can be disks."), field=field)
    if volume.format not in FORMATS and volume.kind != "block":
        raise Invalid(_("Only raw and qcow2 volumes can be disks."), field=field)
    if is_iso(volume):
        raise Invalid(_("An ISO image is put into a CD drive and is no disk."), field=field)


def is_iso(volume: Volume) -> bool:
    return not volume.is_directory and (volume.format == "iso" or volume.name.lower().endswith(".iso"))


def guests_named(disks: list[Disk], *, but: Guest | None = None) -> list[str]:
    names = {disk.guest.name: None for disk in disks if but is None or disk.guest_id != but.pk}
    return list(names)


def some(names: list[str]) -> str:
    """For a sentence: the first few, and how many more."""
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else _("%(names)s and %(n)d more") % {"names": shown, "n": len(names) - NAMED}


def directory_sentence(volume: Volume) -> str:
    return _("%(name)s is a directory and no disk: it can neither grow nor be deleted here.") % {"name": volume.name}


def reason_to_keep(volume: Volume, *, but: Guest | None = None, uses: Uses | None = None) -> str:
    """Why it must not be deleted, as far as the inventory knows; empty when nobody else needs it."""
    if volume.is_directory:
        return directory_sentence(volume)
    uses = uses or uses_of([volume])[volume.pk]
    names = guests_named(uses.disks, but=but)
    if names:
        return _("%(name)s is used by %(guests)s.") % {"name": volume.name, "guests": some(names)}
    if uses.overlays:
        names = [one.name for one in uses.overlays]
        return _("%(volumes)s rests on %(name)s and would be lost.") % {"name": volume.name, "volumes": some(names)}
    return ""


def lock_volume(volume: Volume) -> Volume:
    """Its row as it is now; whoever else wants it waits. Raises: Conflict when it is gone.

    Transaction: call it first in the one that gives it away, grows or deletes it; of two at once one waits here and
    sees what the other did.
    """
    rows = Volume.objects.select_related("datastore").select_for_update(no_key=True, of=("self",))
    found = rows.filter(pk=volume.pk).first()
    if found is None:
        raise Conflict(_("%(name)s is not in its datastore any more.") % {"name": volume.name})
    return found


def require_unpromised(volume: Volume, *, read_only: bool = False) -> None:
    """Between a task's begin and the next read of its host nobody else knows whose a volume is.

    `read_only`: others may be given it to read, too.
    Raises: Conflict; AlreadyOpen while a task changes or deletes the volume itself.
    Transaction: after `lock_volume`.
    """
    given = Q(kind=GUEST_CREATE, parameters__disk__volume=str(volume.pk))
    given |= Q(kind=DISK_ADD, parameters__volume=str(volume.pk))
    for job in _news(given):
        if not (read_only and job.parameters.get("read_only")):
            words = {"name": volume.name, "guest": receiver_of(job)}
            raise Conflict(_("%(name)s is given to %(guest)s already.") % words)
    require_no_task(volume)


def require_in_no_drive(volume: Volume) -> None:
    """As `require_unpromised`, of an ISO that is put into a drive, of which many guests may read. Raises: Conflict."""
    read = Q(kind=MEDIA, parameters__volume=str(volume.pk))
    read |= Q(kind=GUEST_CREATE, parameters__cd__volume=str(volume.pk))
    for job in _news(read):
        words = {"name": volume.name, "guest": receiver_of(job)}
        raise Conflict(_("%(name)s is put into a drive of %(guest)s.") % words)


def require_no_task(volume: Volume) -> None:
    """Raises: AlreadyOpen while a task changes or deletes the volume itself."""
    holder = open_job_for(exclusive=volume_key(volume.datastore, volume.name))
    if holder is not None:
        raise AlreadyOpen(sentence_busy(holder), job=holder)


def _news(which: Q) -> Iterator[Job]:
    """Tasks of which the inventory does not show yet what they did, or will do."""
    for job in Job.objects.filter(which).exclude(state__in=(JobState.FAILED, JobState.CANCELLED)):
        if job.is_open or not _is_read_since(job):
            yield job


def receiver_of(job: Job) -> str:
    """The name of the guest to which a task gives a volume: one that is there, or that it makes."""
    return job.target_name if job.kind in {DISK_ADD, MEDIA} else str(job.parameters.get("name", "?"))


def _is_read_since(job: Job) -> bool:
    """Whether every source that it asked was read in full after its end, or is no more."""
    steps = (job.checkpoint.get("asked") or {}).values()
    unread = Q(inventory_read_at=None) | Q(inventory_read_at__lt=job.ended_at)
    return not Source.objects.filter(unread, pk__in={UUID(step["source"]) for step in steps}).exists()


def reason_not_to_grow(volume: Volume) -> str:
    """Why it must not be made larger now, as far as the inventory knows; empty when nothing speaks against it."""
    if volume.is_directory:
        return directory_sentence(volume)
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
    Transaction: its own.
    """
    require(by, Action.PROVISION)
    checked_capacity(capacity_bytes)
    with write_transaction():
        volume = lock_volume(volume)
        if volume.is_directory:
            raise Conflict(directory_sentence(volume))
        before = volume.capacity_bytes
        if capacity_bytes <= before:
            words = {"size": format_bytes(before)}
            raise Invalid(_("A volume only grows: it has %(size)s now.") % words, field="capacity_bytes")
        if reason := reason_not_to_grow(volume):
            raise Conflict(reason)
        require_unpromised(volume)
        sizes = {"capacity_bytes": capacity_bytes, "before": before}
        return _submit(VOLUME_GROW, Capability.CONTENT, volume, host, by, **sizes)


def submit_volume_delete(*, volume: Volume, confirmation: str, host: Host | None = None, by: Any) -> Job:
    """Queue deleting a volume and its content for ever. `confirmation` is its name, typed by a person.

    Raises: Forbidden, Invalid; Conflict when a guest of any host or another volume needs it; AlreadyOpen.
    Transaction: its own.
    """
    require(by, Action.PROVISION)
    with write_transaction():
        volume = lock_volume(volume)
        if volume.is_directory:
            raise Conflict(directory_sentence(volume))
        if confirmation.strip() != volume.name:
            raise Invalid(_("Type the name of the volume as it is written above."), field="confirmation")
        if reason := reason_to_keep(volume):
            raise Conflict(reason)
        require_unpromised(volume)
        require_in_no_drive(volume)
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
