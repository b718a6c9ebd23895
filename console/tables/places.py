"""The lists of datacenters and of clusters."""

from __future__ import annotations

from typing import Any

from django.db.models import BigIntegerField, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from access.roles import Action
from console.tables import cells
from core.lists import Column, ListSpec, exact_filter, export_column, text_filter
from core.models import by_name, count_of
from hosts.models import Cluster, Datacenter, Host, Source
from hosts.selectors import cluster_list, datacenter_list
from inventory.models import Guest


def datacenter_rows(*, user: Any) -> QuerySet[Datacenter]:
    """The datacenters this user sees, with how much is in them."""
    return datacenter_list(user=user).annotate(
        source_count=count_of(Source.objects.restrict(user, Action.VIEW), "datacenter"),
        cluster_count=count_of(Cluster.objects.restrict(user, Action.VIEW), "datacenter"),
        host_count=count_of(Host.objects.restrict(user, Action.VIEW), "datacenter"),
        guest_count=count_of(_guests(user), "datacenter"),
    )


def cluster_rows(*, user: Any) -> QuerySet[Cluster]:
    """The clusters this user sees, with how much is in them."""
    hosts = Host.objects.restrict(user, Action.VIEW).filter(missing_since=None)
    return cluster_list(user=user).annotate(
        guest_count=count_of(_guests(user), "host__cluster"),
        threads=_sum_of(hosts, "cpu_threads"),
        memory_bytes=_sum_of(hosts, "memory_bytes"),
    )


def _sum_of(hosts: QuerySet[Host], field: str) -> Coalesce:
    """Of the hosts of each cluster, for the rows shown only."""
    sums = hosts.filter(cluster=OuterRef("pk")).order_by().values("cluster").annotate(sum=Sum(field)).values("sum")
    return Coalesce(Subquery(sums, output_field=BigIntegerField()), Value(0), output_field=BigIntegerField())


def _guests(user: Any) -> QuerySet[Guest]:
    return Guest.objects.restrict(user, Action.VIEW).filter(missing_since=None)


def load_datacenters(rows: list[Datacenter]) -> None:
    for row in rows:
        row.page_url = cells.page_url("datacenter", row.pk)  # type: ignore[attr-defined]


def load_clusters(rows: list[Cluster]) -> None:
    for row in rows:
        row.page_url = cells.page_url("cluster", row.pk)  # type: ignore[attr-defined]


def _number(name: str, label: Any) -> Column[Any]:
    return Column(
        name.replace("_count", "s"),
        label,
        lambda row: str(cells.counted(row, name)),
        lambda row: cells.counted(row, name),
        (name,),
        numeric=True,
    )


DATACENTERS: ListSpec[Datacenter] = ListSpec(
    name="datacenter",
    label=_("Datacenters"),
    columns=(
        Column("name", _("Name"), lambda d: cells.link("datacenter", d), lambda d: d.name, (by_name(),)),
        _number("source_count", _("Sources")),
        _number("cluster_count", _("Clusters")),
        _number("host_count", _("Hosts")),
        _number("guest_count", _("Guests")),
        export_column("id", _("Id"), lambda d: str(d.pk)),
    ),
    filters=(text_filter("name", _("Name"), "name"),),
    free_text=("name",),
    prepare=load_datacenters,
)
CLUSTERS: ListSpec[Cluster] = ListSpec(
    name="cluster",
    label=_("Clusters"),
    columns=(
        Column("name", _("Name"), lambda c: cells.link("cluster", c), lambda c: c.name, (by_name(),)),
        Column(
            "datacenter",
            _("Datacenter"),
            lambda c: cells.link("datacenter", c.datacenter),
            lambda c: c.datacenter.name,
            (by_name("datacenter__name"), by_name()),
        ),
        _number("host_count", _("Hosts")),
        _number("guest_count", _("Guests")),
        _number("threads", _("Threads")),
        Column(
            "memory",
            _("Memory"),
            lambda c: cells.size(cells.counted(c, "memory_bytes")),
            lambda c: cells.counted(c, "memory_bytes"),
            ("memory_bytes",),
            numeric=True,
        ),
        export_column("id", _("Id"), lambda c: str(c.pk)),
    ),
    filters=(
        text_filter("name", _("Name"), "name"),
        exact_filter("datacenter", _("Datacenter"), "datacenter__name"),
    ),
    free_text=("name",),
    prepare=load_clusters,
)
