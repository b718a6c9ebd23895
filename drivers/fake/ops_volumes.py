"""Where a simulated host's volumes are: noted in a datastore, an ISO there, or known from a guest's disk."""

from __future__ import annotations

from collections.abc import Iterable

from drivers.errors import NotFound, Rejected
from drivers.fake.facts import ISO_BYTES
from drivers.fake.model import FakeDatastore, FakeDisk, FakeGuest, FakeHost
from drivers.fake.ops_model import FakeVolume
from drivers.words import gettext_noop as _


def find_store(host: FakeHost, uuid: str) -> FakeDatastore:
    """Raises: NotFound."""
    for store in host.datastores:
        if store.uuid == uuid:
            return store
    raise NotFound(_("This datastore is not on this host any more."))


def find_started(host: FakeHost, uuid: str) -> FakeDatastore:
    """Raises: NotFound, Rejected."""
    store = find_store(host, uuid)
    if not store.active:
        raise Rejected(_("The datastore is not started; start it first."))
    return store


def volumes_in(host: FakeHost, store: FakeDatastore) -> dict[str, FakeVolume]:
    """By name."""
    found = {name: FakeVolume(name=name, capacity_bytes=ISO_BYTES, format="iso") for name in store.isos}
    for disk in (disk for guest in host.guests.values() for disk in all_disks(guest)):
        folder, _slash, name = disk.source.rpartition("/")
        if folder == store.path and name not in found:
            found[name] = FakeVolume(name=name, capacity_bytes=disk.capacity_bytes or 0, format=disk.format)
    return found | store.volumes


def all_disks(guest: FakeGuest) -> Iterable[FakeDisk]:
    """Those it has and those it gets at its next start."""
    return [*guest.disks, *((guest.waiting.disks if guest.waiting else None) or [])]


def require_volume(host: FakeHost, path: str) -> FakeVolume:
    """Raises: Rejected."""
    folder, _slash, name = path.rpartition("/")
    for store in host.datastores:
        if store.path == folder and store.active and (found := volumes_in(host, store).get(name)):
            return found
    raise Rejected(_("There is no volume of a started datastore at this path on the host; refresh the datastore."))


def require_unused(host: FakeHost, path: str, *, but: str = "") -> None:
    """Raises: Rejected."""
    for guest in host.guests.values():
        if guest.uuid != but and any(disk.source == path for disk in all_disks(guest)):
            raise Rejected(_("The guest %(guest)s has this volume; remove it there first."), guest=guest.name)


def note_volume(host: FakeHost, disk: FakeDisk) -> None:
    """Known from a guest's disk till now: it stays when the guest lets it go."""
    folder, _slash, name = disk.source.rpartition("/")
    for store in host.datastores:
        if disk.source and store.path == folder and name not in store.volumes and name not in store.isos:
            store.volumes[name] = FakeVolume(name=name, capacity_bytes=disk.capacity_bytes or 0, format=disk.format)


def resize(host: FakeHost, path: str, capacity_bytes: int) -> None:
    """The volume and every disk that it is."""
    folder, _slash, name = path.rpartition("/")
    for store in host.datastores:
        if store.path == folder and name in store.volumes:
            store.volumes[name].capacity_bytes = capacity_bytes
    for disk in (disk for guest in host.guests.values() for disk in all_disks(guest)):
        if disk.source == path:
            disk.capacity_bytes = capacity_bytes
