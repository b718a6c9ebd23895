"""All rows and words about one UUID in one trust domain, and how they settle. Pure: no database.

Usually a group is one guest with one word. It is more while a guest moves, when a copy is defined on a second host, and
when two guests really have the same UUID: then each has a row of its own, told apart by `twin`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.utils.translation import gettext as _

from core.ids import new_id
from drivers.types import GuestFact
from inventory.resolve import UNKNOWN, Verdict, Word, judge


@dataclass(slots=True, eq=False)
class PlacementWord(Word):
    """A word with its row. `fact` is what was read just now, if it changed; `unchanged` what was, if it did not."""

    id: UUID = field(default_factory=new_id)
    guest_id: UUID | None = None  # where the row is attached now
    state_reason: str = ""
    fact_hash: str = ""
    fact: GuestFact | None = None
    unchanged: GuestFact | None = None
    new: bool = False
    stored: tuple[object, ...] = ()

    def columns(self) -> tuple[object, ...]:
        return (
            self.guest_id,
            self.state,
            self.state_reason,
            self.fact_hash,
            self.said_at,
            self.contested,
            self.claimed_at,
        )


@dataclass(slots=True, eq=False)
class GuestRow:
    """A guest's row as far as placing it needs. `fact` is the content to write, if it changed."""

    id: UUID
    uuid: str
    twin: int
    host_id: UUID
    ref: str
    state: str
    state_reason: str
    conflict: str
    fact_hash: str
    devices_hash: str
    details_hash: str
    revision_hash: str
    evidence_at: datetime
    placed_at: datetime | None
    missing_since: datetime | None
    fact: GuestFact | None = None
    new: bool = False
    stored: tuple[object, ...] = ()

    def columns(self) -> tuple[object, ...]:
        """What placing a guest may change."""
        return (
            self.host_id,
            self.ref,
            self.state,
            self.state_reason,
            self.conflict,
            self.fact_hash,
            self.evidence_at,
            self.missing_since,
        )


@dataclass(slots=True, eq=False)
class Group:
    """`moving`: a job is moving one of these guests; it will say where that ends."""

    uuid: str
    guests: list[GuestRow] = field(default_factory=list)
    words: list[PlacementWord] = field(default_factory=list)
    moving: bool = False
    removed_words: list[PlacementWord] = field(default_factory=list)
    merged: list[GuestRow] = field(default_factory=list)
    ask: set[UUID] = field(default_factory=set)
    lost_at: datetime | None = None  # a running guest vanished from where it was

    def drop(self, word: PlacementWord) -> None:
        self.words.remove(word)
        if not word.new:
            self.removed_words.append(word)


def settle(group: Group, read_at: datetime) -> None:
    """Give each word its guest and each guest its place. Changes the group's rows only."""
    if group.moving:
        _hold(group)
        return
    apart = _told_apart(group)
    main_words, twins = _share_out(group, apart)
    main = _main(group, main_words or group.words)
    if main is None:
        return
    verdict = _judge_main(main, main_words)
    if twins and (verdict.winner is None or not verdict.winner.runs):
        main_words, twins = _merge_running(main_words, twins)
        verdict = _judge_main(main, main_words)
    kept = [main, *_stand_twins(group, twins)]
    kept += [_new_twin(group, word) for word in verdict.conflicts if isinstance(word, PlacementWord)]
    _attach(main, main_words, verdict)
    _place_main(group, main, verdict, read_at)
    kept += _stand_apart(group, apart, kept)
    _drop_rows(group, kept)
    _say_conflict(group)
    group.ask |= verdict.ask


def _hold(group: Group) -> None:
    """While a job moves the guest, words are kept for later and no row changes its place."""
    for word in group.words:
        word.contested = True
        word.fact_hash = ""
        word.guest_id = word.guest_id or group.guests[0].id


def _told_apart(group: Group) -> list[PlacementWord]:
    """One host that lists a UUID twice has two guests, whatever they do: all but one of its words stay apart."""
    by_host: dict[UUID, list[PlacementWord]] = {}
    for word in group.words:
        by_host.setdefault(word.host_id, []).append(word)
    main_id = group.guests[0].id if group.guests else None
    apart = []
    for words in by_host.values():
        words.sort(key=lambda word: (word.guest_id != main_id, word.new, not word.runs, word.ref))
        apart += words[1:]
    return apart


def _share_out(group: Group, apart: list[PlacementWord]) -> tuple[list[PlacementWord], dict[UUID, PlacementWord]]:
    """The main guest's words, and the running word of each twin that stands."""
    others = {guest.id: guest for guest in group.guests[1:]}
    main_words: list[PlacementWord] = []
    twins: dict[UUID, PlacementWord] = {}
    for word in group.words:
        if word in apart:
            continue
        row = others.get(word.guest_id) if word.guest_id else None
        if row is not None and word.runs and (row.host_id, row.ref) == (word.host_id, word.ref):
            twins[row.id] = word
        else:
            main_words.append(word)
    return main_words, twins


