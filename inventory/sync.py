"""Facts in, rows out: what a source says becomes the inventory.

Compare first, write only what changed, in short transactions that prove the lease. Nothing older than what we know is
applied, and only a complete read marks anything missing.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.utils.translation import gettext as _
from msgspec.structs import replace

from core import bulk
from core.db import write_transaction
from core.events import Change, publish
from drivers.types import DatastoreFact, GuestFact, GuestState, GuestStateFact, Snapshot, StateReading, SwitchFact
from history.models import How
from hosts.diff import DatabaseId, database_id, id_column, time_value
from hosts.facts import Findings, digest, identity, is_identity, key_text, text
from hosts.lease import Lease, renew
from hosts.models import Host, Source
from hosts.owners import without_seen
from hosts.sync import HostRows, apply_hosts
from inventory.addresses import addresses_behind, is_settled, keep_addresses
from inventory.clock import repair_clock
from inventory.links import Links
from inventory.loads import record_datastore_loads
from inventory.resolve import UNKNOWN
from inventory.store import Item, Reading, apply_items, settle_contested
from inventory.values import addresses_part, guest_digest
from metrics.services import SHORTEST_S, GuestReading, HostReading, forget_guest_loads, record_loads
from networks.sync import apply_switches
from storage.sync import apply_datastores

log = logging.getLogger(__name__)

# What an earlier read left. Not when it is due: whoever asked for another read while this one goes on must be heard.
KNOWN_OF_READS = ("findings", "inventory_read_at", "states_read_at", "unsettled")
LONGEST_REF = 255
LONGEST_REASON = 64


def apply_snapshot(source: Source, snapshot: Snapshot, token: int) -> None:
    """Bring the inventory in line with one full read of a source.

    Raises: LeaseLost when another worker has taken the source meanwhile.
    Transaction: several short ones of its own; each proves the lease.
    """
    source.refresh_from_db(fields=KNOWN_OF_READS)
    repair_clock(source)
    read_at = snapshot.read_started_at.astimezone(UTC)
    if _is_stale(source, read_at):
        log.info("A read of %s is older than one applied before; it is dropped.", source.name)
        return
    lease = Lease(source.pk, token)
    findings = Findings.load(source.findings)
    hosts = apply_hosts(source, snapshot, lease, findings)
    apply_switches(source, snapshot, hosts, lease, findings)
    apply_datastores(source, snapshot, hosts, lease, findings)
    comparison = _compare(source, snapshot, hosts, findings)
    listed = comparison.listed if snapshot.complete else None
    reading = Reading(source, lease, read_at, findings, Links(source), listed)
    apply_items(reading, comparison.items)
    _finish_snapshot(reading, snapshot, comparison.relinked)
    settle_contested(reading)
    record_datastore_loads(source, snapshot, read_at=read_at)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`mismatch` tells of guests that the states name and we do not know, or miss although we know them; else empty."""

    mismatch: str = ""

    def needs_inventory(self, source: Source) -> bool:
        """Whether a full read may settle it: not when the last one left the very same mismatch."""
        return bool(self.mismatch) and self.mismatch != source.unsettled


def apply_states(source: Source, states: StateReading, token: int) -> Outcome:
    """Bring states and load in line with one quick read of a source.

    Raises: LeaseLost.
    Transaction: several short ones of its own.
    """
    source.refresh_from_db(fields=KNOWN_OF_READS)
    repair_clock(source)
    states = without_seen(source, states)
    read_at = states.read_started_at.astimezone(UTC)
    lease = Lease(source.pk, token)
    hosts = {ref: database_id(pk) for ref, pk in Host.objects.filter(source=source).values_list("ref", "pk")}
    known = _load_state_words(source)
    outcome = Outcome()
    if not _is_stale(source, read_at):
        reading = Reading(source, lease, read_at, Findings.load(source.findings), Links(source))
        items, outcome = _compare_states(states, hosts, known)
        apply_items(reading, items)
        _finish_states(reading, complete=states.complete and not outcome.mismatch)
        settle_contested(reading)
    _record_loads(source, states, hosts, known, read_at)
    return outcome


