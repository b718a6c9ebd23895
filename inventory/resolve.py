"""Where a guest is, judged from what every host says of it. Pure: no database.

One word is what one host says, with the moment that read began. Running beats paused, paused beats off. When two hosts
say "running", one word is simply older, unless both say it again in turn: the claimant, then the holder, then the
claimant once more. Until that is known the guest stays where it stands and the host whose word is older is asked again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

RUNNING = "running"
OFF = "off"
UNKNOWN = "unknown"
# Which state wins when no host says "running". A guest that is off somewhere may be a copy left behind.
RANK = {RUNNING: 0, "paused": 1, "suspended": 2, "crashed": 3, OFF: 4, UNKNOWN: 5}


@dataclass(slots=True, eq=False)
class Word:
    """What one host says of one guest.

    `said_at`: since when it says exactly this. `heard_at`: the newest read that confirms it. `askable`: whether its
    source answers now.
    """

    host_id: UUID
    source_id: UUID
    ref: str
    state: str
    said_at: datetime
    heard_at: datetime
    askable: bool
    contested: bool = False
    claimed_at: datetime | None = None

    @property
    def runs(self) -> bool:
        return self.state == RUNNING


@dataclass(slots=True)
class Verdict:
    """`winner` is where the guest stands; `conflicts` truly run elsewhere as well; `ask` are sources to read now."""

    winner: Word | None
    conflicts: list[Word] = field(default_factory=list)
    ask: set[UUID] = field(default_factory=set)


def judge(holder: Word | None, words: Iterable[Word]) -> Verdict:
    """Decide where the guest stands, and mark each word as contested or settled.

    `holder` is the word of the host the guest stands on now, if that host still says anything.
    """
    everything = list(words)
    for word in everything:
        word.contested = False
    running = [word for word in everything if word.runs]
    winner = _first(holder, running or everything)
    verdict = Verdict(winner)
    for word in everything:
        if word is verdict.winner or not word.runs:
            word.claimed_at = None
    for claimant in running:
        if claimant is not verdict.winner:
            _weigh(verdict, claimant)
    return verdict


def _first(holder: Word | None, candidates: list[Word]) -> Word | None:
    """The holder if it is among the best, else the newest of those.

    A paused guest has its memory on a host: where nobody can ask the holder, a newer word of that counts, as of those
    that run. One that is off may be a copy left behind, which is no reason to move.
    """
    if not candidates:
        return None
    best = min(RANK[word.state] for word in candidates)
    equals = [word for word in candidates if RANK[word.state] == best]
    if holder is not None and holder in equals and not holder.askable and best == RANK["paused"]:
        equals = [word for word in equals if word is holder or (word.askable and word.heard_at > holder.heard_at)]
    elif holder in equals:
        return holder
    return max(equals, key=lambda word: (word.heard_at, str(word.host_id), word.ref))


def _weigh(verdict: Verdict, claimant: Word) -> None:
    """Both run, as they say. Move the guest, wait for a newer word, or call it a conflict."""
    holder = verdict.winner
    assert holder is not None  # noqa: S101 (a claimant was compared with a winner)
    claimant.contested = True
    if claimant.claimed_at is None:
        if claimant.heard_at <= holder.said_at:  # from before the guest ran where it stands
            _ask(verdict, claimant)
            return
        claimant.claimed_at = claimant.heard_at
    if not holder.askable and claimant.askable:
        _take_over(verdict, holder, claimant)
    elif holder.heard_at <= claimant.claimed_at:
        _ask(verdict, holder)
    elif _is_after(claimant, holder):
        verdict.conflicts.append(claimant)
    else:
        _ask(verdict, claimant)


def _is_after(claimant: Word, holder: Word) -> bool:
    """Two hosts of one source are read at once: there, the same read counts."""
    if claimant.source_id == holder.source_id:
        return claimant.heard_at >= holder.heard_at
    return claimant.heard_at > holder.heard_at


def _ask(verdict: Verdict, word: Word) -> None:
    if word.askable:
        verdict.ask.add(word.source_id)


def _take_over(verdict: Verdict, holder: Word, claimant: Word) -> None:
    """The holder's host cannot be asked: the newer word counts until it answers again."""
    verdict.winner = claimant
    claimant.contested = False
    claimant.claimed_at = None
    holder.contested = True
    holder.claimed_at = None
