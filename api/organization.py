"""Datacenters and clusters: what scripts do with them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import rest_framework.views  # noqa: F401 - it loads our formats by name: it must not begin while they are half loaded
from django.shortcuts import get_object_or_404
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from access.models import require
from access.roles import Action
from api.formats import Body, read_body
from api.resources import CLUSTERS, DATACENTERS
from api.serializers import cluster_json, datacenter_json, link
from api.views import Endpoint, ListEndpoint
from hosts import organization
from hosts.models import Cluster, Datacenter, Host


class NameBody(Body):
    name: str


class ClusterBody(Body):
    name: str
    datacenter: UUID


class HostsBody(Body):
    hosts: list[UUID]


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


def _moved(hosts: list[Host]) -> Response:
    told: list[Any] = [link(host) for host in hosts]
    return Response({"results": told, "next": None})
