"""Applying one batch of what a read said about guests, in one short transaction.

Most changed guests are plain: one row, one word, standing where the word comes from. Those are updated straight away.
Everything else (new, vanished, seen on two hosts, moving) is settled group by group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import compress
from operator import ne
from typing import Any
from uuid import UUID

from django.db import IntegrityError, OperationalError, connection
from django.db.models import Model, QuerySet

from core import bulk
from core.db import pipeline, write_transaction
from core.events import MANY, Change, publish
from core.ids import new_ids
from drivers.types import GuestFact
from history.models import How
from history.services import add_guest_builds
from hosts.diff import DatabaseId, database_id, id_column, time_value
from hosts.facts import Findings, identity
from hosts.lease import Lease, renew
from hosts.models import Source, SourceState
from hosts.polling import hurry, hurry_datacenter
from inventory.addresses import keep_addresses, load_addresses
from inventory.groups import Group, GuestRow, PlacementWord, settle
from inventory.holds import moving_guests
from inventory.links import HostLinks, Links
from inventory.models import GUEST_LOCK_ORDER, Disk, Guest, GuestDetails, Nic, Placement
from inventory.recording import (
    Builds,
    Changes,
    Move,
    made_of,
    nothing_known,
    record_agents,
    record_gone,
    record_guests,
    record_made,
    record_moves,
)
from inventory.search import Found, index_guests
from inventory.values import (
    CONTENT,
    DISK,
    MOST_DEVICES,
    NIC,
    agent_of,
    agent_part,
    content_row,
    details_digest,
    details_of,
    device_counts,
    devices_digest,
    disk_row,
    nic_row,
)
from search.models import Kind
from search.services import forget

# SQLite has one write lock for everybody: a batch holds it for less than 100 ms. PostgreSQL locks rows and plans better
# for more of them.
BATCH = {"sqlite": 300, "postgresql": 5000}
ATTEMPTS = 3

GUEST_PLACE = ("host", "ref", "state", "state_reason", "conflict", "fact_hash", "evidence_at", "missing_since")
# What a plain change always writes, and the indexed columns it writes only when they differ: an index costs more than
# a row.
PLAIN = ("host", "id", "evidence_at", "state_reason", "fact_hash", "devices_hash", "details_hash", "revision_hash")
INDEXED = ("state", "name", "vcpus", "memory_bytes")
UNINDEXED = tuple(name for name in CONTENT if name not in INDEXED)
WORD = ("guest", "state", "state_reason", "fact_hash", "evidence_at", "contested", "claimed_at")


@dataclass(slots=True, eq=False)
class Item:
    """One thing a read said. Without a fact only the state is known; `gone` says that it was not there.

    `told` is the UUID of one whose state alone was told, where nothing was known of it before: it may have moved there.
    """

    host_id: DatabaseId
    ref: str
    state: str = "unknown"
    state_reason: str = ""
    fact: GuestFact | None = None
    fact_hash: str = ""
    word_id: DatabaseId = ""
    gone: bool = False
    told: str = ""

    def uuid(self) -> str:
        """One without a usable UUID is told by its place: the host's row, which may change its source."""
        if self.fact is None:
            return self.told
        return identity(self.fact.uuid, self.host_id.replace("-", ""), self.ref)


@dataclass(slots=True)
class Reading:
    """One read being applied. `listed`: what a full read shows, by host and reference; `how` what began it."""

    source: Source
    lease: Lease
    read_at: datetime
    findings: Findings
    links: Links
    listed: Mapping[DatabaseId, Mapping[str, GuestFact]] | None = None
    how: How = How.POLL


def apply_items(reading: Reading, items: list[Item]) -> None:
    """Write what these items change, batch by batch.

    Raises: LeaseLost.
    Transaction: one for each batch.
    """
    size = BATCH[connection.vendor]
    for start in range(0, len(items), size):
        _apply_batch(reading, items[start : start + size])


