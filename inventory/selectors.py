"""Reading guests, and hosts with their guests."""

from typing import Any

from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from access.roles import Action
from hosts import selectors as hosts
from hosts.models import Host
from inventory.models import Guest, GuestState


def guest_list(*, user: Any) -> QuerySet[Guest]:
    """With host, source and datacenter, so that ages and names need no further query."""
    return Guest.objects.restrict(user, Action.VIEW).select_related("host__source", "datacenter")


def host_list(*, user: Any) -> QuerySet[Host]:
    """With `guest_count` and `running_count`, counted by index for the rows shown only."""
    guests = Guest.objects.restrict(user, Action.VIEW).filter(host=OuterRef("pk"), missing_since=None)
    return hosts.host_list(user=user).annotate(
        guest_count=_count(guests), running_count=_count(guests.filter(state=GuestState.RUNNING))
    )


def _count(guests: QuerySet[Guest]) -> Coalesce:
    counted = guests.order_by().values("host").annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(counted, output_field=IntegerField()), Value(0))
