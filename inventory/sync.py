"""Facts in, rows out: what a source says becomes the inventory.

Compare first, write only what changed, in short transactions that prove the lease. Nothing older than what we know is
applied, and only a complete read marks anything missing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.db import connection
from django.utils.translation import gettext as _

from core import bulk
from core.db import write_transaction
from core.events import Change, publish
from drivers.types import GuestFact, GuestStateFact, Snapshot, StateReading
from hosts.facts import Findings, digest, key_text, text
from hosts.lease import Lease, renew
from hosts.models import Host, Source
from hosts.sync import HostRows, apply_hosts
from inventory.links import HostLinks, load_links
from inventory.store import DatabaseId, Item, Reading, apply_items, database_id, settle_contested
from inventory.values import guest_digest
from metrics.services import GuestReading, forget_guest_loads, record_guest_loads, record_host_loads
from networks.sync import apply_switches
from storage.sync import apply_datastores

log = logging.getLogger(__name__)

LONGEST_REF = 255
LONGEST_REASON = 64


def apply_snapshot(source: Source, snapshot: Snapshot, token: int) -> None:
    """Bring the inventory in line with one full read of a source.

    Raises: LeaseLost when another worker has taken the source meanwhile.
    Transaction: several short ones of its own; each proves the lease.
    """
    source.refresh_from_db()
    read_at = snapshot.read_started_at.astimezone(UTC)
    if _is_stale(source, read_at):
        log.info("A read of %s is older than one applied before; it is dropped.", source.name)
        return
    lease = Lease(source.pk, token)
    findings = Findings.load(source.findings)
    hosts = apply_hosts(source, snapshot, lease, findings)
    apply_switches(source, snapshot, hosts, lease, findings)
    apply_datastores(source, snapshot, hosts, lease, findings)
    links = load_links(source)
    listed: dict[UUID, set[str]] = {}
    reading = Reading(source, lease, read_at, findings, links, listed if snapshot.complete else None)
    items = list(_changed_guests(source, snapshot, hosts, links, listed, findings))
    apply_items(reading, items)
    _finish_snapshot(reading, snapshot, _relinked(hosts, links))
    settle_contested(reading)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`needs_inventory`: the states speak of guests we do not know, or miss some that we do."""

    needs_inventory: bool


def apply_states(source: Source, states: StateReading, token: int) -> Outcome:
    """Bring states and load in line with one quick read of a source.

    Raises: LeaseLost.
    Transaction: several short ones of its own.
    """
    source.refresh_from_db()
    read_at = states.read_started_at.astimezone(UTC)
    lease = Lease(source.pk, token)
    host_ids = dict(Host.objects.filter(source=source).values_list("ref", "pk"))
    known = _load_words(source)
    outcome = Outcome(needs_inventory=False)
    if not _is_stale(source, read_at):
        reading = Reading(source, lease, read_at, Findings.load(source.findings))
        items, outcome = _changed_states(states, host_ids, known)
        apply_items(reading, items)
        _finish_states(reading, complete=states.complete and not outcome.needs_inventory)
        settle_contested(reading)
    _record_loads(source, states, host_ids, known, read_at)
    return outcome


def _is_stale(source: Source, read_at: datetime) -> bool:
    reads = [at for at in (source.inventory_read_at, source.states_read_at) if at]
    return bool(reads) and read_at < max(reads)


# -- guests of a full read


@dataclass(slots=True)
class _Word:
    """A placement as the comparison needs it."""

    id: DatabaseId
    fact_hash: str
    state: str
    state_reason: str
    guest_id: DatabaseId
    vcpus: int


_WORDS_QUERY = """
    SELECT p.host_id{text}, p.ref, p.id{text}, p.fact_hash, p.state, p.state_reason
    FROM inventory_placement p JOIN hosts_host h ON h.id = p.host_id WHERE h.source_id = %s
"""
Words = dict[DatabaseId, dict[str, tuple[str, str, str, str]]]


def _load_placements(source: Source) -> Words:
    """By host and reference: (id, digest, state, reason). One query, and as few objects as can be: it may be 50,000."""
    words: Words = {}
    with connection.cursor() as cursor:
        cursor.execute(_query(_WORDS_QUERY), [database_id(source.pk)])
        for host, ref, *rest in cursor.fetchall():
            words.setdefault(host, {})[ref] = tuple(rest)
    return words


def _query(template: str) -> str:
    return template.format(text="" if connection.vendor == "sqlite" else "::text")


def _changed_guests(
    source: Source,
    snapshot: Snapshot,
    hosts: HostRows,
    links: dict[UUID, HostLinks],
    listed: dict[UUID, set[str]],
    findings: Findings,
) -> Iterator[Item]:
    """What differs from the words we have: new, changed and, of a complete read, gone."""
    known = _load_placements(source)
    relinked = set(_relinked(hosts, links))
    for host_ref, facts in _by_host(snapshot.guests).items():
        host_id = hosts.id_of(host_ref)
        if host_id is None:
            continue
        words = known.get(database_id(host_id), {})
        once = _once(facts, findings)
        listed[host_id] = set(once)
        yield from _changed_on_host(host_id, once, words, force=host_id in relinked)
    if snapshot.complete:
        yield from _gone(known, listed)


def _by_host(facts: Iterable[GuestFact]) -> dict[str, list[GuestFact]]:
    by_host: dict[str, list[GuestFact]] = {}
    for fact in facts:
        by_host.setdefault(fact.host_ref, []).append(fact)
    return by_host