def settle_contested(reading: Reading) -> None:
    """Judge again the guests that two hosts claim, now that this source was read."""
    source = reading.source.pk
    words = Placement.objects.filter(contested=True).values_list(
        "guest__uuid", "host__source_id", "guest__host__source_id", "guest__datacenter_id"
    )
    datacenter = reading.source.datacenter_id
    uuids = {uuid for uuid, ours, holders, where in words if where == datacenter and source in {ours, holders}}
    if uuids:
        _retry(lambda: _Batch(reading).run([], uuids))


def _apply_batch(reading: Reading, items: list[Item]) -> None:
    _retry(lambda: _Batch(reading).run(items, set()))


def _retry(attempt: Any) -> None:
    """Two sources that meet the same new guest at once: one of them reads again and finds the other's row."""
    for left in reversed(range(ATTEMPTS)):
        try:
            attempt()
        except (IntegrityError, OperationalError):
            if not left:
                raise
        else:
            return


class _Batch:
    """One transaction's worth of items."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.changes: list[Change] = []
        self.ask: set[UUID] = set()
        self.found: list[Found] = []
        self.builds: Builds = {}
        self.lost = False

    def run(self, items: list[Item], uuids: set[str]) -> None:
        with write_transaction():
            renew(self.reading.lease)
            plain, others, more = self._sort(items)
            with pipeline():
                for start in range(0, len(plain), bulk.BATCH):
                    self._write_plain(plain[start : start + bulk.BATCH])
            # So many only mean "any of them": see core.events.
            self.changes += [Change("guest", str(UUID(row.guest_id))) for _item, row in plain[: MANY + 1]]
            uuids |= more
            if others or uuids:
                self._settle(others, uuids)
            index_guests(self.found)
            add_guest_builds(self.builds)
            publish(*self.changes)
        if self.ask:
            hurry(self.ask)
        if self.lost:
            hurry_datacenter(self.reading.source)

    def _sort(self, items: list[Item]) -> tuple[list[tuple[Item, _Plain]], list[Item], set[str]]:
        """Plain items with their guest's row, the others, and the UUIDs that those concern."""
        rows = _load_plain([item.word_id for item in items if item.word_id], self.reading.read_at)
        plain: list[tuple[Item, _Plain]] = []
        others: list[Item] = []
        uuids: set[str] = set()
        for item in items:
            row = rows.get(item.word_id)
            uuid = item.uuid() or (row.uuid if row else "")
            if row and row.simple and not item.gone and row.uuid == uuid and item.state != "unknown":
                plain.append((item, row))
            else:
                others.append(item)
                uuids |= {uuid, row.uuid if row else ""} - {""}
        return plain, others, uuids

    def _write_plain(self, plain: list[tuple[Item, _Plain]]) -> None:
        at = time_value(self.reading.read_at)
        states, words, said = [], [], []
        contents = _Contents()
        devices: list[Devices] = []
        details = Details()
        history = Changes(self.reading.source.datacenter_id, self.reading.read_at, self.builds)
        for item, row in plain:
            word = (item.word_id, item.state, item.state_reason, at)
            if item.fact is None:
                states.append((item.host_id, row.guest_id, at, item.state, item.state_reason))
                said.append(word)
                _note_stay(history, item, row, row.addresses)
                continue
            links = self.reading.links.of(item.host_id)
            content = content_row(item.fact, self.reading.findings)
            digests = (devices_digest(item.fact, links), details_digest(item.fact), _note(history, item, row, content))
            head = (item.host_id, row.guest_id, at, item.state_reason, item.fact_hash, *digests)
            contents.add(head, item.state, content, row)
            words.append((*word, item.fact_hash))
            if digests[0] != row.devices_hash:
                devices.append((row.guest_id, row.devices_hash, item.fact, links))
            details.add(row.guest_id, item.fact, changed=digests[1] != row.details_hash)
            self.found.append(Found(row.guest_id, row.uuid, item.fact))
        contents.write()
        # The host and the time are checked again by the update itself: on PostgreSQL another source may move the guest.
        bulk.update(Guest, ("host", "id", "evidence_at", "state", "state_reason"), states, keys=2, newer="evidence_at")
        bulk.update(Placement, ("id", "state", "state_reason", "evidence_at", "fact_hash"), words, newer="evidence_at")
        bulk.update(Placement, ("id", "state", "state_reason", "evidence_at"), said, newer="evidence_at")
        write_devices(devices)
        details.write()
        history.write()

    def _settle(self, items: list[Item], uuids: set[str]) -> None:
        groups = _load_groups(self.reading, uuids)
        by_place = {(database_id(w.host_id), w.ref): (g, w) for g in groups.values() for w in g.words}
        for item in items:
            self._hear(groups, by_place.get((item.host_id, item.ref)), item)
        for group in groups.values():
            _forget_unlisted(group, self.reading)
            settle(group, self.reading.read_at)
            self.ask |= group.ask
            self.lost = self.lost or group.lost_at is not None
        self._write_groups(list(groups.values()))

    def _hear(self, groups: dict[str, Group], known: tuple[Group, PlacementWord] | None, item: Item) -> None:
        """Put one item into its group."""
        at = self.reading.read_at
        if known is not None:
            group, word = known
            if word.said_at > at or _placed_after(group, at):
                return
            if item.uuid() in ("", group.uuid):
                _say(group, word, item, at)
                return
            group.drop(word)  # the same reference names another guest now
        if not item.uuid() or item.gone:
            return
        group = groups.setdefault(item.uuid(), Group(item.uuid()))
        if item.fact is None and not group.guests:
            return  # a full read brings it, with what it is made of
        if not _placed_after(group, at):
            group.words.append(_new_word(self.reading, item))

    def _write_groups(self, groups: list[Group]) -> None:
        rows = [row for group in groups for row in group.guests]
        _keep_addresses(rows)
        contents = {row.id: content_row(row.fact, self.reading.findings) for row in rows if row.fact}
        moves = _moves(rows)
        _write_guests(self.reading, groups, contents)
        _write_words(groups)
        merged = [row.id for group in groups for row in group.merged]
        if merged:
            forget(Kind.GUEST, merged)
            record_gone(merged, at=self.reading.read_at)
            Guest.objects.filter(pk__in=merged).delete()
        self._write_group_devices(rows)
        _record(self.reading, rows, contents, self.builds)
        record_moves(moves, at=self.reading.read_at, how=self.reading.how)
        self.found += [Found(database_id(row.id), row.uuid, row.fact) for row in rows if row.fact or row.new]
        self.changes += _changes(groups)

    def _write_group_devices(self, rows: list[GuestRow]) -> None:
        devices: list[Devices] = []
        details = Details()
        digests = []
        for row in rows:
            if row.fact is None:
                continue
            links = self.reading.links.of(database_id(row.host_id))
            after, made_of = devices_digest(row.fact, links), details_digest(row.fact)
            if after != row.devices_hash:
                devices.append((database_id(row.id), row.devices_hash, row.fact, links))
            details.add(database_id(row.id), row.fact, changed=made_of != row.details_hash)
            if (after, made_of) != (row.devices_hash, row.details_hash):
                digests.append((row.id, after, made_of))
        write_devices(devices)
        details.write()
        bulk.update(Guest, ("id", "devices_hash", "details_hash"), digests)


