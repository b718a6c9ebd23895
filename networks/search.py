"""What virtual switches are found by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import QuerySet

from hosts.diff import database_id
from hosts.search import some
from networks.models import VirtualSwitch
from search.models import Kind
from search.services import Entry, text_of, write_entries


def index_switches(ids: Iterable[Any]) -> None:
    """Transaction: the one that changed these switches."""
    write_entries(Kind.SWITCH, list(switch_entries(some(VirtualSwitch, ids))))


def switch_entries(switches: QuerySet[VirtualSwitch]) -> Iterator[Entry]:
    for one in switches.order_by().prefetch_related("port_groups"):
        said = one.details
        groups = (group.name for group in one.port_groups.all())
        told = (*one.uplinks, *said.get("addresses", ()), said.get("domain", ""))
        yield Entry(database_id(one.pk), one.name, text_of([one.name, one.uuid, one.bridge, *groups, *told]))
