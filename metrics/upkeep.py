"""All that has to be done with samples after they were written, in small parts."""

from __future__ import annotations

import time
from collections.abc import Iterator

from metrics.hours import pack_hours
from metrics.levels import FIVE_MINUTES, HOUR
from metrics.retention import drop_unread, prune
from metrics.rollups import roll_up
from metrics.turns import Turn, TurnLost, take_turn

# Of each minute at most so long: the worker's other threads have work, too.
BUDGET_S = 20.0


def keep_up(*, now: float | None = None, budget_s: float = BUDGET_S) -> bool:
    """Pack, roll up and drop what is due; whether all of it is done.

    Transaction: many short ones.
    """
    turn = take_turn("upkeep")
    if turn is None:
        return False
    until = time.monotonic() + budget_s
    try:
        for _part in _parts(turn, int(time.time() if now is None else now)):
            if time.monotonic() > until:
                return False
    except TurnLost:
        return False
    finally:
        turn.end()
    return True


def _parts(turn: Turn, now: int) -> Iterator[None]:
    yield from pack_hours(turn, now)
    yield from roll_up(FIVE_MINUTES, turn, now)
    yield from roll_up(HOUR, turn, now)
    yield from prune(turn, now)
    yield from drop_unread(turn, now)
