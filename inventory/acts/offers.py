"""Volumes to choose from: those that are free as far as hosts were read, and those that are in use, with by whom.

What a task has done since is seen when one is chosen: the act looks at more than a list can.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import F, Q, TextField, Value
from django.db.models.functions import Concat
from django.db.models.lookups import In
from django.utils.translation import gettext as _

from access.roles import Action
from hosts.models import Host
from inventory.acts.rules import DISK_ADD, GUEST_CREATE
from inventory.acts.volumes import Uses, guests_named, receiver_of, some, uses_of
from inventory.models import Disk
from operations.models import ENDED, Job
from storage.acts import FORMATS
from storage.models import DIRECTORY_KINDS, DISK_KINDS, DatastoreMount, Volume

OFFERED = 500  # of a list to choose from
CANDIDATES = 2 * OFFERED  # of those that no name speaks against, since something else may

ISO = Q(format="iso") | Q(name__iendswith=".iso")
DISK = Q(kind__in=DISK_KINDS) & (Q(format__in=FORMATS) | Q(kind="block")) & ~ISO


@dataclass(frozen=True, slots=True)
class Offer:
    """`mount`: as the host sees its datastore; `reason`: why it cannot be taken, or empty."""

    volume: Volume
    mount: DatastoreMount
    reason: str = ""


def isos_on(host: Host, *, user: Any) -> list[Offer]:
    """ISO images in started datastores of a host, by datastore and name."""
    mounts = _mounts(host, user)
    found = _volumes(mounts, user).filter(ISO).exclude(kind__in=DIRECTORY_KINDS)
    return [Offer(one, mounts[one.datastore_id]) for one in found[:OFFERED]]


def disks_on(host: Host, *, user: Any) -> list[Offer]:
    """What could be a disk of a guest there; the free ones first. Eight queries, however many there are.

    The database leaves out those that are in use under a name that hosts give them; what else speaks against one, such
    as a disk that rests on it, is looked for among those that are left.
    """
    mounts = _mounts(host, user)
    volumes, taken = _volumes(mounts, user).filter(DISK), _taken(mounts)
    found = list(volumes.exclude(taken)[:CANDIDATES])
    found += volumes.filter(taken)[:OFFERED]
    reasons = dict(_reasons(found))
    offers = [Offer(one, mounts[one.datastore_id], reasons[one.pk]) for one in found]
    return sorted(offers, key=lambda one: bool(one.reason))[:OFFERED]


def used_by(names: list[str]) -> str:
    return _("used by %(guests)s") % {"guests": some(names)}


def _mounts(host: Host, user: Any) -> dict[UUID, DatastoreMount]:
    """By datastore."""
    rows = DatastoreMount.objects.restrict(user, Action.VIEW).filter(host=host, missing_since=None, active=True)
    return {mount.datastore_id: mount for mount in rows.select_related("datastore")}


def _volumes(mounts: dict[UUID, DatastoreMount], user: Any) -> Any:
    rows = Volume.objects.restrict(user, Action.VIEW).filter(datastore__in=mounts)
    return rows.order_by("datastore__name", "name", "pk")


def _taken(mounts: Iterable[UUID]) -> Q:
    """Volumes of these datastores that a disk or another volume there calls by name, as any host may.

    A set for each datastore and no row by row comparison: what has a name in one is another thing in the next.
    """
    taken = Q(pk__in=())
    for store, called in _names_in(mounts).items():
        disks = Disk.objects.filter(datastore=store).exclude(source="").order_by().values("source")
        above = Volume.objects.filter(datastore=store).exclude(backing="").order_by().values("backing")
        used = Q()
        for name in called:
            used |= Q(In(name, disks)) | Q(In(name, above))
        taken |= Q(datastore=store) & used
    return taken


def _names_in(stores: Iterable[UUID]) -> dict[UUID, list[Any]]:
    """How hosts may call a volume of each datastore, as inventory.acts.volumes.uses_of has it: by its columns."""
    found: dict[UUID, list[Any]] = {store: [F("path")] for store in stores}
    mounts = DatastoreMount.objects.filter(datastore__in=found, missing_since=None).order_by()
    pairs = list(mounts.values_list("datastore", "path", "name").distinct())
    for store, folder in sorted({(store, path.rstrip("/")) for store, path, _name in pairs if path}):
        found[store].append(Concat(Value(f"{folder}/"), F("key"), output_field=TextField()))
    for store, pool in sorted({(store, name) for store, _path, name in pairs}):
        found[store].append(Concat(Value(f"{pool}/"), F("name"), output_field=TextField()))
    return found


def _reasons(volumes: list[Volume]) -> Iterator[tuple[UUID, str]]:
    """What speaks against each; empty for those that are free."""
    uses, given = uses_of(volumes), _given(volumes)
    for volume in volumes:
        yield volume.pk, _why(uses[volume.pk]) or given.get(volume.pk, "")


def _why(uses: Uses) -> str:
    if uses.disks:
        return used_by(guests_named(uses.disks))
    return _("others rest on it") if uses.overlays else ""


def _given(volumes: Iterable[Volume]) -> dict[UUID, str]:
    """Those that an open task is giving to a guest."""
    keys = {str(volume.pk): volume.pk for volume in volumes}
    found = {}
    for job in Job.objects.filter(kind__in=(DISK_ADD, GUEST_CREATE)).exclude(state__in=ENDED):
        disk = job.parameters if job.kind == DISK_ADD else job.parameters.get("disk") or {}
        if disk.get("volume") in keys:
            found[keys[disk["volume"]]] = _("given to %(guest)s just now") % {"guest": receiver_of(job)}
    return found