def _note(history: Changes, item: Item, row: _Plain, content: tuple[Any, ...]) -> str:
    """For history: what differs. Returns the digest of what the guest is made of."""
    assert item.fact is not None  # noqa: S101 (its content was made of it)
    made = made_of(item.fact, content)
    history.made(row.guest_id, made, row.revision_hash, row.name)
    _note_stay(history, item, row, content[-1])
    if item.fact.agent is not None and agent_part(item.fact_hash) != agent_part(row.fact_hash):
        history.agent(row.guest_id, item.fact.agent)
    return made.digest


def _note_stay(history: Changes, item: Item, row: _Plain, addresses: str) -> None:
    if (item.state, addresses) != (row.state, row.addresses) or not row.revision_hash:
        history.stays(row.guest_id, item.state, item.host_id, addresses)


class _Contents:
    """Updates of guests, sorted by which indexed columns change."""

    def __init__(self) -> None:
        self.rows: dict[tuple[bool, ...], list[tuple[Any, ...]]] = {}

    def add(self, head: tuple[Any, ...], state: str, values: tuple[Any, ...], row: _Plain) -> None:
        name, title, notes, vcpus, memory, *rest = values
        now, before = (state, name, vcpus, memory), (row.state, row.name, row.vcpus, row.memory_bytes)
        differs = tuple(map(ne, now, before))
        self.rows.setdefault(differs, []).append((*head, title, notes, *rest, *compress(now, differs)))

    def write(self) -> None:
        for differs, rows in self.rows.items():
            changed = compress(INDEXED, differs)
            bulk.update(Guest, (*PLAIN, *UNINDEXED, *changed), rows, keys=2, newer="evidence_at")


