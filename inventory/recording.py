"""Guests in history: what of a fact is recorded, and from when it counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from core import bulk
from drivers.types import AgentFact, GuestFact, GuestHardware
from history.fields import record_of
from history.models import AgentRevision, GuestRevision, How, Kind
from history.services import (
    Stay,
    add_guest_revisions,
    add_guest_stays,
    add_moves,
    end_stays,
    moments,
    record,
    record_stays,
    remember,
)
from hosts.diff import DatabaseId, database_id, time_value
from hosts.facts import json_bytes
from hosts.models import Host
from inventory.models import Guest

_record_of_guest = record_of(GuestFact, "name", "vcpus", "memory_bytes", "hardware", "agent")
_record_of_hardware = record_of(GuestHardware)
_record_of_agent = record_of(AgentFact)


class Made(NamedTuple):
    """What a guest is made of as history keeps it: encoded JSON, apart from what has columns of its own."""

    digest: str
    name: str
    vcpus: int
    memory_bytes: int
    facts: bytes
    hardware: bytes
    hardware_digest: str

    def row(self, guest_id: Any, since: Any, datacenter_id: Any) -> tuple[Any, ...]:
        """The values of history.services.GUEST."""
        head = (guest_id, since, self.name, datacenter_id, self.vcpus, self.memory_bytes)
        return (*head, msgspec.Raw(self.facts), self.hardware_digest)


def made_of(fact: GuestFact, content: Sequence[Any]) -> Made:
    """`content`: the values of inventory.values.CONTENT. Runs for every guest whose fact changed."""
    name, _title, _notes, vcpus, memory = content[:5]
    facts, hardware = json_bytes(_record_of_guest(fact)), json_bytes(_record_of_hardware(fact.hardware))
    of_hardware = _digest(hardware)
    whole = _digest(f"{name}\n{vcpus}\n{memory}\n{of_hardware}\n".encode() + facts)
    return Made(whole, name, vcpus, memory, facts, hardware, of_hardware)


def _digest(body: bytes) -> str:
    return blake2b(body, digest_size=16).hexdigest()


def nothing_known(uuid: str) -> Made:
    """Of a guest just found out that nobody has read yet."""
    return Made("unread", uuid, 0, 0, b"{}", b"{}", _digest(b"{}"))


Builds = dict[str, msgspec.Raw]
"""Hardware by digest, for `add_guest_builds`: once at the end of a transaction.

Sources whose guests are alike write the same rows: written in parts, they would meet each other's in any order.
"""


class Changes:
    """What one batch changes about guests whose host stays the same, as their rows say; nothing is looked up."""

    def __init__(self, datacenter_id: UUID, at: datetime, builds: Builds) -> None:
        self._read_at = at
        self._datacenter_id, self._at = database_id(datacenter_id), time_value(at)
        self._revisions: list[tuple[Any, ...]] = []
        self._builds = builds
        self._stays: list[tuple[Any, ...]] = []
        self._new: list[tuple[Any, Any]] = []
        self._names: list[tuple[Any, ...]] = []
        self._agents: dict[UUID, AgentFact] = {}

    def made(self, guest_id: DatabaseId, made: Made, before: str, name_before: str) -> None:
        """`before`: the digest of what was recorded last; empty for a guest that history does not know yet."""
        if made.digest != before:
            self._revisions.append(made.row(guest_id, self._at, self._datacenter_id))
            self._builds[made.hardware_digest] = msgspec.Raw(made.hardware)
        if not before:
            self._new.append((guest_id, self._at))
        if not before or made.name != name_before:
            self._names.append((guest_id, self._at, made.name))

    def stays(self, guest_id: DatabaseId, state: str, host_id: DatabaseId, addresses: str) -> None:
        self._stays.append((guest_id, self._at, False, state, host_id, addresses))

    def agent(self, guest_id: DatabaseId, agent: AgentFact) -> None:
        self._agents[UUID(guest_id)] = agent

    def write(self) -> None:
        """Transaction: the one that changes the guests; the builds are the caller's to write."""
        add_guest_revisions(self._revisions, self._names)
        add_guest_stays(self._stays)
        remember(Kind.GUEST, self._new)
        record_agents(self._agents, at=self._read_at)


