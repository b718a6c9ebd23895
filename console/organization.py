"""Acts on datacenters and clusters: made, renamed, deleted, and which hosts belong to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods

from access.models import require
from access.roles import Action
from console.choosing import OFFERED, Choice, choose_page, ids
from console.forms import delete_page, form_page, values_of
from core.errors import Invalid, Refused
from core.models import by_name
from hosts import organization
from hosts.models import Cluster, Datacenter, Host

ASKED = ["GET", "HEAD", "POST"]


def managed_datacenter(request: HttpRequest, pk: UUID) -> Datacenter:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.SOURCES)
    return get_object_or_404(Datacenter.objects.restrict(request.user, Action.SOURCES), pk=pk)


def _cluster(request: HttpRequest, pk: UUID) -> Cluster:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.SOURCES)
    rows = Cluster.objects.restrict(request.user, Action.SOURCES).select_related("datacenter")
    return get_object_or_404(rows, pk=pk)


# -- names


def name_page(
    request: HttpRequest, act: Callable[[str], Any], done: str, kind: str, name: str = "", **context: Any
) -> HttpResponseBase:
    """Ask for a name; by POST, act with it and show what came of it."""
    if request.method != "POST":
        return form_page(request, "places/place_name.html", {"name": name}, old=name, **context)
    values = values_of(request, "name")
    try:
        row = act(values["name"])
    except Refused as error:
        return form_page(request, "places/place_name.html", values, error, old=name, **context)
    messages.success(request, done % {"name": row.name})
    return redirect(f"{kind}_page", row.pk)


@require_http_methods(ASKED)
def datacenter_add(request: HttpRequest) -> HttpResponseBase:
    require(request.user, Action.SOURCES)
    return name_page(
        request,
        lambda name: organization.create_datacenter(name=name, by=request.user),
        _("%(name)s is there; sources are added to it when they are added."),
        "datacenter",
        title=_("New datacenter"),
        button=_("Create"),
        hint=_("Within a datacenter equal guest UUIDs are the same guest, and guests may move between its hosts."),
        back=reverse("datacenter_list"),
    )


@require_http_methods(ASKED)
def datacenter_rename(request: HttpRequest, datacenter_id: UUID) -> HttpResponseBase:
    row = managed_datacenter(request, datacenter_id)
    return name_page(
        request,
        lambda name: organization.rename_datacenter(datacenter=row, name=name, by=request.user),
        _("It is named %(name)s now."),
        "datacenter",
        row.name,
        title=_("Rename datacenter"),
        button=_("Rename"),
        back=reverse("datacenter_page", args=[row.pk]),
    )


@require_http_methods(ASKED)
def cluster_add(request: HttpRequest, datacenter_id: UUID) -> HttpResponseBase:
    datacenter = managed_datacenter(request, datacenter_id)
    return name_page(
        request,
        lambda name: organization.create_cluster(datacenter=datacenter, name=name, by=request.user),
        _("%(name)s is there; add hosts to it."),
        "cluster",
        title=_("New cluster"),
        button=_("Create"),
        place=datacenter,
        hint=_("Hosts that belong together. Nothing is set up on the hosts themselves."),
        back=reverse("datacenter_page", args=[datacenter.pk]),
    )


@require_http_methods(ASKED)
def cluster_rename(request: HttpRequest, cluster_id: UUID) -> HttpResponseBase:
    row = _cluster(request, cluster_id)
    return name_page(
        request,
        lambda name: organization.rename_cluster(cluster=row, name=name, by=request.user),
        _("It is named %(name)s now."),
        "cluster",
        row.name,
        title=_("Rename cluster"),
        button=_("Rename"),
        back=reverse("cluster_page", args=[row.pk]),
    )


# -- deleting


def delete_place(request: HttpRequest, act: Callable[[], None], row: Any, **page: Any) -> HttpResponseBase:
    """As `delete_page`, of what a datacenter is or has."""
    return delete_page(request, act, row=row, crumb=(_("Datacenters"), reverse("datacenter_list")), **page)


@require_http_methods(ASKED)
def datacenter_delete(request: HttpRequest, datacenter_id: UUID) -> HttpResponseBase:
    row = managed_datacenter(request, datacenter_id)
    return delete_place(
        request,
        lambda: organization.delete_datacenter(datacenter=row, by=request.user),
        row,
        to=reverse("datacenter_list"),
        consequence=_("Only an empty datacenter can be deleted: without sources, clusters and folders."),
        back=reverse("datacenter_page", args=[row.pk]),
    )


@require_http_methods(ASKED)
def cluster_delete(request: HttpRequest, cluster_id: UUID) -> HttpResponseBase:
    row = _cluster(request, cluster_id)
    hosts = Host.objects.restrict(request.user, Action.VIEW).filter(cluster=row).count()
    consequence = ngettext(
        "Its %(n)d host stays in the datacenter; nothing changes on the host itself.",
        "Its %(n)d hosts stay in the datacenter; nothing changes on the hosts themselves.",
        hosts,
    )
    return delete_place(
        request,
        lambda: organization.delete_cluster(cluster=row, by=request.user),
        row,
        to=reverse("datacenter_page", args=[row.datacenter_id]),
        consequence=consequence % {"n": hosts},
        back=reverse("cluster_page", args=[row.pk]),
    )


# -- which hosts


@require_http_methods(ASKED)
def cluster_assign(request: HttpRequest, cluster_id: UUID) -> HttpResponseBase:
    """Choose among the hosts of the datacenter; by POST, put them into the cluster."""
    cluster = _cluster(request, cluster_id)

    def done(n: int) -> str:
        text = ngettext("%(n)d host was added to %(name)s.", "%(n)d hosts were added to %(name)s.", n)
        return text % {"n": n, "name": cluster.name}

    return _choose_hosts(
        request,
        cluster,
        title=_("Add hosts to %(name)s") % {"name": cluster.name},
        button=_("Add"),
        rows=_hosts(request).filter(datacenter=cluster.datacenter_id).exclude(cluster=cluster),
        act=lambda chosen: organization.assign_hosts(hosts=chosen, cluster=cluster, by=request.user),
        done=done,
    )


@require_http_methods(ASKED)
def cluster_release(request: HttpRequest, cluster_id: UUID) -> HttpResponseBase:
    """Choose among the hosts of the cluster; by POST, take them out."""
    cluster = _cluster(request, cluster_id)

    def done(n: int) -> str:
        text = ngettext("%(n)d host was taken out of %(name)s.", "%(n)d hosts were taken out of %(name)s.", n)
        return text % {"n": n, "name": cluster.name}

    return _choose_hosts(
        request,
        cluster,
        title=_("Take hosts out of %(name)s") % {"name": cluster.name},
        button=_("Take out"),
        rows=_hosts(request).filter(cluster=cluster),
        act=lambda chosen: organization.release_hosts(hosts=chosen, cluster=cluster, by=request.user),
        done=done,
    )


def _choose_hosts(request: HttpRequest, cluster: Cluster, **choice: Any) -> HttpResponseBase:
    crumbs = [
        (cluster.datacenter.name, reverse("datacenter_page", args=[cluster.datacenter_id])),
        (cluster.name, reverse("cluster_page", args=[cluster.pk])),
    ]
    return choose_page(
        request, Choice(field="hosts", crumbs=crumbs, hint=lambda host: str(host.cluster or ""), **choice)
    )


def _hosts(request: HttpRequest) -> QuerySet[Host]:
    return Host.objects.restrict(request.user, Action.SOURCES).select_related("cluster")


@require_http_methods(ASKED)
def host_cluster(request: HttpRequest, host_id: UUID) -> HttpResponseBase:
    """Ask for the cluster of one host; by POST, put it there or take it out of its own."""
    require(request.user, Action.SOURCES)
    host = get_object_or_404(_hosts(request), pk=host_id)
    clusters = Cluster.objects.restrict(request.user, Action.SOURCES).filter(datacenter=host.datacenter_id)
    context: dict[str, Any] = {"host": host, "clusters": list(clusters.order_by(by_name(), "id")[:OFFERED])}
    if request.method != "POST":
        return form_page(request, "places/host_cluster.html", {"cluster": str(host.cluster_id or "")}, **context)
    values = values_of(request, "cluster")
    try:
        _put(request, host, clusters, values["cluster"])
    except Refused as error:
        return form_page(request, "places/host_cluster.html", values, error, **context)
    return redirect("host_page", host.pk)


def _put(request: HttpRequest, host: Host, clusters: QuerySet[Cluster], wanted: str) -> None:
    """Raises: Invalid, Conflict."""
    if not wanted:
        if host.cluster is not None:
            organization.release_hosts(hosts=[host.pk], cluster=host.cluster, by=request.user)
        messages.success(request, _("%(host)s is in no cluster.") % {"host": host.name})
        return
    found = clusters.filter(pk__in=ids([wanted])).first()
    if found is None:
        raise Invalid(_("Choose a cluster of this datacenter."), field="cluster")
    organization.assign_hosts(hosts=[host.pk], cluster=found, by=request.user)
    messages.success(request, _("%(host)s is in %(cluster)s.") % {"host": host.name, "cluster": found.name})


urlpatterns = [
    path("datacenters/add/", datacenter_add, name="datacenter_add"),
    path("datacenters/<uuid:datacenter_id>/rename/", datacenter_rename, name="datacenter_rename"),
    path("datacenters/<uuid:datacenter_id>/delete/", datacenter_delete, name="datacenter_delete"),
    path("datacenters/<uuid:datacenter_id>/add-cluster/", cluster_add, name="cluster_add"),
    path("clusters/<uuid:cluster_id>/rename/", cluster_rename, name="cluster_rename"),
    path("clusters/<uuid:cluster_id>/delete/", cluster_delete, name="cluster_delete"),
    path("clusters/<uuid:cluster_id>/add-hosts/", cluster_assign, name="cluster_assign"),
    path("clusters/<uuid:cluster_id>/take-out-hosts/", cluster_release, name="cluster_release"),
    path("hosts/<uuid:host_id>/cluster/", host_cluster, name="host_cluster"),
]