@dataclass(slots=True)
class _Plain:
    guest_id: DatabaseId
    uuid: str
    devices_hash: str
    details_hash: str
    revision_hash: str
    fact_hash: str
    state: str
    addresses: str
    name: str
    vcpus: int
    memory_bytes: int
    simple: bool


# `simple`: the guest has one row and one word, stands where that word is from, and nothing newer is known.
_PLAIN_QUERY = """
    SELECT {word}, {guest}, g.uuid, g.devices_hash, g.details_hash, g.revision_hash, p.fact_hash, g.state, g.addresses,
           g.name, g.vcpus, g.memory_bytes,
           g.host_id = p.host_id AND g.ref = p.ref AND g.twin = 0 AND g.conflict = '' AND g.missing_since IS NULL
           AND NOT p.contested AND p.evidence_at <= %s AND g.evidence_at <= %s
           AND (g.placed_at IS NULL OR g.placed_at < %s)
           AND NOT EXISTS (SELECT 1 FROM inventory_placement q WHERE q.guest_id = g.id AND q.id <> p.id)
    FROM inventory_placement p JOIN inventory_guest g ON g.id = p.guest_id
    WHERE p.id {among}
"""

# What another source moved elsewhere in between would be told by history and search all the same, though the update of
# its row finds nothing. In the order in which groups are locked.
_LOCK_QUERY = """
    SELECT count(*) FROM (
        SELECT 1 FROM inventory_guest
        WHERE id IN (SELECT guest_id FROM inventory_placement WHERE id = ANY(%s::uuid[]))
        ORDER BY uuid, twin FOR NO KEY UPDATE
    ) locked
"""


def _load_plain(ids: list[DatabaseId], read_at: datetime) -> dict[DatabaseId, _Plain]:
    """The rows behind these words."""
    if not ids:
        return {}
    moving = {database_id(guest) for guest in moving_guests()}
    with connection.cursor() as cursor:
        if connection.vendor != "sqlite":
            cursor.execute(_LOCK_QUERY, [ids])
        cursor.execute(*_plain_query(ids, read_at))
        rows: list[Any] = cursor.fetchall()
    plain = {word: _Plain(*known) for word, *known in rows}
    for row in plain.values():
        row.simple = bool(row.simple) and row.guest_id not in moving
    return plain


