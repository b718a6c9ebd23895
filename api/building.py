"""New guests, clones, volumes and networks: each answers with the task that does it."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

import rest_framework.views  # noqa: F401 - see api.organization
from django.db.models import Model, QuerySet
from django.shortcuts import get_object_or_404
from django.urls import path
from django.urls.resolvers import URLPattern
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from access.models import require
from access.roles import Action
from api.formats import Body, read_body
from api.resources import DATASTORES, GUESTS, HOSTS, SWITCHES
from api.serializers import task_detail_json
from api.uploads import own_upload
from api.views import DatastoreVolumes, Endpoint, ListEndpoint
from hosts.models import Host
from inventory.acts import define
from inventory.acts.volumes import submit_volume_delete, submit_volume_grow
from networks import acts as networks
from networks.models import VirtualSwitch
from operations.models import Job
from storage import acts as storage
from storage.models import Datastore, DatastoreMount, Volume

M = TypeVar("M", bound=Model)


class DiskBody(Body):
    """Either an existing `volume`, or a `datastore` and how large a new one in it is to be."""

    volume: UUID | None = None
    datastore: UUID | None = None
    capacity_bytes: int = 0
    format: str = "qcow2"
    bus: str = "virtio"


class CdBody(Body):
    """Either an ISO that is a `volume`, or an `upload` and the `datastore` it is put into."""

    volume: UUID | None = None
    upload: UUID | None = None
    datastore: UUID | None = None
    name: str = ""


class GuestBody(Body):
    host: UUID
    name: str
    memory_bytes: int
    vcpus: int
    uefi: bool = False
    machine: str = ""
    os: str = ""
    title: str = ""
    notes: str = ""
    disk: DiskBody | None = None
    cd: CdBody | None = None
    switch: UUID | None = None
    port_group: str = ""
    start: bool = False


class CloneBody(Body):
    name: str
    datastore: UUID | None = None


class DeleteGuestBody(Body):
    """`confirmation` is the guest's name; `disks` are the `source` of each disk to delete, as the guest tells it."""

    confirmation: str
    disks: list[str] = []


class VolumeBody(Body):
    name: str
    capacity_bytes: int
    format: str = "qcow2"
    preallocate: bool = False
    host: UUID | None = None


class UploadedBody(Body):
    upload: UUID
    name: str
    host: UUID | None = None


class MountBody(Body):
    host: UUID
    action: str


class GrowBody(Body):
    capacity_bytes: int


class ConfirmBody(Body):
    confirmation: str


class PortGroupBody(Body):
    name: str
    vlans: list[int] = []
    default: bool = False


class NetworkBody(Body):
    host: UUID
    name: str
    mode: str
    bridge: str = ""
    address: str = ""
    dhcp_first: str = ""
    dhcp_last: str = ""
    domain: str = ""
    port_groups: list[PortGroupBody] = []
    autostart: bool = True


class NetworkActBody(Body):
    """`confirmation` is the network's name, to delete it."""

    action: str
    confirmation: str = ""


def _answer(job: Job) -> Response:
    return Response(task_detail_json(job), status=status.HTTP_202_ACCEPTED)


def _one(rows: QuerySet[M], request: Request, identifier: UUID) -> M:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.PROVISION)
    return get_object_or_404(rows, pk=identifier)


def _host(request: Request, identifier: UUID) -> Host:
    return _one(HOSTS.rows(request.user), request, identifier)


def _store(request: Request, identifier: UUID) -> Datastore:
    return _one(DATASTORES.rows(request.user), request, identifier)


def _switch(request: Request, identifier: UUID) -> VirtualSwitch:
    rows = VirtualSwitch.objects.restrict(request.user, Action.PROVISION).select_related("host__source")
    return _one(rows, request, identifier)


def _volume(request: Request, identifier: UUID) -> Volume:
    rows = Volume.objects.restrict(request.user, Action.PROVISION).select_related("datastore")
    return _one(rows, request, identifier)


class Guests(ListEndpoint):
    resource = GUESTS

    def post(self, request: Request) -> Response:
        require(request.user, Action.PROVISION)
        body = read_body(request, GuestBody)
        return _answer(define.submit_guest_create(new=_new_guest(request, body), by=request.user))


def _new_guest(request: Request, body: GuestBody) -> define.NewGuest:
    """Raises: Http404."""
    return define.NewGuest(
        host=_host(request, body.host),
        name=body.name,
        memory_bytes=body.memory_bytes,
        vcpus=body.vcpus,
        uefi=body.uefi,
        machine=body.machine,
        os=body.os,
        title=body.title,
        notes=body.notes,
        disk=_new_disk(request, body.disk) if body.disk else None,
        cd=_new_cd(request, body.cd) if body.cd else None,
        switch=_switch(request, body.switch) if body.switch else None,
        port_group=body.port_group,
        start=body.start,
    )


