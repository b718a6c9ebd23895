"""After the server's clock was set back, evidence from "the future" would shut out every read until it is reached."""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from core.db import write_transaction
from history.models import Kind
from history.services import pull_back
from hosts.models import Host, Source
from inventory.models import Guest, Placement
from networks.models import VirtualSwitch
from storage.models import Datastore, DatastoreMount

log = logging.getLogger(__name__)

# Between the machines of one installation; more is a clock that was wrong.
TOLERATED = timedelta(minutes=1)


def repair_clock(source: Source) -> None:
    """If this source was read in the future, say that all of its evidence is from now.

    Transaction: its own, and only then.
    """
    now = timezone.now()
    reads = [at for at in (source.inventory_read_at, source.states_read_at) if at]
    if not reads or max(reads) <= now + TOLERATED:
        return
    log.warning("The clock was set back: what %s said before counts as said now.", source.name)
    of_host = Q(host__source=source)
    with write_transaction():
        Host.objects.filter(source=source, evidence_at__gt=now).update(evidence_at=now)
        for model in (VirtualSwitch, DatastoreMount, Placement, Guest):
            model._default_manager.filter(of_host, evidence_at__gt=now).update(evidence_at=now)
        Guest.objects.filter(of_host, placed_at__gt=now).update(placed_at=now)
        Datastore.objects.filter(mounts__host__source=source, evidence_at__gt=now).update(evidence_at=now)
        # Of all its mounts: the newest of any host counts.
        seen = Datastore.objects.filter(mounts__host__source=source)
        DatastoreMount.objects.filter(datastore__in=seen, volumes_at__gt=now).update(volumes_at=now)
        pull_back(_recorded_of(source), now)
        Source.objects.filter(pk=source.pk).update(inventory_read_at=now, states_read_at=now)
    source.refresh_from_db(fields=["inventory_read_at", "states_read_at"])


def _recorded_of(source: Source) -> dict[Kind, list[UUID]]:
    """What history may have of it."""
    mounts = DatastoreMount.objects.filter(host__source=source)
    guests = Guest.objects.filter(Q(host__source=source) | Q(placements__host__source=source))
    return {
        Kind.GUEST: list(guests.distinct().order_by().values_list("pk", flat=True)),
        Kind.HOST: list(source.hosts.order_by().values_list("pk", flat=True)),
        Kind.DATASTORE: list(set(mounts.values_list("datastore_id", flat=True))),
        Kind.MOUNT: list(mounts.values_list("pk", flat=True)),
        Kind.SWITCH: list(VirtualSwitch.objects.filter(host__source=source).order_by().values_list("pk", flat=True)),
    }
