"""Reading datastores."""

from typing import Any

from django.db.models import Prefetch, QuerySet

from access.roles import Action
from core.models import count_of
from storage.models import Datastore, DatastoreMount


def datastore_list(*, user: Any) -> QuerySet[Datastore]:
    """With `host_count`, the hosts that see it, and the mounts with host and source in three more queries."""
    mounts = DatastoreMount.objects.restrict(user, Action.VIEW)
    rows = Datastore.objects.restrict(user, Action.VIEW).select_related("datacenter")
    counted = rows.annotate(host_count=count_of(mounts.filter(missing_since=None), "datastore"))
    return counted.prefetch_related(Prefetch("mounts", mounts.prefetch_related("host__source")))
