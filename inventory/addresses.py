"""Addresses of guests as they stay: who tells them forgets them, too. Pure but for one query.

A host's ARP table forgets a guest it does not talk to, leases run out unnoticed, and agents are busy. So what a running
guest's NIC was seen with stays until it is seen with something else, or the guest stops. Only the agent inside knows
all addresses: when it tells of any, that is what there is. A lease or the ARP table may show some of them: they add
what is new beside one that is known, and replace what has nothing in common with it. IPv4 and IPv6 each count by
themselves.
A NIC with several addresses whose host sees them only one at a time, in turn, changes with each of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import connection
from msgspec.structs import replace

from core import bulk
from core.decoding import decode_json
from drivers.types import GuestFact, GuestState, NicFact
from hosts.diff import DatabaseId, database_id, id_column
from inventory.values import MOST_ADDRESSES

AGENT = "agent"
STOPPED = frozenset({GuestState.OFF, GuestState.CRASHED})

# By MAC address: who told of the addresses, and which they are.
Known = Mapping[str, tuple[str, Sequence[str]]]


def is_settled(fact: GuestFact) -> bool:
    """Whether what was seen before says nothing about these addresses."""
    return fact.state in STOPPED or any(nic.addresses_from == AGENT for nic in fact.nics)


def keep_addresses(fact: GuestFact, known: Known) -> GuestFact:
    """The fact with what its NICs were seen with before, where that still counts."""
    if not known or is_settled(fact):
        return fact
    nics = tuple(_keep(nic, *known[nic.mac]) if nic.mac in known else nic for nic in fact.nics)
    return fact if nics == fact.nics else replace(fact, nics=nics)


def _keep(nic: NicFact, told_by: str, before: Sequence[str]) -> NicFact:
    merged = _merge(before, nic.addresses)
    if set(merged) == set(before):
        return replace(nic, addresses=tuple(before), addresses_from=told_by)
    return replace(nic, addresses=merged)


def _merge(before: Sequence[str], now: Sequence[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for six in (False, True):
        old = [one for one in before if (":" in one) is six]
        new = [one for one in now if (":" in one) is six]
        kept += [*old, *(one for one in new if one not in old)] if not new or set(old) & set(new) else new
    return tuple(kept[:MOST_ADDRESSES])


_QUERY = """
    SELECT {key}, n.mac, n.addresses, {told_by} FROM {tables}
    WHERE {column} {among} AND n.mac <> '' AND n.addresses <> '[]'
"""
_NICS = "inventory_nic n"
_WORDS = "inventory_placement p JOIN inventory_nic n ON n.guest_id = p.guest_id"


def addresses_behind(words: Iterable[DatabaseId]) -> dict[DatabaseId, Known]:
    """What the NICs of the guests of these placements were seen with, by placement and MAC address."""
    return _load(_WORDS, "p.id", words)


def load_addresses(guests: Iterable[UUID]) -> dict[UUID, Known]:
    """The same by guest."""
    return {UUID(guest): known for guest, known in _load(_NICS, "n.guest_id", map(database_id, guests)).items()}


def _load(tables: str, column: str, ids: Iterable[DatabaseId]) -> dict[DatabaseId, Known]:
    """Raw: everything a source's guests are known by may have changed at once."""
    found: defaultdict[DatabaseId, dict[str, tuple[str, Sequence[str]]]] = defaultdict(dict)
    remaining = iter(ids)
    with connection.cursor() as cursor:
        while batch := list(islice(remaining, bulk.BATCH)):
            cursor.execute(*_query(tables, column, batch))
            for key, mac, addresses, told_by in cursor.fetchall():
                found[key][mac] = (told_by or "", decode_json(addresses, tuple[str, ...]))
    return dict(found)


def _query(tables: str, column: str, ids: list[DatabaseId]) -> tuple[str, list[Any]]:
    words = {"tables": tables, "key": id_column(column), "column": column}
    if connection.vendor == "sqlite":
        marks = f"IN ({', '.join(['%s'] * len(ids))})"
        told_by = "json_extract(n.details, '$.addresses_from')"
        return _QUERY.format(told_by=told_by, among=marks, **words), list(ids)
    return _QUERY.format(told_by="n.details->>'addresses_from'", among="= ANY(%s::uuid[])", **words), [ids]