def _once(facts: list[GuestFact], findings: Findings) -> dict[str, GuestFact]:
    """By reference. A host that lists one twice is told about, and its first word counts."""
    once: dict[str, GuestFact] = {}
    for fact in facts:
        ref = fact.ref if fact.ref.isascii() and len(fact.ref) < LONGEST_REF else key_text(fact.ref, LONGEST_REF)
        if once.setdefault(ref, fact) is not fact:
            message = _("The host lists the guest %(name)s twice; only the first counts.")
            findings.add(f"guest-twice:{digest(ref)}", message % {"name": text(fact.name, 255)})
    return once


def _changed_on_host(
    host_id: UUID, facts: dict[str, GuestFact], words: dict[str, tuple[str, str, str, str]], *, force: bool
) -> Iterator[Item]:
    for ref, fact in facts.items():
        fact_hash = guest_digest(fact)
        word = words.get(ref)
        if word is None:
            yield Item(host_id, ref, fact.state.value, _reason(fact), fact, fact_hash)
        elif force or word[1] != fact_hash or word[2] != fact.state.value or word[3] != _reason(fact):
            yield Item(host_id, ref, fact.state.value, _reason(fact), fact, fact_hash, word[0])


def _reason(fact: GuestFact | GuestStateFact) -> str:
    return text(fact.state_reason, LONGEST_REASON)


def _gone(known: Words, listed: dict[UUID, set[str]]) -> Iterator[Item]:
    by_id = {database_id(host): refs for host, refs in listed.items()}
    for host, words in known.items():
        there = by_id.get(host, set())
        for ref, word in words.items():
            if ref not in there:
                yield Item(UUID(host), ref, word_id=word[0], gone=True)


def _relinked(hosts: HostRows, links: dict[UUID, HostLinks]) -> dict[UUID, str]:
    """Hosts whose datastores or switches got other names since their guests were linked, with the new digest."""
    before = dict(Host.objects.filter(pk__in=list(hosts.ids.values())).values_list("pk", "links_hash"))
    return {
        host: links[host].digest
        for host in hosts.ids.values()
        if host in links and links[host].digest != before.get(host, "")
    }


def _finish_snapshot(reading: Reading, snapshot: Snapshot, relinked: dict[UUID, str]) -> None:
    """Say that this read was applied: from now on nothing older counts."""
    source, findings = reading.source, reading.findings.dump()
    with write_transaction():
        renew(reading.lease)
        bulk.update(Host, ("id", "links_hash"), list(relinked.items()))
        values = {"findings": findings} if findings != source.findings else {}
        if snapshot.complete:
            values["inventory_read_at"] = reading.read_at
        if values:
            Source.objects.filter(pk=source.pk).update(**values)
        if "findings" in values:
            publish(Change("source", str(source.pk)))


# -- the quick read


_STATES_QUERY = """
    SELECT p.host_id{text}, p.ref, p.id{text}, p.fact_hash, p.state, p.state_reason, g.id{text}, g.vcpus
    FROM inventory_placement p
    JOIN hosts_host h ON h.id = p.host_id JOIN inventory_guest g ON g.id = p.guest_id
    WHERE h.source_id = %s
"""


def _load_words(source: Source) -> dict[tuple[DatabaseId, str], _Word]:
    with connection.cursor() as cursor:
        cursor.execute(_query(_STATES_QUERY), [database_id(source.pk)])
        return {(row[0], row[1]): _Word(*row[2:]) for row in cursor.fetchall()}


def _changed_states(
    states: StateReading, host_ids: dict[str, UUID], known: dict[tuple[DatabaseId, str], _Word]
) -> tuple[list[Item], Outcome]:
    items: list[Item] = []
    unknown = False
    seen: set[tuple[DatabaseId, str]] = set()
    for fact in states.guests:
        host_id, ref = host_ids.get(key_text(fact.host_ref, LONGEST_REF)), key_text(fact.ref, LONGEST_REF)
        word = known.get((database_id(host_id), ref)) if host_id else None
        if host_id is None or word is None:
            unknown = True
            continue
        seen.add((database_id(host_id), ref))
        if (word.state, word.state_reason) != (fact.state.value, _reason(fact)):
            items.append(Item(host_id, ref, fact.state.value, _reason(fact), word_id=word.id))
    vanished = {key: word for key, word in known.items() if key not in seen} if states.complete else {}
    # Only a full read takes a word back; until then the host is not sure of it.
    items += [Item(UUID(host), ref, word_id=word.id) for (host, ref), word in vanished.items()]
    return items, Outcome(needs_inventory=unknown or bool(vanished))


def _finish_states(reading: Reading, *, complete: bool) -> None:
    with write_transaction():
        renew(reading.lease)
        if complete:
            Source.objects.filter(pk=reading.source.pk).update(states_read_at=reading.read_at)


def _record_loads(
    source: Source,
    states: StateReading,
    host_ids: dict[str, UUID],
    known: dict[tuple[DatabaseId, str], _Word],
    read_at: datetime,
) -> None:
    readings: list[GuestReading] = []
    ended: list[DatabaseId] = []
    for fact in states.guests:
        host_id = host_ids.get(fact.host_ref)
        word = known.get((database_id(host_id), fact.ref)) if host_id else None
        if word is not None and fact.load is not None:
            readings.append(GuestReading(word.guest_id, word.vcpus, fact.load))
        elif word is not None and word.state == "running":
            ended.append(word.guest_id)
    record_guest_loads(readings, read_at=read_at)
    forget_guest_loads(ended)
    record_host_loads([(host_ids[one.ref], one) for one in states.hosts if one.ref in host_ids], read_at=read_at)
    with write_transaction():
        publish(Change("load", str(source.pk)))
