"""Polls of an hour that is over become a block for each object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np

from core.db import write_transaction
from metrics.blocks import Key, make_block, points_of, put_blocks
from metrics.levels import GRACE_S, HOUR_S, RAW
from metrics.models import LoadBlock, LoadPoll, LoadTrail
from metrics.packing import Floats, Points, decode, samples
from metrics.points import merge
from metrics.rollups import late_periods, redo
from metrics.turns import Turn

POLLS_LOOKED_AT = 2000
# So many hosts together, usually a few hundred blocks; and of hosts with a thousand guests so many blocks in one
# transaction, which is short on SQLite, too.
GROUPS_AT_ONCE = 10
BLOCKS_AT_ONCE = 1000
ID_BYTES = 16


def due_until(now: int) -> int:
    """The end of the last hour that is over."""
    return (now - GRACE_S) // HOUR_S * HOUR_S


def pack_hours(turn: Turn, now: int) -> Iterator[None]:
    """Pack what is due, some hosts at a time; what was rolled up of these hours already is made again.

    Raises: TurnLost.
    Transaction: several short ones for each part; the last one takes its polls away.
    """
    until = due_until(now)
    while groups := _due_groups(until):
        for start in range(0, len(groups), GROUPS_AT_ONCE):
            _pack(groups[start : start + GROUPS_AT_ONCE], until, turn)
            yield
    oldest = LoadPoll.objects.order_by("at").values_list("at", flat=True).first()
    LoadTrail.objects.filter(until__lte=until if oldest is None else oldest).delete()


def _due_groups(until: int) -> list[UUID]:
    due = LoadPoll.objects.filter(at__lt=until).order_by("at").values_list("group_id", flat=True)
    return list(dict.fromkeys(due[:POLLS_LOOKED_AT]))


def _pack(groups: Sequence[UUID], until: int, turn: Turn) -> None:
    polls = LoadPoll.objects.filter(group_id__in=groups, at__lt=until).order_by("at", "id")
    gathered = _Gathered()
    for row in polls.values_list("id", "at", "exact", "objects_packed", "values_packed"):
        gathered.add(*row)
    found = gathered.points()
    known = _known(found)
    blocks = [
        make_block(RAW, key, _together(known.get(key), points), exact=key in gathered.exact)
        for key, points in found.items()
    ]
    for start in range(0, len(blocks), BLOCKS_AT_ONCE):
        with write_transaction():
            turn.renew()
            put_blocks(blocks[start : start + BLOCKS_AT_ONCE])
    redo(late_periods(found), turn)
    # The polls go last: whoever comes after a crash in between does all of it again, which changes nothing.
    with write_transaction():
        turn.renew()
        LoadPoll.objects.filter(pk__in=gathered.polls)._raw_delete("default")


@dataclass(slots=True)
class _Gathered:
    """The polls of some hosts, taken apart: for each object's hour, which seconds and which rows of which poll."""

    polls: list[int] = field(default_factory=list)
    exact: set[Key] = field(default_factory=set)
    # By the packed id: to hash a UUID for each sample takes longer than all the rest.
    _samples: dict[tuple[bytes, int], list[tuple[int, Floats]]] = field(default_factory=dict)

    def add(self, poll: int, at: int, exact: bool, objects: Any, values: Any) -> None:
        self.polls.append(poll)
        packed, hour = bytes(objects), at // HOUR_S * HOUR_S
        rows = decode(bytes(values), series_in(len(values), len(packed) // ID_BYTES, exact=exact), exact=exact)
        for position, row in enumerate(rows):
            key = packed[position * ID_BYTES : (position + 1) * ID_BYTES], hour
            self._samples.setdefault(key, []).append((at, row))
            if exact:
                self.exact.add((UUID(bytes=key[0]), hour))

    def points(self) -> dict[Key, Points]:
        return {(UUID(bytes=packed), hour): _points(rows) for (packed, hour), rows in self._samples.items()}


def _points(rows: list[tuple[int, Floats]]) -> Points:
    times = np.array([at for at, _row in rows], np.int64)
    series = max(len(row) for _at, row in rows)
    return samples(times, np.array([_widen(row, series) for _at, row in rows]).T)


def _widen(row: Floats, series: int) -> Floats:
    """A poll from before a series was added says nothing of it."""
    return row if len(row) == series else np.pad(row, (0, series - len(row)), constant_values=np.nan)


def series_in(length: int, objects: int, *, exact: bool) -> int:
    """How many series a poll's values have."""
    return length // (objects * (8 if exact else 2))


def _known(keys: Iterable[Key]) -> dict[Key, Points]:
    """Blocks that are there: of a guest that moved in that hour, or of polls that came late."""
    keys = set(keys)
    rows = LoadBlock.objects.filter(
        object_id__in={key[0] for key in keys}, level=RAW.level, start__in={key[1] for key in keys}
    )
    found = {(row[0], row[1]): row[1:] for row in rows.values_list("object_id", "start", "packed")}
    return {key: points_of([row])[0] for key, row in found.items() if key in keys}


def _together(known: Points | None, points: Points) -> Points:
    parts = [points] if known is None else [known, points]
    return merge(parts, max(part.series for part in parts))