def _new_disk(request: Request, body: DiskBody) -> define.NewDisk:
    return define.NewDisk(
        volume=_volume(request, body.volume) if body.volume else None,
        datastore=_store(request, body.datastore) if body.datastore else None,
        capacity_bytes=body.capacity_bytes,
        format=body.format,
        bus=body.bus,
    )


def _new_cd(request: Request, body: CdBody) -> define.NewCd:
    return define.NewCd(
        volume=_volume(request, body.volume) if body.volume else None,
        upload=own_upload(request, body.upload) if body.upload else None,
        datastore=_store(request, body.datastore) if body.datastore else None,
        name=body.name,
    )


class GuestClone(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002 - the name in the URL
        guest = _one(GUESTS.rows(request.user), request, id)
        body = read_body(request, CloneBody)
        store = _store(request, body.datastore) if body.datastore else None
        return _answer(define.submit_guest_clone(guest=guest, name=body.name, datastore=store, by=request.user))


class GuestDelete(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        guest = _one(GUESTS.rows(request.user), request, id)
        body = read_body(request, DeleteGuestBody)
        return _answer(
            define.submit_guest_delete(guest=guest, confirmation=body.confirmation, disks=body.disks, by=request.user)
        )


class NewVolume(DatastoreVolumes):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        store = _store(request, id)
        body = read_body(request, VolumeBody)
        return _answer(
            storage.submit_volume_create(
                datastore=store,
                name=body.name,
                capacity_bytes=body.capacity_bytes,
                format=body.format,
                preallocate=body.preallocate,
                host=_host(request, body.host) if body.host else None,
                by=request.user,
            )
        )


class UploadedVolume(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        store = _store(request, id)
        body = read_body(request, UploadedBody)
        return _answer(
            storage.submit_volume_upload(
                upload=own_upload(request, body.upload),
                datastore=store,
                name=body.name,
                host=_host(request, body.host) if body.host else None,
                by=request.user,
            )
        )


class DatastoreSwitch(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        store = _store(request, id)
        body = read_body(request, MountBody)
        mounts = DatastoreMount.objects.restrict(request.user, Action.PROVISION).filter(missing_since=None)
        mount = get_object_or_404(mounts.select_related("host__source", "datastore"), datastore=store, host=body.host)
        return _answer(storage.submit_datastore_switch(mount=mount, action=body.action, by=request.user))


class VolumeGrow(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        volume = _volume(request, id)
        body = read_body(request, GrowBody)
        return _answer(submit_volume_grow(volume=volume, capacity_bytes=body.capacity_bytes, by=request.user))


class VolumeDelete(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        volume = _volume(request, id)
        body = read_body(request, ConfirmBody)
        return _answer(submit_volume_delete(volume=volume, confirmation=body.confirmation, by=request.user))


class Switches(ListEndpoint):
    resource = SWITCHES

    def post(self, request: Request) -> Response:
        require(request.user, Action.PROVISION)
        body = read_body(request, NetworkBody)
        groups = tuple(networks.PortGroup(one.name, tuple(one.vlans), one.default) for one in body.port_groups)
        texts: dict[str, Any] = {name: getattr(body, name) for name in TEXTS}
        new = networks.NewNetwork(host=_host(request, body.host), port_groups=groups, autostart=body.autostart, **texts)
        return _answer(networks.submit_network_create(new=new, by=request.user))


TEXTS = ("name", "mode", "bridge", "address", "dhcp_first", "dhcp_last", "domain")


class SwitchAct(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        switch = _switch(request, id)
        body = read_body(request, NetworkActBody)
        return _answer(
            networks.submit_network_switch(
                switch=switch, action=body.action, confirmation=body.confirmation, by=request.user
            )
        )


urlpatterns: list[URLPattern] = [
    path("datastores/<uuid:id>/volumes/", NewVolume.as_view(), name="datastore-volumes"),
    path("datastores/<uuid:id>/volumes/upload/", UploadedVolume.as_view(), name="datastore-upload"),
    path("datastores/<uuid:id>/switch/", DatastoreSwitch.as_view(), name="datastore-switch"),
    path("volumes/<uuid:id>/grow/", VolumeGrow.as_view(), name="volume-grow"),
    path("volumes/<uuid:id>/delete/", VolumeDelete.as_view(), name="volume-delete"),
    path("guests/<uuid:id>/clone/", GuestClone.as_view(), name="guest-clone"),
    path("guests/<uuid:id>/delete/", GuestDelete.as_view(), name="guest-delete"),
    path("switches/<uuid:id>/act/", SwitchAct.as_view(), name="switch-act"),
]
