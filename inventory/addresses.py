"""Addresses of guests as they stay: who tells them forgets them, too. Pure but for one query.

A host's ARP table forgets a guest it does not talk to, leases run out unnoticed, and agents are busy. So what a running
guest's NIC was seen with stays until it is seen with something else, or the guest stops. Only the agent inside knows
all of a NIC's addresses: what it tells replaces them. A lease or the ARP table may show some of them: they add what is
new beside one that is known, and replace what has nothing in common with it. IPv4 and IPv6 each count by themselves.
A NIC with several addresses whose host sees them only one at a time, in turn, changes with each of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from core import bulk
from drivers.types import GuestFact, GuestState, NicFact
from hosts.diff import DatabaseId, database_id
from inventory.models import Nic, Placement
from inventory.values import MOST_ADDRESSES

AGENT = "agent"
STOPPED = frozenset({GuestState.OFF, GuestState.CRASHED})

# By MAC address: who told of the addresses, and which they are.
Known = Mapping[str, tuple[str, Sequence[str]]]


def keep_addresses(fact: GuestFact, known: Known) -> GuestFact:
    """The fact with what its NICs were seen with before, where that still counts."""
    if not known or fact.state in STOPPED:
        return fact
    nics = tuple(_keep(nic, *known[nic.mac]) if nic.mac in known else nic for nic in fact.nics)
    return fact if nics == fact.nics else replace(fact, nics=nics)


def _keep(nic: NicFact, told_by: str, before: Sequence[str]) -> NicFact:
    now = nic.addresses
    if not before or (now and nic.addresses_from == AGENT and set(now) != set(before)):
        return nic
    merged = tuple(before) if nic.addresses_from == AGENT else _merge(before, now)
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


def addresses_behind(words: Iterable[DatabaseId]) -> dict[DatabaseId, Known]:
    """As `load_addresses`, by the placements of the guests."""
    guests: dict[DatabaseId, UUID] = {}
    remaining = iter(words)
    while batch := list(islice(remaining, bulk.BATCH)):
        rows = Placement.objects.filter(pk__in=batch).order_by().values_list("pk", "guest_id")
        guests.update({database_id(word): guest for word, guest in rows})
    known = load_addresses(set(guests.values()))
    return {word: known[guest] for word, guest in guests.items() if guest in known}


def load_addresses(guests: Iterable[UUID]) -> dict[UUID, Known]:
    """What the NICs of these guests were seen with, by guest and MAC address; those without are left out."""
    found: defaultdict[UUID, dict[str, tuple[str, Sequence[str]]]] = defaultdict(dict)
    remaining = iter(guests)
    while batch := list(islice(remaining, bulk.BATCH)):
        rows: Any = Nic.objects.filter(guest__in=batch).exclude(mac="").order_by()
        for guest, mac, addresses, details in rows.values_list("guest_id", "mac", "addresses", "details"):
            if addresses:
                found[guest][mac] = (str(details.get("addresses_from", "")), addresses)
    return dict(found)