def record_agents(agents: dict[UUID, AgentFact], *, at: datetime) -> None:
    """Write down what agents told, where it is something else than before.

    Transaction: the one that changes the guests.
    """
    record(AgentRevision, ("facts",), {guest: _agent_values(agent) for guest, agent in agents.items()}, at=at)


def _agent_values(agent: AgentFact) -> tuple[Any, ...]:
    return (json_bytes(_record_of_agent(agent)),)


def record_guests(guests: Iterable[UUID], *, at: datetime) -> None:
    """Write down where these guests are and how, as their rows say, where it differs from what was recorded last.

    Transaction: the one that changes them.
    """
    wanted = list(guests)
    for start in range(0, len(wanted), bulk.BATCH):
        _record_places(wanted[start : start + bulk.BATCH], at)


def _record_places(guests: list[UUID], at: datetime) -> None:
    columns = ("pk", "state", "host_id", "addresses", "missing_since", "evidence_at")
    rows = {row[0]: row[1:] for row in Guest.objects.filter(pk__in=guests).order_by().values_list(*columns)}
    stays = {guest: Stay(row[3] is not None, row[0], row[1], row[2]) for guest, row in rows.items()}
    since = record_stays(stays, at=at)
    keep_evidence({guest: moment for guest, moment in since.items() if moment > rows[guest][4]})


def record_made(guests: dict[UUID, Made], datacenter_id: UUID, builds: Builds, *, at: datetime) -> None:
    """Write down what these guests are made of now. Callers have compared the digests.

    Transaction: the one that changes them; the builds are the caller's to write.
    """
    known = moments(GuestRevision, guests)
    since = {guest: max(at, known.get(guest, at)) for guest in guests}
    builds.update((made.hardware_digest, msgspec.Raw(made.hardware)) for made in guests.values())
    add_guest_revisions([made.row(guest, since[guest], datacenter_id) for guest, made in guests.items()])
    bulk.update(Guest, ("id", "revision_hash"), [(guest, made.digest) for guest, made in guests.items()])
    keep_evidence({guest: moment for guest, moment in since.items() if moment > at})


def keep_evidence(moments: dict[UUID, datetime]) -> None:
    """A guest's evidence is never older than its history: polls that change it write without looking there."""
    bulk.update(Guest, ("id", "evidence_at"), list(moments.items()), newer="evidence_at")


def record_gone(guests: Iterable[UUID], *, at: datetime) -> None:
    """These guests' rows are about to be deleted.

    Transaction: the one that deletes them.
    """
    end_stays(guests, at=at)


class Move(NamedTuple):
    """A guest that went to another host."""

    guest_id: UUID
    name: str
    from_host: UUID
    to_host: UUID
    state: str


class Arrival(NamedTuple):
    """The task of ours that moved a guest, and what it came to as far as anybody read it."""

    migration_id: UUID
    downtime_ms: int | None = None
    bytes_moved: int | None = None


def record_moves(moves: Sequence[Move], *, at: datetime, how: How, arrival: Arrival | None = None) -> None:
    """Transaction: the one that changes the guests' hosts."""
    if not moves:
        return
    ids = {host for move in moves for host in (move.from_host, move.to_host)}
    names = dict(Host.objects.filter(pk__in=ids).values_list("pk", "name"))
    figures = arrival or (None, None, None)
    add_moves([(at, *_move_row(move, names), how.value, *figures) for move in moves])


def _move_row(move: Move, names: dict[UUID, str]) -> tuple[Any, ...]:
    hosts = (move.from_host, names.get(move.from_host, ""), move.to_host, names.get(move.to_host, ""))
    return (move.guest_id, move.name, *hosts, move.state)
