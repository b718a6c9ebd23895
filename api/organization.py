"""Datacenters, clusters and folders: what scripts do with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import rest_framework.views  # noqa: F401 - it loads our formats by name: it must not begin while they are half loaded
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from access.models import require
from access.roles import Action
from api.formats import Body, read_body
from api.resources import CLUSTERS, DATACENTERS, FOLDERS
from api.serializers import cluster_json, datacenter_json, folder_json, link
from api.views import Endpoint, ListEndpoint
from core.errors import Invalid
from hosts import organization
from hosts.models import Cluster, Datacenter
from inventory import folders
from inventory.models import Folder


class NameBody(Body):
    name: str


class ClusterBody(Body):
    name: str
    datacenter: UUID


class HostsBody(Body):
    hosts: list[UUID]


class FolderBody(Body):
    name: str
    datacenter: UUID | None = None
    parent: UUID | None = None


class GuestsBody(Body):
    guests: list[UUID]


def _datacenter(request: Request, identifier: UUID) -> Datacenter:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.SOURCES)
    return get_object_or_404(Datacenter.objects.restrict(request.user, Action.SOURCES), pk=identifier)


def _cluster(request: Request, identifier: UUID) -> Cluster:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.SOURCES)
    rows = Cluster.objects.restrict(request.user, Action.SOURCES).select_related("datacenter")
    return get_object_or_404(rows, pk=identifier)


class Datacenters(ListEndpoint):
    resource = DATACENTERS

    def post(self, request: Request) -> Response:
        require(request.user, Action.SOURCES)
        made = organization.create_datacenter(name=read_body(request, NameBody).name, by=request.user)
        return Response(datacenter_json(made), status=status.HTTP_201_CREATED)


class DatacenterRename(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002 - the name in the URL
        datacenter = _datacenter(request, id)
        name = read_body(request, NameBody).name
        row = organization.rename_datacenter(datacenter=datacenter, name=name, by=request.user)
        return Response(datacenter_json(row))


class DatacenterDelete(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        organization.delete_datacenter(datacenter=_datacenter(request, id), by=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class Clusters(ListEndpoint):
    resource = CLUSTERS

    def post(self, request: Request) -> Response:
        require(request.user, Action.SOURCES)
        body = read_body(request, ClusterBody)
        datacenter = _datacenter(request, body.datacenter)
        made = organization.create_cluster(datacenter=datacenter, name=body.name, by=request.user)
        return Response(cluster_json(made), status=status.HTTP_201_CREATED)


class ClusterRename(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        cluster = _cluster(request, id)
        organization.rename_cluster(cluster=cluster, name=read_body(request, NameBody).name, by=request.user)
        return Response(cluster_json(_cluster(request, id)))


class ClusterDelete(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        organization.delete_cluster(cluster=_cluster(request, id), by=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ClusterAssign(Endpoint):
    """Answers with the hosts that moved."""

    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        cluster = _cluster(request, id)
        hosts = read_body(request, HostsBody).hosts
        return _moved(organization.assign_hosts(hosts=hosts, cluster=cluster, by=request.user))


class ClusterRelease(Endpoint):
    """Answers with the hosts that were taken out."""

    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        cluster = _cluster(request, id)
        hosts = read_body(request, HostsBody).hosts
        return _moved(organization.release_hosts(hosts=hosts, cluster=cluster, by=request.user))


def _folder(request: Request, identifier: UUID) -> Folder:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.SOURCES)
    rows = Folder.objects.restrict(request.user, Action.SOURCES).select_related("datacenter", "parent")
    return get_object_or_404(rows, pk=identifier)


class Folders(ListEndpoint):
    resource = FOLDERS

    def post(self, request: Request) -> Response:
        """In a datacenter, or in another folder."""
        require(request.user, Action.SOURCES)
        body = read_body(request, FolderBody)
        if (body.datacenter is None) == (body.parent is None):
            raise Invalid(_("Give “datacenter” or “parent”: one of them."), field="datacenter")
        parent = _folder(request, body.parent) if body.parent else None
        datacenter = parent.datacenter if parent else _datacenter(request, body.datacenter or UUID(int=0))
        made = folders.create_folder(datacenter=datacenter, parent=parent, name=body.name, by=request.user)
        return Response(folder_json(made), status=status.HTTP_201_CREATED)


class FolderRename(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        folder = _folder(request, id)
        folders.rename_folder(folder=folder, name=read_body(request, NameBody).name, by=request.user)
        return Response(folder_json(_folder(request, id)))


class FolderDelete(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        folders.delete_folder(folder=_folder(request, id), by=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class FolderAssign(Endpoint):
    """Answers with the guests that moved."""

    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        folder = _folder(request, id)
        guests = read_body(request, GuestsBody).guests
        return _moved(folders.assign_guests(guests=guests, folder=folder, by=request.user))


class FolderRelease(Endpoint):
    """Answers with the guests that were taken out."""

    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        folder = _folder(request, id)
        guests = read_body(request, GuestsBody).guests
        return _moved(folders.release_guests(guests=guests, folder=folder, by=request.user))


def _moved(rows: Sequence[Any]) -> Response:
    told: list[Any] = [link(row) for row in rows]
    return Response({"results": told, "next": None})
