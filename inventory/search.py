"""What guests are found by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from django.db.models import Prefetch, QuerySet

from core import bulk
from core.db import pipeline
from core.search import fold
from drivers.types import GuestFact
from hosts.diff import DatabaseId, database_id
from hosts.facts import LONGEST_NOTES, digest, text
from inventory.models import Disk, Guest, GuestDetails, Nic
from inventory.values import MOST_ADDRESSES, MOST_DEVICES
from search.models import TEXTS, Kind
from search.services import Entry, digest_of, load_digests, row_of, text_of, write_rows

BASE_BYTES = 12  # of a digest: without what the agent said, which has the other four
NO_AGENT = "0" * 8


@dataclass(frozen=True, slots=True)
class Found:
    """What a guest was just read as, or a guest that nobody has read yet. Its id is one of its row."""

    guest_id: DatabaseId
    uuid: str
    fact: GuestFact | None


def index_guests(readings: Iterable[Found]) -> None:
    """Let guests be found by what was just read, where it differs from what is written.

    What an agent said stays until it says something else, so a guest whose agent was not heard now keeps that part.
    Transaction: the one that changes the guests.
    """
    found = {one.guest_id: one for one in readings}
    if not found:
        return
    known = load_digests(Kind.GUEST, found)
    compared = (_changed(one, known.get(one.guest_id, "")) for one in found.values())
    changed = [one for one in compared if one is not None]
    silent = [entry.object_id for entry, _base, agent in changed if agent is None]
    told = _told_before(one for one in silent if known.get(one, "")[2 * BASE_BYTES :] != NO_AGENT)
    with pipeline(), TEXTS.writes(len(changed)):
        for start in range(0, len(changed), bulk.BATCH):
            part = changed[start : start + bulk.BATCH]
            write_rows([_row(entry, base, _agent_of(entry, agent, told)) for entry, base, agent in part])


Agent = tuple[str, ...]


def _changed(one: Found, known: str) -> tuple[Entry, str, Agent | None] | None:
    """What to write: without the agent, the digest of that, and the agent's words if it told any now."""
    name, values = _of_fact(one)
    entry = Entry(one.guest_id, name, text_of(values))
    base = digest_of(name, entry.text, BASE_BYTES)
    said = one.fact.agent if one.fact else None
    agent = None if said is None else _words(said.hostname, said.os)
    if known[: 2 * BASE_BYTES] == base and (agent is None or known[2 * BASE_BYTES :] == _agent_digest(agent)):
        return None
    return entry, base, agent


def _row(entry: Entry, base: str, agent: Agent) -> tuple[Any, ...]:
    text = entry.text + fold("".join(f"{word}\n" for word in agent))
    whole = Entry(entry.object_id, entry.name, text)
    return row_of(Kind.GUEST, whole, base + _agent_digest(agent))


def _agent_digest(agent: Agent) -> str:
    return digest(agent)[: len(NO_AGENT)] if agent else NO_AGENT


def _words(*said: str) -> Agent:
    return tuple(text(word, 255) for word in said if word)


def _kept_words(agent: Any) -> Agent:
    """Of GuestDetails.agent."""
    return _words(agent.get("hostname", ""), agent.get("os", "")) if agent else ()


def _agent_of(entry: Entry, agent: Agent | None, told: dict[DatabaseId, Agent]) -> Agent:
    return told.get(entry.object_id, ()) if agent is None else agent


def _told_before(guests: Iterable[DatabaseId]) -> dict[DatabaseId, Agent]:
    """What agents said when they were last heard; of guests that nobody could find yet, too."""
    told: dict[DatabaseId, Agent] = {}
    remaining: Iterator[Any] = iter(guests)
    while batch := list(islice(remaining, bulk.BATCH)):
        rows = GuestDetails.objects.filter(pk__in=batch).exclude(agent=None)
        told.update({database_id(guest): _kept_words(said) for guest, said in rows.values_list("guest_id", "agent")})
    return told


def _of_fact(one: Found) -> tuple[str, list[str]]:
    fact = one.fact
    if fact is None:
        return one.uuid, [one.uuid]
    name = text(fact.name, 255)
    nics = (
        (text(nic.mac, 32), text(nic.network, 255), text(nic.bridge, 64), text(nic.port_group, 255))
        for nic in fact.nics[:MOST_DEVICES]
    )
    addresses = (text(one, 64) for nic in fact.nics[:MOST_DEVICES] for one in nic.addresses[:MOST_ADDRESSES])
    disks = (text(disk.source, 1000) for disk in fact.disks[:MOST_DEVICES])
    said = (text(fact.title, 255), text(fact.notes, LONGEST_NOTES))
    return name, [name, one.uuid, *chain.from_iterable(nics), *addresses, *disks, *said]


def guest_rows(guests: QuerySet[Guest]) -> Iterator[tuple[Any, ...]]:
    """The rows to write of these guests as the database has them: the same as were written when they were read."""
    devices = (Prefetch("disks", Disk.objects.order_by("position")), Prefetch("nics", Nic.objects.order_by("position")))
    for guest in guests.order_by().select_related("details").prefetch_related(*devices):
        nics = list(guest.nics.all())
        values = [guest.name, guest.uuid]
        values += chain.from_iterable((nic.mac, nic.network, nic.bridge, nic.port_group) for nic in nics)
        values += chain.from_iterable(nic.addresses for nic in nics)
        values += [*(disk.source for disk in guest.disks.all()), guest.title, guest.notes]
        entry = Entry(database_id(guest.pk), guest.name, text_of(values))
        base = digest_of(guest.name, entry.text, BASE_BYTES)
        details = getattr(guest, "details", None)
        yield _row(entry, base, _kept_words(details.agent if details else None))
