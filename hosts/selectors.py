"""Reading datacenters, sources and hosts."""

from typing import Any

from django.db.models import Count, Q, QuerySet

from access.roles import Action
from hosts.models import Datacenter, Host, Source


def datacenter_list(*, user: Any) -> QuerySet[Datacenter]:
    return Datacenter.objects.restrict(user, Action.VIEW)


def source_list(*, user: Any) -> QuerySet[Source]:
    """With `host_count`, the hosts it shows now."""
    rows = Source.objects.restrict(user, Action.VIEW).select_related("datacenter")
    return rows.annotate(host_count=Count("hosts", filter=Q(hosts__missing_since=None)))


def host_list(*, user: Any) -> QuerySet[Host]:
    """With source and datacenter; `inventory.selectors.host_list` adds the guests."""
    return Host.objects.restrict(user, Action.VIEW).select_related("source", "datacenter")