def _plain_query(ids: list[DatabaseId], read_at: datetime) -> tuple[str, list[Any]]:
    columns = {"word": id_column("p.id"), "guest": id_column("g.id")}
    times = [time_value(read_at)] * 3
    if connection.vendor == "sqlite":
        marks = f"IN ({', '.join(['%s'] * len(ids))})"
        return _PLAIN_QUERY.format(among=marks, **columns), [*times, *ids]
    query = _PLAIN_QUERY.format(among="= ANY(%s::uuid[])", **columns)
    return query, [*times, ids]


def _locked(rows: QuerySet[Any]) -> QuerySet[Any]:
    return rows if connection.vendor == "sqlite" else rows.select_for_update(of=("self",))


_GUEST_FIELDS = (
    "id",
    "uuid",
    "twin",
    "host_id",
    "ref",
    "state",
    "state_reason",
    "conflict",
    "fact_hash",
    "devices_hash",
    "details_hash",
    "revision_hash",
    "evidence_at",
    "placed_at",
    "missing_since",
)


def _load_groups(reading: Reading, uuids: set[str]) -> dict[str, Group]:
    """Every row and word about these UUIDs, in a constant number of queries."""
    groups = {uuid: Group(uuid) for uuid in uuids}
    found = Guest.objects.filter(datacenter=reading.source.datacenter_id, uuid__in=uuids).order_by(*GUEST_LOCK_ORDER)
    by_id: dict[UUID, Group] = {}
    for values in _locked(found).values_list(*_GUEST_FIELDS):
        row = GuestRow(*values)
        row.stored = row.columns()
        groups[row.uuid].guests.append(row)
        by_id[row.id] = groups[row.uuid]
    moving = moving_guests() if by_id else frozenset()
    for word in _load_words(reading, by_id):
        assert word.guest_id is not None  # noqa: S101 (the column is not null)
        by_id[word.guest_id].words.append(word)
    for guest_id in moving & by_id.keys():
        by_id[guest_id].moving = True
    return groups


_WORD_FIELDS = (
    "pk",
    "guest_id",
    "host_id",
    "ref",
    "state",
    "state_reason",
    "fact_hash",
    "evidence_at",
    "contested",
    "claimed_at",
    "host__source_id",
    "host__source__state",
    "host__source__inventory_read_at",
    "host__source__states_read_at",
)


def _load_words(reading: Reading, guests: Iterable[UUID]) -> Iterator[PlacementWord]:
    rows = Placement.objects.filter(guest__in=list(guests)).order_by("pk").values_list(*_WORD_FIELDS)
    for pk, guest, host, ref, state, reason, fact_hash, said_at, contested, claimed_at, *source in rows:
        word = PlacementWord(
            host_id=host,
            source_id=source[0],
            ref=ref,
            state=state,
            said_at=said_at,
            heard_at=_heard_at(reading, host, ref, said_at, source),
            askable=source[0] == reading.source.pk or source[1] == SourceState.OK,
            contested=contested,
            claimed_at=claimed_at,
            id=pk,
            guest_id=guest,
            state_reason=reason,
            fact_hash=fact_hash,
            unchanged=(reading.listed or {}).get(database_id(host), {}).get(ref),
        )
        word.stored = word.columns()
        yield word


def _heard_at(reading: Reading, host: UUID, ref: str, said_at: datetime, source: list[Any]) -> datetime:
    """The newest read that confirms a word: this one if it lists it, else its source's last complete ones."""
    reads: list[datetime] = [said_at, *(at for at in source[2:4] if at)]
    if (
        source[0] == reading.source.pk
        and reading.listed is not None
        and ref in reading.listed.get(database_id(host), ())
    ):
        reads.append(reading.read_at)
    return max(reads)


def _placed_after(group: Group, read_at: datetime) -> bool:
    """Whether a verified move is newer than this read: then this read knows nothing of it."""
    return any(row.placed_at is not None and row.placed_at >= read_at for row in group.guests)


def _say(group: Group, word: PlacementWord, item: Item, at: datetime) -> None:
    if item.gone and not group.moving:
        group.drop(word)
        return
    word.state, word.state_reason = item.state, item.state_reason
    word.said_at, word.heard_at = at, max(word.heard_at, at)
    if item.fact is not None:
        word.fact, word.fact_hash = item.fact, item.fact_hash


