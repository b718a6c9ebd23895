"""Dropping what is older than is to be kept, a little at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from core.db import write_transaction
from metrics.levels import FIVE_MINUTES, HOUR, RAW, Grain, kept_since
from metrics.models import LoadBlock
from metrics.rollups import rolled_until
from metrics.services import forget_unread
from metrics.turns import Turn

BLOCKS_AT_ONCE = 500
# The latest load of what nobody reads is of no use after that; also that of what is no more.
UNREAD_S = 86_400


def prune(turn: Turn, now: int) -> Iterator[None]:
    """Nothing goes before its roll-up is made.

    Raises: TurnLost.
    Transaction: a short one for each part.
    """
    for grain, coarser in ((RAW, FIVE_MINUTES), (FIVE_MINUTES, HOUR), (HOUR, None)):
        limit = kept_since(grain, now)
        if coarser is not None:
            limit = min(limit, rolled_until(coarser))
        while _drop_some(grain, limit - grain.block, turn):
            yield


def drop_unread(turn: Turn, now: int) -> Iterator[None]:
    """Raises: TurnLost."""
    while forget_unread(datetime.fromtimestamp(now - UNREAD_S, UTC)):
        turn.renew()
        yield


def _drop_some(grain: Grain, last_start: int, turn: Turn) -> bool:
    """Of the oldest period; whether there was any."""
    old = LoadBlock.objects.filter(level=grain.level, start__lte=last_start).order_by("start")
    start = old.values_list("start", flat=True).first()
    if start is None:
        return False
    period = LoadBlock.objects.filter(level=grain.level, start=start)
    objects = list(period.values_list("object_id", flat=True)[:BLOCKS_AT_ONCE])
    with write_transaction():
        turn.renew()
        period.filter(object_id__in=objects)._raw_delete("default")
    return True