def apply_look(source: Source, states: StateReading, guest_refs: Collection[str], lease: Lease) -> Outcome:
    """Bring some guests' states in line with what their source says of these; what it does not say is not there.

    Raises: LeaseLost.
    Transaction: several short ones of its own.
    """
    source.refresh_from_db(fields=KNOWN_OF_READS)
    repair_clock(source)
    read_at = states.read_started_at.astimezone(UTC)
    if _is_stale(source, read_at):
        return Outcome()
    states = without_seen(source, states)
    hosts = {ref: database_id(pk) for ref, pk in Host.objects.filter(source=source).values_list("ref", "pk")}
    known = _load_state_words(source, [_ref(ref) for ref in guest_refs])
    reading = Reading(source, lease, read_at, Findings.load(source.findings), Links(source), how=How.EVENT)
    items, outcome = _compare_states(replace(states, complete=True), hosts, known)
    apply_items(reading, items + _arrivals(states, hosts, known))
    settle_contested(reading)
    runs = {_place(fact, hosts) for fact in states.guests if fact.state == GuestState.RUNNING}
    ran = {place: word.guest_id for place, word in known.items() if word.stands and word.state == GuestState.RUNNING}
    ended = [guest for place, guest in ran.items() if place not in runs]
    forget_guest_loads(ended, read_at=read_at)
    return outcome


def _arrivals(states: StateReading, hosts: dict[str, DatabaseId], known: dict[Place, _Word]) -> list[Item]:
    """Guests this source has not shown before. Those known elsewhere need not wait for the full read that follows."""
    items = []
    for fact in states.guests:
        place = _place(fact, hosts)
        if place is not None and place not in known and is_identity(fact.uuid):
            told = identity(fact.uuid)
            items.append(Item(*place, fact.state.value, _reason(fact), told=told))
    return items


def _is_stale(source: Source, read_at: datetime) -> bool:
    reads = [at for at in (source.inventory_read_at, source.states_read_at) if at]
    return bool(reads) and read_at < max(reads)


# -- guests of a full read


_WORDS_QUERY = """
    SELECT {host}, p.ref, {word}, p.fact_hash, p.state, p.state_reason
    FROM inventory_placement p JOIN hosts_host h ON h.id = p.host_id WHERE h.source_id = %s
"""
# By reference: (reference, id, digest, state, reason), as the database gives it.
Words = dict[str, tuple[str, str, str, str, str]]


@dataclass(slots=True)
class _Comparison:
    """What differs from the words we have. `listed`: what each host's read shows; `relinked`: hosts to link anew."""

    known: dict[DatabaseId, Words]
    relinked: frozenset[DatabaseId]
    items: list[Item] = field(default_factory=list)
    seen_otherwise: list[Item] = field(default_factory=list)  # with other addresses than before
    listed: dict[DatabaseId, dict[str, GuestFact]] = field(default_factory=dict)

    def add_host(self, host: DatabaseId, facts: dict[str, GuestFact]) -> None:
        """Compare one host's guests. Runs for every guest at every full read."""
        words = self.known.get(host, {})
        force = host in self.relinked
        self.listed[host] = facts
        for ref, fact in facts.items():
            word = words.get(ref)
            fact_hash = guest_digest(fact, word[2] if word else "")
            if word is None:
                self.items.append(Item(host, ref, fact.state.value, _reason(fact), fact, fact_hash))
            elif word[2] != fact_hash or word[3] != fact.state or word[4] != _reason(fact) or force:
                item = Item(host, ref, fact.state.value, _reason(fact), fact, fact_hash, word[1])
                same = addresses_part(word[2]) == addresses_part(fact_hash)
                (self.items if same or is_settled(fact) else self.seen_otherwise).append(item)

    def keep_addresses(self) -> None:
        """What was seen before stays where a host merely forgot it; guests that differ in nothing else are no news."""
        known = addresses_behind(item.word_id for item in self.seen_otherwise)
        for item in self.seen_otherwise:
            word = self.known[item.host_id][item.ref]
            assert item.fact is not None  # noqa: S101 (it was compared)
            item.fact = keep_addresses(item.fact, known.get(item.word_id, {}))
            item.fact_hash = guest_digest(item.fact, word[2])
            said = (item.fact_hash, item.state, item.state_reason)
            if said != word[2:] or item.host_id in self.relinked:
                self.items.append(item)

    def add_gone(self) -> None:
        for host, words in self.known.items():
            there = self.listed.get(host, {})
            self.items += [
                Item(host, ref, word_id=word[1], gone=True) for ref, word in words.items() if ref not in there
            ]


