"""Reading datastores."""

from typing import Any

from django.db.models import Count, Q, QuerySet

from access.roles import Action
from storage.models import Datastore


def datastore_list(*, user: Any) -> QuerySet[Datastore]:
    """With `host_count`, the hosts that see it, and the mounts with host and source in two more queries."""
    rows = Datastore.objects.restrict(user, Action.VIEW).select_related("datacenter")
    counted = rows.annotate(host_count=Count("mounts", filter=Q(mounts__missing_since=None)))
    return counted.prefetch_related("mounts__host__source")
