"""Acts on one guest: its snapshots, settings and devices. Each answers with the task that does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
from django.shortcuts import get_object_or_404
from django.urls import path
from django.urls.resolvers import URLPattern
from django.utils.translation import gettext as _
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from access.models import require
from access.roles import Action
from api.building import DiskBody
from api.formats import Body, read_body
from api.resources import DATASTORES, GUESTS, SWITCHES, TASKS
from api.serializers import task_detail_json
from api.views import Endpoint
from core.errors import Invalid
from inventory.acts import devices, settings, snapshots, undo
from inventory.models import Guest
from networks.models import VirtualSwitch
from operations.models import Job
from storage.models import Datastore, Volume

B = TypeVar("B", bound=Body)


class SnapshotBody(Body):
    name: str
    notes: str = ""
    memory: bool = True
    quiesce: bool = False


class NamedSnapshot(Body):
    name: str
    created_at: str = ""


class DeletedSnapshot(NamedSnapshot):
    children: bool = False


class SettingsBody(Body, omit_defaults=True):
    """What is left out stays as it is."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    title: str | msgspec.UnsetType = msgspec.UNSET
    notes: str | msgspec.UnsetType = msgspec.UNSET
    autostart: bool | msgspec.UnsetType = msgspec.UNSET
    memory_bytes: int | msgspec.UnsetType = msgspec.UNSET
    most_memory_bytes: int | msgspec.UnsetType = msgspec.UNSET
    vcpus: int | msgspec.UnsetType = msgspec.UNSET
    most_vcpus: int | msgspec.UnsetType = msgspec.UNSET


class MediaBody(Body):
    """`volume` none: eject."""

    target: str
    volume: UUID | None = None
    force: bool = False


class AddedDisk(DiskBody):
    cache: str = ""
    read_only: bool = False


class GrownDisk(Body):
    target: str
    capacity_bytes: int


class NamedDisk(Body):
    target: str


class NicBody(Body):
    switch: UUID
    port_group: str = ""
    model: str = "virtio"
    link_up: bool = True


class ChangedNic(Body):
    """What is left out stays as it is."""

    mac: str
    switch: UUID | None = None
    port_group: str = ""
    link_up: bool | None = None


class NamedNic(Body):
    mac: str


def _create_snapshot(guest: Guest, body: SnapshotBody, user: Any) -> Job:
    return snapshots.create_snapshot(guest=guest, by=user, **msgspec.structs.asdict(body))


def _revert_snapshot(guest: Guest, body: NamedSnapshot, user: Any) -> Job:
    return snapshots.revert_snapshot(guest=guest, name=body.name, created_at=body.created_at, by=user)


def _delete_snapshot(guest: Guest, body: DeletedSnapshot, user: Any) -> Job:
    return snapshots.delete_snapshot(guest=guest, by=user, **msgspec.structs.asdict(body))


def _edit(guest: Guest, body: SettingsBody, user: Any) -> Job:
    given = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not msgspec.UNSET}
    return settings.edit_guest(guest=guest, changes=given, by=user)


def _change_media(guest: Guest, body: MediaBody, user: Any) -> Job:
    volume = _volume(user, body.volume) if body.volume else None
    return devices.change_media(guest=guest, target=body.target, volume=volume, force=body.force, by=user)


def _add_disk(guest: Guest, body: AddedDisk, user: Any) -> Job:
    how = {"bus": body.bus, "cache": body.cache}
    if body.volume:
        return devices.add_disk(
            guest=guest, volume=_volume(user, body.volume), read_only=body.read_only, by=user, **how
        )
    if body.datastore is None:
        raise Invalid(_("Name a volume, or a datastore for a new one."), field="volume")
    store: Datastore = get_object_or_404(DATASTORES.rows(user), pk=body.datastore)
    return devices.create_disk(
        guest=guest, datastore=store, capacity_bytes=body.capacity_bytes, format=body.format, by=user, **how
    )


def _grow_disk(guest: Guest, body: GrownDisk, user: Any) -> Job:
    return devices.grow_disk(guest=guest, target=body.target, capacity_bytes=body.capacity_bytes, by=user)


def _remove_disk(guest: Guest, body: NamedDisk, user: Any) -> Job:
    return devices.remove_disk(guest=guest, target=body.target, by=user)


def _add_nic(guest: Guest, body: NicBody, user: Any) -> Job:
    how = {"port_group": body.port_group, "model": body.model, "link_up": body.link_up}
    return devices.add_nic(guest=guest, switch=_switch(user, body.switch), by=user, **how)  # type: ignore[arg-type]


def _change_nic(guest: Guest, body: ChangedNic, user: Any) -> Job:
    switch = _switch(user, body.switch) if body.switch else None
    return devices.change_nic(
        guest=guest, mac=body.mac, switch=switch, port_group=body.port_group, link_up=body.link_up, by=user
    )


def _remove_nic(guest: Guest, body: NamedNic, user: Any) -> Job:
    return devices.remove_nic(guest=guest, mac=body.mac, by=user)


def _volume(user: Any, pk: UUID) -> Volume:
    """Raises: Http404."""
    return get_object_or_404(Volume.objects.restrict(user, Action.VIEW), pk=pk)


def _switch(user: Any, pk: UUID) -> VirtualSwitch:
    """Raises: Http404."""
    return get_object_or_404(SWITCHES.rows(user), pk=pk)


class GuestAct(Endpoint, Generic[B]):
    """One act by POST: `shape` is what its body may hold, `act` asks for it."""

    shape: type[B] | None = None
    act: Callable[[Guest, B, Any], Job] | None = None

    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002 - the name in the URL
        require(request.user, Action.CONFIGURE)
        guest = get_object_or_404(GUESTS.rows(request.user), pk=id)
        assert self.shape is not None and self.act is not None  # noqa: S101 - each URL names both
        job = self.act(guest, read_body(request, self.shape), request.user)
        return Response(task_detail_json(job), status=status.HTTP_202_ACCEPTED)


class TaskUndo(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        require(request.user, Action.CONFIGURE)
        job = undo.undo_act(job=get_object_or_404(TASKS.rows(request.user), pk=id), by=request.user)
        return Response(task_detail_json(job), status=status.HTTP_202_ACCEPTED)


ACTS: dict[str, tuple[str, type[Body], Callable[..., Job]]] = {
    "snapshot-create": ("snapshots", SnapshotBody, _create_snapshot),
    "snapshot-revert": ("snapshots/revert", NamedSnapshot, _revert_snapshot),
    "snapshot-delete": ("snapshots/delete", DeletedSnapshot, _delete_snapshot),
    "settings": ("settings", SettingsBody, _edit),
    "media": ("media", MediaBody, _change_media),
    "disk-add": ("disks", AddedDisk, _add_disk),
    "disk-grow": ("disks/grow", GrownDisk, _grow_disk),
    "disk-remove": ("disks/remove", NamedDisk, _remove_disk),
    "nic-add": ("nics", NicBody, _add_nic),
    "nic-change": ("nics/change", ChangedNic, _change_nic),
    "nic-remove": ("nics/remove", NamedNic, _remove_nic),
}
"""By the name of the route: its address below the guest's, its body, and what it asks for."""


urlpatterns: list[URLPattern] = [
    *(
        path(f"guests/<uuid:id>/{place}/", GuestAct.as_view(shape=shape, act=act), name=f"guest-{name}")
        for name, (place, shape, act) in ACTS.items()
    ),
    path("tasks/<uuid:id>/undo/", TaskUndo.as_view(), name="task-undo"),
]
