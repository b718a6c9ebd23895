"""What uses a datastore's volumes: guests' disks, and other volumes that build upon them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID

from access.roles import Action
from inventory.models import Disk, Guest
from storage.models import Datastore, DatastoreMount, Volume

# Names asked for in one query: databases limit how many parameters one may have.
NAMES_AT_ONCE = 5000


@dataclass(slots=True)
class Usage:
    """`base_of`: how many volumes of the same datastore are built upon it."""

    guests: list[Guest] = field(default_factory=list)
    base_of: int = 0


def usage_of(volumes: Iterable[Volume], datastore: Datastore, *, user: Any) -> dict[UUID, Usage]:
    """By volume, of one datastore, as far as this user sees it. Three queries for a page."""
    usage = {volume.pk: Usage() for volume in volumes}
    named = _names(volumes, datastore, user)
    disks = Disk.objects.restrict(user, Action.VIEW).filter(datastore=datastore)
    overlays = Volume.objects.restrict(user, Action.VIEW).filter(datastore=datastore)
    for names in _parts(named):
        for disk in disks.filter(source__in=names).select_related("guest").order_by("guest__name", "id"):
            for volume in named[disk.source]:
                if disk.guest not in usage[volume].guests:
                    usage[volume].guests.append(disk.guest)
        for backing in overlays.filter(backing__in=names).values_list("backing", flat=True):
            for volume in named[backing]:
                usage[volume].base_of += 1
    return usage


def _names(volumes: Iterable[Volume], datastore: Datastore, user: Any) -> dict[str, set[UUID]]:
    """Volumes by what disks may call them: their path wherever a host mounts the datastore, and pool/volume."""
    mounts = DatastoreMount.objects.restrict(user, Action.VIEW).filter(datastore=datastore, missing_since=None)
    places = set(mounts.values_list("name", "path"))
    folders = {path.rstrip("/") for _pool, path in places}
    named: defaultdict[str, set[UUID]] = defaultdict(set)
    for volume in volumes:
        named[volume.path].add(volume.pk)
        if volume.path.endswith(f"/{volume.key}"):  # a key below the mount
            for folder in folders:
                named[f"{folder}/{volume.key}"].add(volume.pk)
        for pool, _path in places:
            named[f"{pool}/{volume.name}"].add(volume.pk)
    named.pop("", None)
    return dict(named)


def _parts(names: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(names)
    while part := list(islice(remaining, NAMES_AT_ONCE)):
        yield part