def _compare(source: Source, snapshot: Snapshot, hosts: HostRows, findings: Findings) -> _Comparison:
    comparison = _Comparison(_load_words(source), _unlinked(source))
    by_host: dict[str, list[GuestFact]] = {}
    for fact in snapshot.guests:
        by_host.setdefault(fact.host_ref, []).append(fact)
    for host_ref, facts in by_host.items():
        if host_ref in hosts.ids:
            comparison.add_host(hosts.ids[host_ref], _once(facts, findings))
    comparison.keep_addresses()
    if snapshot.complete:
        comparison.add_gone()
    return comparison


def _load_words(source: Source) -> dict[DatabaseId, Words]:
    """By host and reference. One query, and as few objects as can be: it may be 50,000 rows."""
    words: dict[DatabaseId, Words] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            _WORDS_QUERY.format(host=id_column("p.host_id"), word=id_column("p.id")), [database_id(source.pk)]
        )
        for row in cursor.fetchall():
            host = row[0]
            if host not in words:
                words[host] = {}
            words[host][row[1]] = row[1:]
    return words


def _unlinked(source: Source) -> frozenset[DatabaseId]:
    """Hosts whose datastores or switches changed since their guests were linked."""
    return frozenset(
        database_id(pk) for pk in Host.objects.filter(source=source, links_hash="").values_list("pk", flat=True)
    )


def _once(facts: list[GuestFact], findings: Findings) -> dict[str, GuestFact]:
    """By reference. A host that lists one twice is told about, and its first word counts."""
    once = {_ref(fact.ref): fact for fact in reversed(facts)}
    if len(once) < len(facts):
        _tell_doubles(facts, once, findings)
    return once


def _tell_doubles(facts: list[GuestFact], once: dict[str, GuestFact], findings: Findings) -> None:
    for fact in facts:
        if once[_ref(fact.ref)] is not fact:
            message = _("The host lists the guest %(name)s twice; only the first counts.")
            findings.add(f"guest-twice:{digest((fact.host_ref, fact.ref))}", message % {"name": text(fact.name, 255)})


def _ref(ref: str) -> str:
    return key_text(ref, LONGEST_REF)


def _reason(fact: GuestFact | GuestStateFact) -> str:
    return text(fact.state_reason, LONGEST_REASON)


def _finish_snapshot(reading: Reading, snapshot: Snapshot, relinked: Iterable[DatabaseId]) -> None:
    """Say that this read was applied: from now on nothing older counts."""
    if snapshot.complete and reading.findings.kept:
        reading.findings.forget_all_but(_digests(snapshot))
    source, findings = reading.source, reading.findings.dump()
    with write_transaction():
        renew(reading.lease)
        bulk.update(Host, ("id", "links_hash"), [(host, reading.links.of(host).digest) for host in relinked])
        values: dict[str, Any] = {"findings": findings} if findings != source.findings else {}
        if snapshot.complete:
            values["inventory_read_at"] = reading.read_at
        if values:
            Source.objects.filter(pk=source.pk).update(**values)
        if "findings" in values:
            publish(Change("source", str(source.pk)))


def _digests(snapshot: Snapshot) -> set[str]:
    """Of the references of everything a read shows, as findings name them."""
    parts: list[GuestFact | DatastoreFact | SwitchFact] = [
        *snapshot.guests,
        *snapshot.datastores,
        *snapshot.switches,
    ]
    return {digest((part.host_ref, part.ref)) for part in parts} | {digest(host.ref) for host in snapshot.hosts}


# -- the quick read


@dataclass(slots=True)
class _Word:
    """A placement as the quick read needs it. `stands`: the guest's row stands where this word is from."""

    id: DatabaseId
    state: str
    state_reason: str
    guest_id: DatabaseId
    vcpus: int
    stands: bool


