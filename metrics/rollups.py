"""Coarser points made of finer ones, when a whole day or week of these is there.

What was made is remembered by period and object, so a crash repeats at most one batch; a block made twice is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from uuid import UUID

from django.db.models import F, Min, QuerySet, Subquery
from django.db.models.functions import Coalesce

from core.db import write_transaction
from metrics.blocks import Key, make_block, points_of, put_blocks
from metrics.levels import GRACE_S, ROLL_UPS, Grain
from metrics.models import LoadBlock, LoadPoll, LoadWork
from metrics.packing import Points, is_exact
from metrics.points import in_steps, merge
from metrics.turns import Turn

OBJECTS_AT_ONCE = 100


def rolled() -> dict[Grain, int]:
    """Up to when there are roll-ups of each grain. Units: seconds since 1970."""
    done = dict(LoadWork.objects.values_list("name", "done_until"))
    return {grain: done.get(_name(grain), 0) for grain in ROLL_UPS}


def rolled_in_query(grain: Grain) -> Coalesce:
    """The same of one grain, within another query."""
    return Coalesce(Subquery(LoadWork.objects.filter(name=_name(grain)).values("done_until")[:1]), 0)


def rolled_until(grain: Grain) -> int:
    return rolled()[grain]


def _name(grain: Grain) -> str:
    return f"every {grain.step} s"


def roll_up(grain: Grain, turn: Turn, now: int) -> Iterator[None]:
    """Make every roll-up of this grain that can be made by now, some objects at a time.

    Raises: TurnLost.
    Transaction: a short one for each part.
    """
    work, _made = LoadWork.objects.get_or_create(name=_name(grain))
    while (start := _next_period(grain, work, now)) is not None:
        while objects := _next_objects(grain, start, work.cursor):
            _write(grain, objects, start, turn, work)
            yield
        work.done_until, work.cursor = start + grain.block, None
        with write_transaction():
            turn.renew()
            work.save(update_fields=["done_until", "cursor"])


def _next_period(grain: Grain, work: LoadWork, now: int) -> int | None:
    """The start of the next period that is over and whose finer points are all there; none yet otherwise."""
    if work.cursor is not None:
        return work.done_until
    until = _finer_until(grain, now) // grain.block * grain.block
    known = LoadBlock.objects.filter(level=ROLL_UPS[grain].level, start__gte=work.done_until, start__lt=until)
    first = known.aggregate(start=Min("start"))["start"]
    if first is None:
        if until > work.done_until:  # nothing was measured since
            LoadWork.objects.filter(name=work.name, done_until__lt=until).update(done_until=until)
        return None
    work.done_until = max(work.done_until, int(first) // grain.block * grain.block)
    return work.done_until


def _finer_until(grain: Grain, now: int) -> int:
    """Up to when all finer points are there."""
    finer = ROLL_UPS[grain]
    if finer in ROLL_UPS:
        return rolled_until(finer)
    oldest = LoadPoll.objects.order_by("at").values_list("at", flat=True).first()
    return now - GRACE_S if oldest is None else min(oldest, now - GRACE_S)


def _next_objects(grain: Grain, start: int, cursor: UUID | None) -> list[UUID]:
    rows = _finer(grain, start) if cursor is None else _finer(grain, start).filter(object_id__gt=cursor)
    return list(rows.order_by("object_id").values_list("object_id", flat=True).distinct()[:OBJECTS_AT_ONCE])


def _finer(grain: Grain, start: int) -> QuerySet[LoadBlock]:
    """The finer blocks of one period, object by object.

    As sums, level and start keep databases from the index by time: with that they would sort a whole day of everything
    for each hundred objects.
    """
    rows = LoadBlock.objects.alias(on_level=F("level") + 0, begins=F("start") + 0)
    return rows.filter(on_level=ROLL_UPS[grain].level, begins__gte=start, begins__lt=start + grain.block)


def _write(grain: Grain, objects: Sequence[UUID], start: int, turn: Turn, work: LoadWork) -> None:
    blocks = make_roll_ups(grain, objects, start)
    work.cursor = objects[-1]
    with write_transaction():
        turn.renew()
        put_blocks(blocks)
        work.save(update_fields=["done_until", "cursor"])


def make_roll_ups(
    grain: Grain, objects: Sequence[UUID], start: int, before: Mapping[UUID, Points] | None = None
) -> list[LoadBlock]:
    """The blocks of one period, for those that have finer ones. `before`: what has to stay beside what these say."""
    stays = before or {}
    rows = LoadBlock.objects.filter(
        object_id__in=objects, level=ROLL_UPS[grain].level, start__gte=start, start__lt=start + grain.block
    )
    found: dict[UUID, list[tuple[int, bytes]]] = {}
    for object_id, at, packed in rows.order_by("object_id", "start").values_list("object_id", "start", "packed"):
        found.setdefault(object_id, []).append((at, bytes(packed)))
    return [
        make_block(grain, (object_id, start), _rolled(grain, parts, stays.get(object_id)), exact=is_exact(parts[-1][1]))
        for object_id, parts in found.items()
    ]


def _rolled(grain: Grain, parts: Sequence[tuple[int, bytes]], before: Points | None) -> Points:
    points = points_of(parts)
    made = in_steps(merge(points, max(part.series for part in points)), grain.step)
    return made if before is None else merge([before, made], max(before.series, made.series))


Period = tuple[Grain, int]  # and its start


def late_periods(keys: Iterable[Key]) -> dict[Period, list[UUID]]:
    """Of these objects' hours, what is rolled up already, finer periods first."""
    done = {
        name: (until, cursor) for name, until, cursor in LoadWork.objects.values_list("name", "done_until", "cursor")
    }
    late: dict[Period, set[UUID]] = {}
    for grain in ROLL_UPS:
        until, cursor = done.get(_name(grain), (0, None))
        for object_id, start in keys:
            period = start // grain.block * grain.block
            if period < until or (period == until and cursor is not None and object_id <= cursor):
                late.setdefault((grain, period), set()).add(object_id)
    return {period: sorted(objects) for period, objects in late.items()}


def redo(late: Mapping[Period, Sequence[UUID]], turn: Turn) -> None:
    """Make these roll-ups again. What they have of finer points that are kept no longer stays.

    Raises: TurnLost.
    Transaction: its own for each hundred objects.
    """
    for (grain, start), objects in late.items():
        for first in range(0, len(objects), OBJECTS_AT_ONCE):
            blocks = _made_again(grain, objects[first : first + OBJECTS_AT_ONCE], start)
            with write_transaction():
                turn.renew()
                put_blocks(blocks)


def _made_again(grain: Grain, objects: Sequence[UUID], start: int) -> list[LoadBlock]:
    rows = LoadBlock.objects.filter(object_id__in=objects, level=grain.level, start=start)
    before = {one: points_of([(start, packed)])[0] for one, packed in rows.values_list("object_id", "packed")}
    return make_roll_ups(grain, objects, start, before)
