"""Reading datastores and their volumes."""

from typing import Any

from django.db.models import Prefetch, QuerySet

from access.roles import Action
from core.models import count_of
from hosts.models import Host
from storage.models import Datastore, DatastoreMount, Volume


def datastore_list(*, user: Any) -> QuerySet[Datastore]:
    """With `host_count`, the hosts that see it, and the mounts with host and source in three more queries."""
    mounts = DatastoreMount.objects.restrict(user, Action.VIEW)
    rows = Datastore.objects.restrict(user, Action.VIEW).select_related("datacenter")
    counted = rows.annotate(host_count=count_of(mounts.filter(missing_since=None), "datastore"))
    return counted.prefetch_related(Prefetch("mounts", mounts.prefetch_related("host__source")))


def volumes_of(datastore: Datastore, *, user: Any) -> QuerySet[Volume]:
    return Volume.objects.restrict(user, Action.VIEW).filter(datastore=datastore)


def current_mounts(datastore: Datastore) -> list[DatastoreMount]:
    """What hosts say of it now. Needs its mounts prefetched."""
    return [mount for mount in datastore.mounts.all() if mount.missing_since is None]


def only_host(datastore: Datastore) -> Host | None:
    """The host of a datastore that just one sees. Needs its mounts with their hosts prefetched."""
    mounts = current_mounts(datastore)
    return mounts[0].host if len(mounts) == 1 else None