_STATES_QUERY = """
    SELECT {host}, p.ref, {word}, p.state, p.state_reason, {guest}, g.vcpus, g.host_id = p.host_id AND g.ref = p.ref
    FROM inventory_placement p
    JOIN hosts_host h ON h.id = p.host_id JOIN inventory_guest g ON g.id = p.guest_id
    WHERE h.source_id = %s
"""
Place = tuple[DatabaseId, str]


def _load_state_words(source: Source, refs: Collection[str] | None = None) -> dict[Place, _Word]:
    """Of every guest of the source, or of these."""
    columns = {"host": id_column("p.host_id"), "word": id_column("p.id"), "guest": id_column("g.id")}
    query, values = _STATES_QUERY.format(**columns), [database_id(source.pk)]
    if refs is not None:
        query += f" AND p.ref IN ({', '.join(['%s'] * len(refs)) or 'NULL'})"
        values += refs
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return {(row[0], row[1]): _Word(*row[2:]) for row in cursor.fetchall()}


def _compare_states(
    states: StateReading, hosts: dict[str, DatabaseId], known: dict[Place, _Word]
) -> tuple[list[Item], Outcome]:
    items: list[Item] = []
    unknown: list[tuple[str, str]] = []
    seen: set[Place] = set()
    for fact in states.guests:
        place = _place(fact, hosts)
        word = known.get(place) if place else None
        if place is None or word is None:
            unknown.append((fact.host_ref, fact.ref))
            continue
        seen.add(place)
        if word.state != fact.state or word.state_reason != _reason(fact):
            items.append(Item(*place, fact.state.value, _reason(fact), word_id=word.id))
    vanished = [(place, word) for place, word in known.items() if place not in seen] if states.complete else []
    # Only a full read takes a word back; until then the host is not sure of it.
    items += [Item(*place, word_id=word.id) for place, word in vanished if word.state != UNKNOWN]
    mismatch = digest((sorted(unknown), sorted(place for place, _word in vanished))) if unknown or vanished else ""
    return items, Outcome(mismatch)


def _place(fact: GuestStateFact, hosts: dict[str, DatabaseId]) -> Place | None:
    host = hosts.get(_ref(fact.host_ref))
    return (host, _ref(fact.ref)) if host else None


def _finish_states(reading: Reading, *, complete: bool) -> None:
    with write_transaction():
        renew(reading.lease)
        if complete:
            Source.objects.filter(pk=reading.source.pk).update(states_read_at=reading.read_at)


def _record_loads(
    source: Source, states: StateReading, hosts: dict[str, DatabaseId], known: dict[Place, _Word], read_at: datetime
) -> None:
    readings: list[GuestReading] = []
    silent: list[DatabaseId] = []
    for fact in states.guests:
        place = _place(fact, hosts)
        word = known.get(place) if place else None
        if place is None or word is None or not word.stands:
            continue  # a copy, or where the guest is not yet or no more: two hosts must not both tell its load
        if fact.load is not None:
            readings.append(GuestReading(word.guest_id, place[0], word.vcpus, fact.load))
        else:
            silent.append(word.guest_id)
    of_hosts = [HostReading(hosts[_ref(load.ref)], load) for load in states.hosts if _ref(load.ref) in hosts]
    record_loads(readings, of_hosts, read_at=read_at)
    forget_guest_loads(_untold(source, read_at) if states.complete else silent, read_at=read_at)
    publish(Change("load", str(source.pk)))


_UNTOLD_QUERY = """
    SELECT {guest} FROM hosts_host h
    JOIN inventory_guest g ON g.host_id = h.id JOIN metrics_guestload l ON l.guest_id = g.id
    WHERE h.source_id = %s AND l.read_at < %s
"""


def _untold(source: Source, read_at: datetime) -> list[DatabaseId]:
    """Guests on this source's hosts whose latest load is from before this read: stopped, vanished or lost since."""
    before = read_at - timedelta(seconds=SHORTEST_S)
    with connection.cursor() as cursor:
        cursor.execute(_UNTOLD_QUERY.format(guest=id_column("g.id")), [database_id(source.pk), time_value(before)])
        return [row[0] for row in cursor.fetchall()]
