"""What hosts, sources, clusters and datacenters are found by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import Model, QuerySet

from hosts.diff import database_id
from hosts.models import Cluster, Datacenter, Host, Source
from search.models import Kind
from search.services import Entry, text_of, write_entries

HOST = ("pk", "name", "uuid", "vendor", "model", "serial", "cpu_model", "details__facts__board", "details__facts__nics")


def index_hosts(ids: Iterable[Any]) -> None:
    """Transaction: the one that changed these hosts."""
    write_entries(Kind.HOST, list(host_entries(some(Host, ids))))


def index_sources(ids: Iterable[Any]) -> None:
    """Transaction: the one that changed these sources."""
    write_entries(Kind.SOURCE, list(source_entries(some(Source, ids))))


def index_places(rows: Iterable[Cluster | Datacenter]) -> None:
    """Clusters and datacenters, which have nothing but a name.

    Transaction: the one that made or renamed them.
    """
    for row in rows:
        write_entries(kind_of_place(row), [Entry(database_id(row.pk), row.name, text_of([row.name]))])


def kind_of_place(row: Cluster | Datacenter) -> Kind:
    return Kind.CLUSTER if isinstance(row, Cluster) else Kind.DATACENTER


def some(model: type[Model], ids: Iterable[Any]) -> QuerySet[Any]:
    return model._default_manager.filter(pk__in=list(ids))


def host_entries(hosts: QuerySet[Host]) -> Iterator[Entry]:
    for pk, name, *values, nics in hosts.order_by().values_list(*HOST):
        macs = (nic.get("mac", "") for nic in nics or [])
        yield Entry(database_id(pk), name, text_of([name, *values, *macs]))


def source_entries(sources: QuerySet[Source]) -> Iterator[Entry]:
    for pk, name, address in sources.order_by().values_list("pk", "name", "address"):
        yield Entry(database_id(pk), name, text_of([name, address]))


def place_entries(places: QuerySet[Any]) -> Iterator[Entry]:
    for pk, name in places.order_by().values_list("pk", "name"):
        yield Entry(database_id(pk), name, text_of([name]))
