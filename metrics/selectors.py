"""The load of one object over a time, from whatever is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
from django.db.models import BinaryField, Case, DateTimeField, Min, Q, QuerySet, Value, When
from django.utils import timezone

from access.models import may
from access.roles import Action
from metrics.blocks import points_of
from metrics.hours import ID_BYTES, series_in
from metrics.levels import FIVE_MINUTES, HOUR, RAW, Grain
from metrics.models import GuestLoad, Level, Load, LoadBlock, LoadPoll, LoadTrail
from metrics.packing import Points, decode, nothing, samples
from metrics.points import between, in_steps, merge
from metrics.rollups import rolled, rolled_in_query
from metrics.series import KINDS, Unit
from metrics.services import LONGEST_S

# Units: seconds. 0: as it was measured.
STEPS = (0, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 604800)
MOST_POINTS = 2000
# The shortest time between two measurements, and after what there must have been another one.
MEASURED_EVERY = {"guest": 30, "host": 30, "datastore": 240}
GAP_AFTER = {"guest": 100, "host": 100, "datastore": 1000}


class Ago(Value):
    """So long before the query runs: an expression may be older than that."""

    def __init__(self, back: timedelta) -> None:
        super().__init__(back, output_field=DateTimeField())

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        moment = Value(timezone.now() - self.value, output_field=DateTimeField())
        return moment.as_sql(compiler, connection)


L = TypeVar("L", bound=Load)


def latest_loads(model: type[L]) -> QuerySet[L]:
    """The latest load of each object, as far as it tells of now: of ten polls at least one must have been read."""
    return model._default_manager.filter(read_at__gte=Ago(timedelta(seconds=LONGEST_S)))


@dataclass(frozen=True, slots=True)
class LoadSeries:
    """`step`: how far apart the points are, 0 as measured; `since`: the first that is known at all.

    Units: seconds since 1970; those of the series by name.
    """

    kind: str
    start: int
    end: int
    step: int
    since: int | None
    points: Points

    @property
    def units(self) -> dict[str, Unit]:
        return KINDS[self.kind]

    @property
    def gap(self) -> int:
        """Between points further apart than this many seconds, nothing is known."""
        return max(GAP_AFTER[self.kind], self.step * 3 // 2)


def load_series(*, user: Any, kind: str, object_id: UUID, start: int, end: int, step: int = 0) -> LoadSeries:
    """What is known of an object from `start` on, before `end`, in steps not finer than asked for.

    Whoever asks looks the object up first, among those this user may see.
    Units: seconds since 1970; `step` in seconds, 0 as measured.
    """
    if not may(user, Action.VIEW):
        return LoadSeries(kind, start, end, step, None, nothing(len(KINDS[kind])))
    step = _step(kind, start, end, step)
    first = _first_starts(user, object_id)
    parts: list[Points] = []
    for grain, begin, finish in _spans(start, end, step, first):
        if grain is not RAW and finish > begin and first.get(grain.level, end) < finish:
            step = max(step, grain.step)
        parts += _stored(user, grain, object_id, begin, finish)
    # Polls are read first: one that is packed meanwhile is found twice rather than never.
    points = between(merge(parts, len(KINDS[kind])), start, end)
    return LoadSeries(
        kind, start, end, step, _since(user, object_id, first), in_steps(points, step) if step else points
    )


def recent_series(*, user: Any, kind: str, object_id: UUID, start: int, end: int, step: int = 0) -> LoadSeries:
    """The same in one query, for a small picture beside other things: nobody asked since when it is measured.

    From raw points for steps under five minutes; otherwise from the coarsest that are made yet.
    Units: seconds since 1970; `step` in seconds, 0 as measured.
    """
    blocks = LoadBlock.objects.restrict(user, Action.VIEW).filter(_lasting(start, step), object_id=object_id)
    polls = LoadPoll.objects.restrict(user, Action.VIEW).filter(at__gte=start, at__lt=end)
    # One part for each way to find the group: with OR between them a database may read all polls of that time.
    groups = _groups_in_query(user, object_id)
    told = [polls.filter(group_id__in=group).order_by().values_list(*_POLL) for group in groups]
    rows = blocks.filter(start__lt=end).order_by().values_list(*_BLOCK).union(*told, all=True)
    points = merge([part for row in rows if (part := _part(object_id.bytes, *row))], len(KINDS[kind]))
    points = between(points, start, end)
    return LoadSeries(kind, start, end, step, None, in_steps(points, step) if step else points)


# Blocks and polls in one list: first a block's level, or what kind of poll it is.
_PLAIN_POLL, _EXACT_POLL = 10, 11
_BLOCK = ("level", "start", "packed", Value(b"", output_field=BinaryField()))
_POLL = (Case(When(exact=True, then=_EXACT_POLL), default=_PLAIN_POLL), "at", "objects_packed", "values_packed")


def _lasting(start: int, step: int) -> Q:
    """Which blocks hold the points from `start` on, each point once."""
    if step < FIVE_MINUTES.step:
        return Q(level=Level.RAW, start__gt=start - RAW.block)
    return (
        Q(level=Level.HOUR, start__gt=start - HOUR.block)
        | Q(level=Level.FIVE_MINUTES, start__gt=start - FIVE_MINUTES.block, start__gte=rolled_in_query(HOUR))
        | Q(level=Level.RAW, start__gt=start - RAW.block, start__gte=rolled_in_query(FIVE_MINUTES))
    )


def _groups_in_query(user: Any, object_id: UUID) -> tuple[Any, ...]:
    now = GuestLoad.objects.filter(pk=object_id).exclude(host_id=None).values("host_id")
    trails = LoadTrail.objects.restrict(user, Action.VIEW).filter(object_id=object_id)
    return [object_id], now, trails.values("group_id")


def _part(key: bytes, what: int, at: int, first: Any, second: Any) -> Points | None:
    if what < _PLAIN_POLL:
        return points_of([(at, first)])[0]
    values = _values_of(key, what == _EXACT_POLL, first, second)
    return None if values is None else samples(np.array([at], np.int64), values.T)


def _step(kind: str, start: int, end: int, step: int) -> int:
    """The finest step that is not finer than asked for and gives no more points than anybody can look at."""
    finest = max(step, 300 if MEASURED_EVERY[kind] > STEPS[1] else 0)
    for one in STEPS:
        if one >= finest and (end - start) / (one or MEASURED_EVERY[kind]) <= MOST_POINTS:
            return one
    return STEPS[-1]


def _first_starts(user: Any, object_id: UUID) -> dict[int, int]:
    """Since when there are blocks, by level."""
    blocks = LoadBlock.objects.restrict(user, Action.VIEW).filter(object_id=object_id)
    return dict(blocks.values_list("level").annotate(first=Min("start")))


def _spans(start: int, end: int, step: int, first: dict[int, int]) -> Iterator[tuple[Grain, int, int]]:
    """Which grain to read from when to when: never finer than needed, but what there is."""
    done = rolled()
    coarse_until, medium_until = done[HOUR], done[FIVE_MINUTES]
    if step < FIVE_MINUTES.step:
        medium_until = min(medium_until, first.get(Level.RAW, medium_until))
    if step < HOUR.step:
        coarse_until = min(coarse_until, first.get(Level.FIVE_MINUTES, coarse_until))
    coarse_until = min(max(coarse_until, start), end)
    medium_until = min(max(medium_until, coarse_until), end)
    yield RAW, medium_until, end
    yield FIVE_MINUTES, coarse_until, medium_until
    yield HOUR, start, coarse_until


def _stored(user: Any, grain: Grain, object_id: UUID, start: int, end: int) -> list[Points]:
    if end <= start:
        return []
    waiting = _waiting(user, object_id, start, end) if grain is RAW else []
    blocks = LoadBlock.objects.restrict(user, Action.VIEW).filter(
        object_id=object_id, level=grain.level, start__gt=start - grain.block, start__lt=end
    )
    parts = points_of(blocks.order_by("start").values_list("start", "packed"))
    return [between(part, start, end) for part in parts] + waiting


def _waiting(user: Any, object_id: UUID, start: int, end: int) -> list[Points]:
    """Of polls that are not packed yet: of its host, of hosts it was on before, or of itself."""
    polls = LoadPoll.objects.restrict(user, Action.VIEW).filter(
        group_id__in=_groups(user, object_id), at__gte=start, at__lt=end
    )
    key = object_id.bytes
    found = [
        (row[0], values)
        for row in polls.order_by("at", "id").values_list("at", "exact", "objects_packed", "values_packed")
        if (values := _values_of(key, *row[1:])) is not None
    ]
    return [samples(np.array([at], np.int64), values.T) for at, values in found]


def _groups(user: Any, object_id: UUID) -> set[UUID]:
    now = GuestLoad.objects.filter(pk=object_id).exclude(host_id=None).values_list("host_id", flat=True)
    trails = LoadTrail.objects.restrict(user, Action.VIEW).filter(object_id=object_id)
    return {object_id, *now, *trails.values_list("group_id", flat=True)}  # type: ignore[arg-type]


def _values_of(key: bytes, exact: bool, objects: Any, values: Any) -> Any:
    """Shape: 1 x series; none when the poll does not tell of this object."""
    packed, numbers = bytes(objects), bytes(values)
    position = packed.find(key)
    while position % ID_BYTES and position >= 0:
        position = packed.find(key, position + 1)
    if position < 0:
        return None
    width = len(numbers) // (len(packed) // ID_BYTES)
    row = numbers[position // ID_BYTES * width :][:width]
    return decode(row, series_in(width, 1, exact=exact), exact=exact)


def _since(user: Any, object_id: UUID, first: dict[int, int]) -> int | None:
    """The first moment anything is known of, to the second where it is kept."""
    if first:
        level = min(first, key=lambda one: (first[one], one))
        block = LoadBlock.objects.restrict(user, Action.VIEW).get(object_id=object_id, level=level, start=first[level])
        return int(points_of([(block.start, block.packed)])[0].times[0])
    waiting = _waiting(user, object_id, 0, 2**62)
    return int(waiting[0].times[0]) if waiting else None
