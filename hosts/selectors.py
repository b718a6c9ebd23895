"""Reading datacenters, sources and hosts."""

from typing import Any

from django.db.models import QuerySet

from access.roles import Action
from core.models import by_name, count_of
from hosts.models import Cluster, Datacenter, Host, HostDetails, Source


def datacenter_list(*, user: Any) -> QuerySet[Datacenter]:
    return Datacenter.objects.restrict(user, Action.VIEW)


def cluster_list(*, user: Any) -> QuerySet[Cluster]:
    """With datacenter and `host_count`."""
    hosts = Host.objects.restrict(user, Action.VIEW)
    rows = Cluster.objects.restrict(user, Action.VIEW).select_related("datacenter")
    return rows.annotate(host_count=count_of(hosts, "cluster"))


def source_list(*, user: Any) -> QuerySet[Source]:
    """With `host_count`, the hosts it shows now."""
    hosts = Host.objects.restrict(user, Action.VIEW).filter(missing_since=None)
    rows = Source.objects.restrict(user, Action.VIEW).select_related("datacenter")
    return rows.annotate(host_count=count_of(hosts, "source"))


def host_list(*, user: Any) -> QuerySet[Host]:
    """With source, datacenter and cluster; `inventory.selectors.host_list` adds the guests."""
    return Host.objects.restrict(user, Action.VIEW).select_related("source", "datacenter", "cluster")


def sources_standing_by(host: Host, *, user: Any) -> QuerySet[Source]:
    """Who sees this host, too, and takes it over when its source goes."""
    return Source.objects.restrict(user, Action.VIEW).filter(sightings__host=host).order_by(by_name(), "id")


def hosts_seen_by(source: Source, *, user: Any) -> QuerySet[Host]:
    """Hosts that another source reads and this one sees, too."""
    return host_list(user=user).filter(sightings__source=source).order_by(by_name(), "id")


def details_of(host: Host, *, user: Any) -> HostDetails:
    """Empty ones while nothing was read in full."""
    found = HostDetails.objects.restrict(user, Action.VIEW).filter(host=host).first()
    return found or HostDetails(host=host)