def _new_word(reading: Reading, item: Item) -> PlacementWord:
    return PlacementWord(
        host_id=UUID(item.host_id),
        source_id=reading.source.pk,
        ref=item.ref,
        state=item.state,
        said_at=reading.read_at,
        heard_at=reading.read_at,
        askable=True,
        state_reason=item.state_reason,
        fact_hash=item.fact_hash,
        fact=item.fact,
        new=True,
    )


def _forget_unlisted(group: Group, reading: Reading) -> None:
    """Drop words of this source that its complete list no longer has, before the group is judged."""
    if reading.listed is None or group.moving or _placed_after(group, reading.read_at):
        return
    for word in list(group.words):
        if word.source_id != reading.source.pk or word.said_at >= reading.read_at:
            continue
        if word.ref not in reading.listed.get(database_id(word.host_id), ()):
            group.drop(word)


def _keep_addresses(rows: list[GuestRow]) -> None:
    """Of guests that were read on another host, or after a job placed them, where that host does not know them yet."""
    known = load_addresses(row.id for row in rows if row.fact and not row.new)
    for row in rows:
        if row.fact and row.id in known:
            row.fact = keep_addresses(row.fact, known[row.id])


def _moves(rows: list[GuestRow]) -> list[Move]:
    """Guests whose row goes to another host. Call it before it is written: it asks for their names."""
    moved = {row.id: row for row in rows if not row.new and row.stored[0] != row.host_id}
    names = dict(Guest.objects.filter(pk__in=moved).values_list("pk", "name")) if moved else {}
    return [
        Move(row.id, names.get(row.id, row.uuid), UUID(str(row.stored[0])), row.host_id, row.state)
        for row in moved.values()
    ]


def _record(reading: Reading, rows: list[GuestRow], contents: Mapping[UUID, tuple[Any, ...]], builds: Builds) -> None:
    """For history: what these groups changed, whose rows are written."""
    record_guests([row.id for row in rows if row.new or row.fact or row.columns() != row.stored], at=reading.read_at)
    made = {row.id: made_of(row.fact, contents[row.id]) for row in rows if row.fact}
    made |= {row.id: nothing_known(row.uuid) for row in rows if row.new and not row.fact}
    changed = {row.id: made[row.id] for row in rows if row.id in made and made[row.id].digest != row.revision_hash}
    record_made(changed, reading.source.datacenter_id, builds, at=reading.read_at)
    agents = {row.id: row.fact.agent for row in rows if row.fact and row.fact.agent}
    record_agents(agents, at=reading.read_at)


def _write_guests(reading: Reading, groups: list[Group], contents: Mapping[UUID, tuple[Any, ...]]) -> None:
    new, content, place = [], [], []
    for row in sorted((row for group in groups for row in group.guests), key=lambda row: (row.uuid, row.twin)):
        values = contents.get(row.id)
        if row.new:
            values = values or _unread(row)
            head = (row.id, reading.source.datacenter_id, row.uuid, row.twin, "", "", "", row.placed_at)
            new.append((*head, *row.columns(), *values))
        elif values:
            content.append((row.id, *row.columns(), *values))
        elif row.columns() != row.stored:
            place.append((row.id, *row.columns()))
    key = ("id", "datacenter", "uuid", "twin", "devices_hash", "details_hash", "revision_hash", "placed_at")
    bulk.insert(Guest, (*key, *GUEST_PLACE, *CONTENT), new)
    bulk.update(Guest, ("id", *GUEST_PLACE, *CONTENT), content)
    bulk.update(Guest, ("id", *GUEST_PLACE), place)


