"""Datacenters and clusters: the lists, and the page of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Count, F, FloatField, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Cast
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import path
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from access.models import require
from access.roles import Action
from console.ages import host_is_seen
from console.areas import gauge, tabs
from console.listing import list_response
from console.tables.datastores import datastore_rows, datastore_spec
from console.tables.guests import guest_rows, guest_spec
from console.tables.hosts import host_rows, host_spec
from console.tables.places import CLUSTERS, DATACENTERS, cluster_rows, datacenter_rows
from console.tables.sources import SOURCES, source_rows
from console.tables.switches import switch_rows, switch_spec
from core.models import by_name
from core.units import format_bytes, format_percent
from hosts.models import Cluster, Datacenter, Host
from inventory.models import Guest, GuestState
from metrics.models import HostLoad
from metrics.selectors import latest_loads
from networks.models import VirtualSwitch
from storage.models import Datastore, DatastoreMount

SHOWN = 50


@dataclass(frozen=True, slots=True)
class Place:
    """A datacenter or cluster. `to_hosts` is what leads from a host to it."""

    kind: str
    row: Datacenter | Cluster
    to_hosts: str

    def hosts(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.filter(**{self.to_hosts: self.row.pk})

    def on_hosts(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """What names its host. A guest names its datacenter, too, which is an index of its own."""
        by_host = self.kind == "cluster" or rows.model is not Guest
        return rows.filter(**{f"host__{self.to_hosts}" if by_host else "datacenter": self.row.pk})

    def datastores(self, rows: QuerySet[Datastore], user: Any) -> QuerySet[Datastore]:
        if self.kind == "datacenter":
            return rows.filter(datacenter=self.row.pk)
        mounts = DatastoreMount.objects.restrict(user, Action.VIEW).filter(missing_since=None)
        return rows.filter(pk__in=self.on_hosts(mounts).values("datastore"))


@require_safe
def datacenter_list(request: HttpRequest) -> HttpResponseBase:
    require(request.user, Action.VIEW)
    context = {
        "heading": _("Datacenters"),
        "empty_icon": "building",
        "empty_title": _("No datacenters yet."),
        "empty_hint": _("One is made with the first source, or here."),
    }
    rows = datacenter_rows(user=request.user)
    live = "datacenters clusters sources hosts"
    return list_response(request, DATACENTERS, rows, template="places/datacenter_list.html", context=context, live=live)


@require_safe
def cluster_list(request: HttpRequest) -> HttpResponseBase:
    require(request.user, Action.VIEW)
    context = {
        "heading": _("Clusters"),
        "empty_icon": "affiliate",
        "empty_title": _("No clusters yet."),
        "empty_hint": _("A cluster is made on the page of its datacenter."),
    }
    return list_response(
        request, CLUSTERS, cluster_rows(user=request.user), context=context, live="clusters datacenters hosts"
    )


@require_safe
def datacenter_page(request: HttpRequest, pk: UUID, tab: str = "summary") -> HttpResponseBase:
    """One datacenter: its capacity and load, its clusters, and lists of what is in it."""
    require(request.user, Action.VIEW)
    row = get_object_or_404(datacenter_rows(user=request.user), pk=pk)
    return _place_page(request, Place("datacenter", row, "datacenter"), tab)


@require_safe
def cluster_page(request: HttpRequest, pk: UUID, tab: str = "summary") -> HttpResponseBase:
    """One cluster: its capacity and load, its hosts, and lists of what is on them."""
    require(request.user, Action.VIEW)
    row = get_object_or_404(cluster_rows(user=request.user), pk=pk)
    return _place_page(request, Place("cluster", row, "cluster"), tab)


def _place_page(request: HttpRequest, place: Place, tab: str) -> HttpResponseBase:
    user = request.user
    context = _frame(user, place, tab)
    if tab == "summary":
        return render(request, "places/place_page.html", {**context, **_summary(user, place)})
    found = _tab_list(user, place, tab)
    if found is None:
        raise Http404
    spec, rows, live = found
    return list_response(request, spec, rows, template="places/place_list_tab.html", context=context, live=live)


def _tab_list(user: Any, place: Place, tab: str) -> tuple[Any, Any, str] | None:
    lists: dict[str, Callable[[], tuple[Any, Any, str]]] = {
        "hosts": lambda: (host_spec(user=user), place.hosts(host_rows(user=user)), "hosts clusters sources loads"),
        "guests": lambda: (guest_spec(user=user), place.on_hosts(guest_rows(user=user)), "guests hosts loads"),
        "datastores": lambda: (
            datastore_spec(user=user),
            place.datastores(datastore_rows(user=user), user),
            "datastores hosts",
        ),
        "switches": lambda: (switch_spec(user=user), place.on_hosts(switch_rows(user=user)), "switches hosts"),
    }
    if place.kind == "datacenter":
        here = place.row.pk
        lists["clusters"] = lambda: (CLUSTERS, cluster_rows(user=user).filter(datacenter=here), "clusters hosts")
        lists["sources"] = lambda: (SOURCES, source_rows(user=user).filter(datacenter=here), "sources")
    return lists[tab]() if tab in lists else None


def _frame(user: Any, place: Place, tab: str) -> dict[str, Any]:
    """What every tab shows above its own part."""
    row: Any = place.row
    stores = place.datastores(Datastore.objects.restrict(user, Action.VIEW), user).filter(missing_since=None)
    switches = place.on_hosts(VirtualSwitch.objects.restrict(user, Action.VIEW)).filter(missing_since=None)
    labels: list[tuple[str, Any, int | None]] = [
        ("summary", _("Summary"), None),
        ("hosts", _("Hosts"), row.host_count),
        ("guests", _("Guests"), row.guest_count),
        ("datastores", _("Datastores"), stores.count()),
        ("switches", _("Switches"), switches.count()),
    ]
    if place.kind == "datacenter":
        labels[1:1] = [("clusters", _("Clusters"), row.cluster_count)]
        labels.append(("sources", _("Sources"), row.source_count))
    return {
        "place": row,
        "kind": place.kind,
        "datacenter": row if place.kind == "datacenter" else row.datacenter,
        "tabs": tabs(place.kind, row.pk, tab, labels),
    }


def _summary(user: Any, place: Place) -> dict[str, Any]:
    hosts = place.hosts(Host.objects.restrict(user, Action.VIEW)).filter(missing_since=None)
    guests = place.on_hosts(Guest.objects.restrict(user, Action.VIEW)).filter(missing_since=None)
    stores = place.datastores(Datastore.objects.restrict(user, Action.VIEW), user).filter(missing_since=None)
    size = _size(hosts)
    return {
        "size": size,
        "gauges": _gauges(size, _load(hosts), _promised(guests), _space(stores)),
        "guest_states": _guest_states(guests),
        "members": _members(user, place),
        "hosts_alone": hosts.filter(cluster=None).count() if place.kind == "datacenter" else 0,
    }


def _members(user: Any, place: Place) -> list[Any]:
    """A datacenter's clusters, a cluster's hosts: the first ones by name."""
    if place.kind == "datacenter":
        rows: QuerySet[Any] = cluster_rows(user=user).filter(datacenter=place.row.pk)
    else:
        rows = place.hosts(host_rows(user=user))
    return list(rows.order_by(by_name(), "id")[:SHOWN])


def _size(hosts: QuerySet[Host]) -> dict[str, Any]:
    return hosts.aggregate(
        number=Count("pk"),
        seen=Count("pk", filter=host_is_seen()),
        maintenance=Count("pk", filter=Q(maintenance=True)),
        threads=Sum("cpu_threads", default=0),
        cores=Sum("cpu_cores", default=0),
        memory=Sum("memory_bytes", default=0),
    )


def _load(hosts: QuerySet[Host]) -> dict[str, Any]:
    """Of the hosts that we see now: CPU in percent, each thread counting the same; memory used and whole."""
    load = latest_loads(HostLoad).filter(host_id=OuterRef("pk"))
    seen = hosts.filter(host_is_seen())
    cpu = seen.annotate(cpu=Subquery(load.values("cpu_percent"))).filter(cpu__isnull=False, cpu_threads__gt=0)
    busy = cpu.aggregate(busy=Sum(F("cpu") * Cast("cpu_threads", FloatField())), threads=Sum("cpu_threads"))
    memory = seen.annotate(used=Subquery(load.values("memory_used_bytes"))).filter(used__gt=0)
    percent = busy["busy"] / busy["threads"] if busy["threads"] else None
    return {"cpu": percent, **memory.aggregate(memory=Sum("used"), whole=Sum("memory_bytes"))}


def _promised(guests: QuerySet[Guest]) -> dict[str, int]:
    running = guests.filter(state=GuestState.RUNNING)
    return running.aggregate(memory=Sum("memory_bytes", default=0), vcpus=Sum("vcpus", default=0))


def _space(stores: QuerySet[Datastore]) -> dict[str, int | None]:
    return stores.aggregate(capacity=Sum("capacity_bytes"), free=Sum("available_bytes"))


def _gauges(
    size: dict[str, Any], load: dict[str, Any], promised: dict[str, int], space: dict[str, int | None]
) -> list[dict[str, Any]]:
    capacity = space["capacity"] or 0
    used = capacity - (space["free"] or 0)
    vcpus = _("%(part)s of %(whole)s") % {"part": promised["vcpus"], "whole": size["threads"]}
    given, memory = promised["memory"], size["memory"]
    return [
        gauge(_("CPU"), load["cpu"], 100.0, format_percent(load["cpu"])),
        gauge(_("Memory in use"), load["memory"], load["whole"], _of(load["memory"], load["whole"])),
        gauge(_("Memory given to running guests"), given, memory, _of(given, memory), promised=True),
        gauge(_("vCPUs of running guests, per thread"), promised["vcpus"], size["threads"], vcpus, promised=True),
        gauge(_("Storage"), used, capacity, _of(used, capacity)),
    ]


def _of(part: float | None, whole: float | None) -> str:
    return _("%(part)s of %(whole)s") % {"part": format_bytes(part) or "0", "whole": format_bytes(whole) or "0"}


def _guest_states(guests: QuerySet[Guest]) -> list[dict[str, Any]]:
    counts = dict(guests.order_by().values_list("state").annotate(Count("pk")))
    return [{"code": one.value, "label": one.label, "number": counts[one.value]} for one in GuestState if one in counts]


urlpatterns = [
    path("datacenters/", datacenter_list, name="datacenter_list"),
    path("datacenters/<uuid:pk>/", datacenter_page, name="datacenter_page"),
    path("datacenters/<uuid:pk>/<slug:tab>/", datacenter_page, name="datacenter_tab"),
    path("clusters/", cluster_list, name="cluster_list"),
    path("clusters/<uuid:pk>/", cluster_page, name="cluster_page"),
    path("clusters/<uuid:pk>/<slug:tab>/", cluster_page, name="cluster_tab"),
]
