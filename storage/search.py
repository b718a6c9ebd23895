"""What datastores are found by. Not by their volumes: those of guests are found with the guest that has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import QuerySet

from hosts.diff import database_id
from hosts.search import some
from search.models import Kind
from search.services import Entry, text_of, write_entries
from storage.models import Datastore


def index_datastores(ids: Iterable[Any]) -> None:
    """Transaction: the one that changed these datastores."""
    write_entries(Kind.DATASTORE, list(datastore_entries(some(Datastore, ids))))


def datastore_entries(datastores: QuerySet[Datastore]) -> Iterator[Entry]:
    for pk, name, path, source in datastores.order_by().values_list("pk", "name", "path", "source"):
        yield Entry(database_id(pk), name, text_of([name, path, source]))