def _unread(row: GuestRow) -> tuple[Any, ...]:
    """The content of a twin just found out, until its host's next full read brings it: a name, nothing else."""
    empty: dict[str, Any] = {"name": row.uuid, "persistent": True, "autostart": False, "passthrough": []}
    numbers = dict.fromkeys(("vcpus", "memory_bytes", "snapshot_count"), 0)
    return tuple((empty | numbers).get(name, "") for name in CONTENT)


def _write_words(groups: list[Group]) -> None:
    bulk.delete_rows(Placement, [word.id for group in groups for word in group.removed_words])
    words = [word for group in groups for word in group.words]
    new = [(word.id, word.host_id, word.ref, *word.columns()) for word in words if word.new]
    changed = [(word.id, *word.columns()) for word in words if not word.new and word.columns() != word.stored]
    bulk.insert(Placement, ("id", "host", "ref", *WORD), new)
    bulk.update(Placement, ("id", *WORD), changed)


def _changes(groups: list[Group]) -> Iterator[Change]:
    for group in groups:
        for row in group.guests:
            if row.new or row.fact is not None or row.columns() != row.stored:
                yield Change("guest", str(row.id), "added" if row.new else "changed")
        yield from (Change("guest", str(row.id), "removed") for row in group.merged)


Devices = tuple[DatabaseId, str, GuestFact, HostLinks]


def write_devices(guests: list[Devices]) -> None:
    """Disks and NICs of guests, as facts and links say: (guest, its digest before, fact, links)."""
    disks: list[tuple[Any, ...]] = []
    nics: list[tuple[Any, ...]] = []
    counts = []
    for guest_id, before, fact, links in guests:
        _digest = links.digest  # puts the paths in order
        disks += [(guest_id, n, *disk_row(disk, links)) for n, disk in enumerate(fact.disks[:MOST_DEVICES])]
        nics += [(guest_id, n, *nic_row(nic, links)) for n, nic in enumerate(fact.nics[:MOST_DEVICES])]
        counts.append((guest_id, *device_counts(before)))
    _replace(Disk, DISK, disks, {guest_id: count for guest_id, count, _nics in counts})
    _replace(Nic, NIC, nics, {guest_id: count for guest_id, _disks, count in counts})


class Details:
    """Details to write. What the agent inside a guest told stays until it tells something else."""

    def __init__(self) -> None:
        self._facts: list[tuple[DatabaseId, Any]] = []
        self._agents: list[tuple[DatabaseId, Any]] = []

    def add(self, guest_id: DatabaseId, fact: GuestFact, *, changed: bool) -> None:
        if changed:
            self._facts.append((guest_id, details_of(fact)))
        if fact.agent is not None:
            self._agents.append((guest_id, agent_of(fact)))

    def write(self) -> None:
        bulk.upsert(GuestDetails, ("guest", "facts"), self._facts, key=("guest",))
        bulk.update(GuestDetails, ("guest", "agent"), self._agents)


def _replace(
    model: type[Model], columns: tuple[str, ...], rows: list[tuple[Any, ...]], before: dict[DatabaseId, int]
) -> None:
    """Update the rows that are there, insert the others, delete what is left over. `before` counts rows by guest."""
    left = dict.fromkeys(before, 0)
    known: list[tuple[Any, ...]] = []
    new: list[tuple[Any, ...]] = []
    for row in rows:
        left[row[0]] += 1
        (known if row[1] < before[row[0]] else new).append(row)
    bulk.update(model, ("guest", "position", *columns), known, keys=2)
    ids = new_ids(len(new))
    # A digest that was reset says nothing of what is there: then an insert may meet a row.
    bulk.upsert(
        model,
        ("id", "guest", "position", *columns),
        [(row_id, *row) for row_id, row in zip(ids, new, strict=True)],
        key=("guest", "position"),
        keep=("id",),
    )
    surplus = [(guest, count) for guest, count in left.items() if count < before[guest] or not before[guest]]
    bulk.delete_from(model, "guest", "position", surplus)