def _main(group: Group, words: list[PlacementWord]) -> GuestRow | None:
    if group.guests:
        return group.guests[0]
    if not words:
        return None
    first = max(words, key=lambda word: (word.runs, word.heard_at))
    return _new_row(group, first, twin=0)


def _new_row(group: Group, word: PlacementWord, twin: int) -> GuestRow:
    row = GuestRow(
        id=new_id(),
        uuid=group.uuid,
        twin=twin,
        host_id=word.host_id,
        ref=word.ref,
        state=word.state,
        state_reason=word.state_reason,
        conflict="",
        fact_hash="",
        devices_hash="",
        details_hash="",
        revision_hash="",
        evidence_at=word.said_at,
        placed_at=None,
        missing_since=None,
        new=True,
    )
    group.guests.append(row)
    return row


def _judge_main(main: GuestRow, words: list[PlacementWord]) -> Verdict:
    holder = next((word for word in words if (word.host_id, word.ref) == (main.host_id, main.ref)), None)
    return judge(holder, words)


def _merge_running(
    main_words: list[PlacementWord], twins: dict[UUID, PlacementWord]
) -> tuple[list[PlacementWord], dict[UUID, PlacementWord]]:
    """The main guest does not run any more: one that does takes its row."""
    row_id, word = max(twins.items(), key=lambda item: item[1].heard_at)
    return [*main_words, word], {key: other for key, other in twins.items() if key != row_id}


def _stand_twins(group: Group, twins: dict[UUID, PlacementWord]) -> list[GuestRow]:
    rows = {guest.id: guest for guest in group.guests}
    for row_id, word in twins.items():
        word.contested, word.claimed_at = False, None
        _show(group, rows[row_id], word)
    return [rows[row_id] for row_id in twins]


def _new_twin(group: Group, word: PlacementWord) -> GuestRow:
    row = _new_row(group, word, twin=max(guest.twin for guest in group.guests) + 1)
    word.guest_id, word.contested, word.claimed_at = row.id, False, None
    _show(group, row, word)
    return row


def _stand_apart(group: Group, apart: list[PlacementWord], kept: list[GuestRow]) -> list[GuestRow]:
    taken = {guest.id for guest in kept}
    rows = {guest.id: guest for guest in group.guests if guest.id not in taken}
    stand = []
    for word in apart:
        row = rows.pop(word.guest_id, None) if word.guest_id else None
        row = row or _new_twin(group, word)
        word.guest_id, word.contested, word.claimed_at = row.id, False, None
        _show(group, row, word)
        stand.append(row)
    return stand


def _attach(main: GuestRow, words: Iterable[PlacementWord], verdict: Verdict) -> None:
    for word in words:
        if word not in verdict.conflicts:
            word.guest_id = main.id


def _place_main(group: Group, main: GuestRow, verdict: Verdict, read_at: datetime) -> None:
    winner = verdict.winner
    if isinstance(winner, PlacementWord) and not _is_suspicion(main, winner):
        _show(group, main, winner)
        return
    if winner is not None and winner.askable:
        group.ask.add(winner.source_id)
    if main.missing_since is None:
        main.missing_since = read_at
        main.evidence_at = max(main.evidence_at, read_at)
        if main.state == "running":
            group.lost_at = read_at


def _is_suspicion(main: GuestRow, word: PlacementWord) -> bool:
    """Whether this host may have the guest, and does not say so: that is no place to show."""
    elsewhere = (word.host_id, word.ref) != (main.host_id, main.ref)
    return elsewhere and word.state == UNKNOWN and word.fact is None and not main.new


def _show(group: Group, row: GuestRow, word: PlacementWord) -> None:
    """Let the row stand where this word says, with its content if that was read just now."""
    if word.state == UNKNOWN and word.fact is None and not row.new:
        group.ask.add(word.source_id)  # the quick poll missed it: the last known state stays until a full read
        return
    row.host_id, row.ref = word.host_id, word.ref
    row.state, row.state_reason = word.state, word.state_reason
    row.missing_since = None
    fact = word.fact or (word.unchanged if word.fact_hash != row.fact_hash else None)
    if fact is not None and word.fact_hash:
        row.fact, row.fact_hash = fact, word.fact_hash
    elif word.fact_hash != row.fact_hash:
        word.fact_hash = ""  # its host's next full read writes the content
        group.ask.add(word.source_id)
    if row.columns() != row.stored:
        row.evidence_at = max(row.evidence_at, word.heard_at)


def _drop_rows(group: Group, kept: list[GuestRow]) -> None:
    group.merged = [guest for guest in group.guests if guest not in kept and not guest.new]
    group.guests = [guest for guest in group.guests if guest in kept]


def _say_conflict(group: Group) -> None:
    many = len(group.guests) > 1
    for row in group.guests:
        row.conflict = (
            _("%(count)d guests with the UUID %(uuid)s are there at once. Give each its own UUID.")
            % {"count": len(group.guests), "uuid": group.uuid}
            if many
            else ""
        )
