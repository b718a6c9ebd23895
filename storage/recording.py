"""Datastores and their mounts in history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from drivers.types import DatastoreFact
from history.fields import record_of
from history.models import DatastoreRevision, MountRevision
from history.services import record
from hosts.diff import DatabaseId
from hosts.facts import json_bytes, text
from storage.models import Datastore

STORE = ("name", "datacenter_id", "technology", "storage_class", "shared", "active", "facts")
_OF_STORE = ("path", "source", "kind", "details")
MOUNT = ("name", "datastore_id", "host_id", "active", "facts")
_record_of_mount = record_of(DatastoreFact, "name", "active")


def record_datastores(ids: Iterable[UUID], *, at: datetime) -> None:
    """Write down what these datastores are, as their rows say.

    Transaction: the one that changes them.
    """
    rows = Datastore.objects.filter(pk__in=list(ids)).order_by()
    said, gone = {}, []
    for pk, missing_since, *values in rows.values_list("pk", "missing_since", *STORE[:-1], *_OF_STORE):
        columns, rest = values[: len(STORE) - 1], values[len(STORE) - 1 :]
        if missing_since is not None:
            gone.append(pk)
        else:
            facts = {name: value for name, value in zip(_OF_STORE, rest, strict=True) if value}
            said[pk] = (*columns, json_bytes(facts))
    record(DatastoreRevision, STORE, said, at=at, gone=gone)


def record_mounts(
    told: Mapping[DatabaseId, tuple[DatabaseId, DatabaseId, DatastoreFact]],
    *,
    at: datetime,
    gone: Iterable[DatabaseId] = (),
) -> None:
    """Write down these mounts, each with its datastore and host, and which are there no more.

    Transaction: the one that changes them.
    """
    said = {UUID(mount): _mount_values(*values) for mount, values in told.items()}
    record(MountRevision, MOUNT, said, at=at, gone=[UUID(one) for one in gone])


def _mount_values(store: DatabaseId, host: DatabaseId, fact: DatastoreFact) -> tuple[Any, ...]:
    return (text(fact.name, 255), UUID(store), UUID(host), fact.active, json_bytes(_record_of_mount(fact)))
