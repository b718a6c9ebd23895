"""How full the datastores of a full read are: samples for their history."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from drivers.types import DatastoreFact, Snapshot
from hosts.facts import key_text
from hosts.models import Source
from metrics.services import DatastoreReading, record_datastores
from storage.models import DatastoreMount


def record_datastore_loads(source: Source, snapshot: Snapshot, *, read_at: datetime) -> None:
    """Of each active datastore, once however many hosts see it.

    Transaction: its own.
    """
    facts = {(key_text(fact.host_ref, 255), key_text(fact.ref, 255)): fact for fact in snapshot.datastores}
    mounts = DatastoreMount.objects.filter(host__source=source, missing_since=None).values_list(
        "host__ref", "ref", "datastore_id"
    )
    found: dict[UUID, DatastoreReading] = {}
    for host_ref, ref, datastore_id in mounts:
        fact: Any = facts.get((host_ref, ref))
        if fact is not None and datastore_id not in found and _is_told(fact):
            found[datastore_id] = DatastoreReading(datastore_id, fact.capacity_bytes, fact.available_bytes)
    record_datastores(list(found.values()), read_at=read_at)


def _is_told(fact: DatastoreFact) -> bool:
    return fact.active and fact.capacity_bytes > 0
