"""Hosts in history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from drivers.types import HostFact
from history.fields import record_of
from history.models import HostRevision
from history.services import last_rows, record
from hosts.diff import DatabaseId
from hosts.facts import BIGGEST_INTEGER, json_bytes, number, text

COLUMNS = ("name", "datacenter_id", "vendor", "model", "cpu_cores", "memory_bytes", "facts")
_record_of_host = record_of(HostFact, "name", "vendor", "model", "cpu_cores", "memory_bytes")


def record_hosts(
    datacenter_id: UUID, told: Mapping[DatabaseId, HostFact], *, at: datetime, gone: Iterable[UUID] = ()
) -> None:
    """Write down what these hosts are built from, and which are there no more.

    Transaction: the one that changes them.
    """
    said = {UUID(host): _values(datacenter_id, fact) for host, fact in told.items()}
    record(HostRevision, COLUMNS, said, at=at, gone=gone)


def relocate_hosts(hosts: Iterable[UUID], datacenter_id: UUID, *, at: datetime) -> None:
    """What these hosts were built from last, they are built from in this datacenter from now on.

    Transaction: the one that moves them.
    """
    known = last_rows(HostRevision, hosts, "gone", *COLUMNS)
    said = {}
    for host, (gone, name, _before, *figures, facts) in known.items():
        if not gone:
            said[host] = (name, datacenter_id, *figures, json_bytes(facts))
    record(HostRevision, COLUMNS, said, at=at)


def _values(datacenter_id: UUID, fact: HostFact) -> tuple[Any, ...]:
    figures = (number(fact.cpu_cores, BIGGEST_INTEGER), number(fact.memory_bytes))
    head = (text(fact.name, 255), datacenter_id, text(fact.vendor, 255), text(fact.model, 255), *figures)
    return (*head, json_bytes(_record_of_host(fact)))
