"""Filling the table of what objects are found by from the rows there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, Model, OuterRef, QuerySet

from core.db import write_transaction
from hosts.models import Cluster, Datacenter, Host, Source
from hosts.search import host_entries, place_entries, source_entries
from inventory.models import GUEST_LOCK_ORDER, Guest
from inventory.search import guest_rows
from networks.models import VirtualSwitch
from networks.search import switch_entries
from search.models import TEXTS, Kind, SearchRow
from search.services import Entry, digest_of, forget, row_of, write_rows, write_tags
from storage.models import Datastore
from storage.search import datastore_entries

# SQLite's write lock is held for one batch.
BATCH = {"sqlite": 250, "postgresql": 5000}  # as in inventory.store

Rows = Iterator[tuple[Any, ...]]
Entries = Callable[[Any], Iterator[Entry]]


def _rows_of(kind: Kind, entries: Entries) -> Callable[[QuerySet[Any]], Rows]:
    def rows(objects: QuerySet[Any]) -> Rows:
        for entry in entries(objects):
            yield row_of(kind, entry, digest_of(entry.name, entry.text))

    return rows


KINDS: dict[Kind, tuple[type[Model], Callable[[QuerySet[Any]], Rows]]] = {
    Kind.GUEST: (Guest, guest_rows),
    Kind.HOST: (Host, _rows_of(Kind.HOST, host_entries)),
    Kind.DATASTORE: (Datastore, _rows_of(Kind.DATASTORE, datastore_entries)),
    Kind.SWITCH: (VirtualSwitch, _rows_of(Kind.SWITCH, switch_entries)),
    Kind.SOURCE: (Source, _rows_of(Kind.SOURCE, source_entries)),
    Kind.CLUSTER: (Cluster, _rows_of(Kind.CLUSTER, place_entries)),
    Kind.DATACENTER: (Datacenter, _rows_of(Kind.DATACENTER, place_entries)),
}


def index_missing() -> int:
    """Let every object be found that is not yet, such as those from before there was a search; how many.

    Transaction: one for the index if it is missing, one for each batch.
    """
    if not TEXTS.exists():
        with write_transaction():
            TEXTS.create()
    return sum(_write(kind, _missing(kind)) for kind in KINDS)


def index_everything() -> int:
    """Write everything anew, and the index with it; how many objects there are.

    Transaction: one for the index, one for each batch.
    """
    with write_transaction():
        TEXTS.create()
    for kind in KINDS:
        with write_transaction():
            forget(kind, list(_left_over(kind)))
    return sum(_write(kind, _all(kind)) for kind in KINDS)


def _objects(kind: Kind) -> QuerySet[Any]:
    return KINDS[kind][0]._default_manager.order_by("pk")


def _missing(kind: Kind) -> list[UUID]:
    rows = SearchRow.objects.filter(kind=kind, object_id=OuterRef("pk"))
    return list(_objects(kind).filter(~Exists(rows)).values_list("pk", flat=True))


def _all(kind: Kind) -> list[UUID]:
    return list(_objects(kind).values_list("pk", flat=True))


def _left_over(kind: Kind) -> Iterable[UUID]:
    """What is found and is not there any more."""
    objects = KINDS[kind][0]._default_manager.filter(pk=OuterRef("object_id"))
    return SearchRow.objects.filter(~Exists(objects), kind=kind).values_list("object_id", flat=True)


def _write(kind: Kind, ids: list[UUID]) -> int:
    _model, rows = KINDS[kind]
    size = BATCH[connection.vendor]
    for start in range(0, len(ids), size):
        batch = _objects(kind).filter(pk__in=ids[start : start + size])
        with write_transaction():
            # A poll or an act on tags writes them before or after; guests in the order in which those lock them.
            order = GUEST_LOCK_ORDER if kind is Kind.GUEST else ("pk",)
            list(batch.order_by(*order).select_for_update(of=("self",)).values_list("pk"))
            entries = list(rows(batch))
            with TEXTS.writes(len(entries)):
                write_rows(entries)
                write_tags(kind, ids[start : start + size])
    return len(ids)
