"""What becomes of datastores when a source goes to another datacenter."""

from __future__ import annotations

from django.utils import timezone

from hosts.models import Datacenter, Source
from storage.models import Datastore, DatastoreMount
from storage.recording import record_datastores
from storage.removal import drop_mounts


def move_datastores(source: Source, datacenter: Datacenter) -> None:
    """Those that its hosts alone see go along. Of the others the mounts are forgotten; the next read makes these anew.

    Transaction: the one that moves the source.
    """
    mounts = DatastoreMount.objects.filter(host__source=source)
    seen = Datastore.objects.filter(pk__in=mounts.values("datastore"))
    others = DatastoreMount.objects.exclude(host__source=source).filter(datastore__in=seen)
    there = Datastore.objects.filter(datacenter=datacenter, identity__in=seen.values("identity"))
    going = seen.exclude(pk__in=others.values("datastore")).exclude(identity__in=there.values("identity"))
    moved = list(going.values_list("pk", flat=True))
    drop_mounts(mounts.exclude(datastore__in=moved))
    Datastore.objects.filter(pk__in=moved).update(datacenter=datacenter)
    record_datastores(moved, at=timezone.now())
