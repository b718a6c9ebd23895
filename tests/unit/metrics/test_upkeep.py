"""Packing hours, rolling up, dropping, and reading across all of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from access.models import User
from access.roles import Role
from drivers.types import HostLoadFact
from metrics import hours, retention, rollups
from metrics.levels import FIVE_MINUTES
from metrics.models import DatastoreLoad, GuestLoad, HostLoad, Level, LoadBlock, LoadPoll, LoadTrail, LoadWork
from metrics.packing import Points
from metrics.selectors import LoadSeries, latest_loads, load_series, recent_series
from metrics.services import (
    DatastoreReading,
    GuestReading,
    HostReading,
    forget_guest_loads,
    record_datastores,
    record_loads,
)
from metrics.turns import Turn, TurnLost, take_turn
from metrics.upkeep import keep_up
from tests.facts import GIB, load_fact

pytestmark = pytest.mark.django_db
GUEST, HOST, OTHER = (UUID(int=number) for number in (1, 2, 3))
# A Thursday, on which the weeks of blocks begin.
BEGAN = int(datetime(2026, 2, 26, tzinfo=UTC).timestamp())
HOUR, DAY, WEEK = 3600, 86400, 7 * 86400
Sample = tuple[int, float]  # second, percent


def record(seconds: Sequence[int], *, guest: UUID = GUEST, host: UUID = HOST, seed: int = 1) -> list[Sample]:
    """Poll a guest at these seconds; what its CPU was, from the second one on."""
    chance, busy, told = random.Random(seed), 0, []
    before: int | None = None
    for second in seconds:
        if before is not None:
            percent = chance.randrange(0, 101)
            busy += percent * 10**7 * (second - before)
            if second - before <= 300:
                told.append((BEGAN + second, float(percent)))
        before = second
        reading = GuestReading(guest, host, 1, load_fact(busy, 0))
        record_loads([reading], [], read_at=datetime.fromtimestamp(BEGAN + second, UTC))
    return told


def read(start: int, end: int, step: int = 0, object_id: UUID = GUEST, kind: str = "guest") -> LoadSeries:
    user = User(role=Role.VIEWER)
    return load_series(user=user, kind=kind, object_id=object_id, start=BEGAN + start, end=BEGAN + end, step=step)


def cpu(points: Points) -> list[Sample]:
    known = [(at, value) for at, value in zip(points.times.tolist(), points.average[0].tolist(), strict=True)]
    return [(at, round(value, 6)) for at, value in known if not np.isnan(value)]


def test_what_was_polled_is_read_before_and_after_it_is_packed() -> None:
    told = record(range(0, 3 * HOUR, 120))
    assert cpu(read(0, 3 * HOUR).points) == told
    assert keep_up(now=BEGAN + 3 * HOUR + 60)  # the third hour is not over for sure
    assert LoadBlock.objects.count() == 2
    assert LoadPoll.objects.filter(at__lt=BEGAN + 2 * HOUR).count() == 0
    assert cpu(read(0, 3 * HOUR).points) == told
    assert keep_up(now=BEGAN + 4 * HOUR)
    assert (LoadPoll.objects.count(), LoadBlock.objects.count()) == (0, 3)
    assert cpu(read(0, 3 * HOUR).points) == told


def test_packing_twice_is_packing_once() -> None:
    """A crash after the blocks were written leaves their polls: they are packed again, and count once."""
    told = record(range(0, HOUR, 30))
    polls = list(LoadPoll.objects.all())
    keep_up(now=BEGAN + 2 * HOUR)
    LoadPoll.objects.bulk_create(polls)
    assert cpu(read(0, HOUR).points) == told
    keep_up(now=BEGAN + 2 * HOUR)
    assert cpu(read(0, HOUR).points) == told
    assert LoadPoll.objects.count() == 0


def test_a_guest_that_moved_keeps_its_samples_of_both_hosts() -> None:
    told = record(range(0, 600, 30)) + record(range(600, 1200, 30), host=OTHER)
    assert cpu(read(0, HOUR).points) == told
    forget_guest_loads([GUEST], read_at=timezone.now())
    assert cpu(read(0, HOUR).points) == told  # stopped, and still found
    keep_up(now=BEGAN + 2 * HOUR)
    assert cpu(read(0, HOUR).points) == told
    assert not LoadTrail.objects.exists()


def test_a_gap_is_a_gap() -> None:
    told = record([0, 30, 60, 1800, 1830])
    assert [at - BEGAN for at, _percent in told] == [30, 60, 1830]
    assert cpu(read(0, HOUR).points) == told
    assert [at - BEGAN for at, _percent in cpu(read(0, HOUR, 300).points)] == [0, 1800]


def steps_of(told: Sequence[Sample], step: int) -> dict[int, list[float]]:
    rows: dict[int, list[float]] = {}
    for at, percent in told:
        rows.setdefault(at // step * step, []).append(percent)
    return rows


def same_as(points: Points, told: Sequence[Sample], step: int) -> None:
    """Whether these steps are what brute force makes of the samples, within what 16 bits keep."""
    rows = steps_of(told, step)
    assert [at for at, _value in cpu(points)] == list(rows)
    known = ~np.isnan(points.average[0])
    assert points.low[0][known].tolist() == [min(row) for row in rows.values()]
    assert points.high[0][known].tolist() == [max(row) for row in rows.values()]
    assert np.allclose(points.average[0][known], [sum(row) / len(row) for row in rows.values()], rtol=2.0**-7)


def test_roll_ups_are_what_brute_force_makes_of_the_samples() -> None:
    told = record([day * DAY + second for day in range(9) for second in range(0, 2 * HOUR, 110)])
    assert keep_up(now=BEGAN + 9 * DAY + HOUR, budget_s=600)
    assert set(LoadBlock.objects.values_list("level", flat=True)) == {Level.RAW, Level.FIVE_MINUTES, Level.HOUR}
    same_as(read(0, 9 * DAY, HOUR).points, told, HOUR)
    same_as(read(DAY, 3 * DAY, 300).points, [one for one in told if DAY <= one[0] - BEGAN < 3 * DAY], 300)
    # Raw samples are there for the last two days alone; asked for finer, older ones come in five minutes.
    older = read(DAY, DAY + HOUR)
    assert older.step == 300
    assert cpu(read(8 * DAY, 8 * DAY + HOUR).points) == [
        one for one in told if 8 * DAY <= one[0] - BEGAN < 8 * DAY + HOUR
    ]


def test_rolling_up_again_changes_nothing() -> None:
    record([day * DAY + second for day in range(2) for second in range(0, 3 * HOUR, 200)])
    keep_up(now=BEGAN + 2 * DAY + 300, budget_s=600)
    before = list(LoadBlock.objects.order_by("level", "start").values_list("level", "start", "packed"))
    LoadWork.objects.exclude(name="upkeep").delete()
    keep_up(now=BEGAN + 2 * DAY + 300, budget_s=600)
    after = list(LoadBlock.objects.order_by("level", "start").values_list("level", "start", "packed"))
    assert [(one[0], one[1], bytes(one[2])) for one in after] == [(one[0], one[1], bytes(one[2])) for one in before]


def test_upkeep_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "OBJECTS_AT_ONCE", 1)
    monkeypatch.setattr(hours, "GROUPS_AT_ONCE", 1)
    guests = [UUID(int=number) for number in range(10, 15)]
    told = {guest: record(range(0, HOUR, 300), guest=guest, host=guest, seed=guest.int) for guest in guests}
    rounds = 0
    while not keep_up(now=BEGAN + DAY + HOUR, budget_s=0.0):
        rounds += 1
        assert rounds < 50
    assert rounds >= 2 * len(guests)  # each round did one part
    for guest in guests:
        same_as(read(0, HOUR, 300, guest).points, told[guest], 300)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's plan")
def test_objects_to_roll_up_are_found_without_sorting_all_of_a_day() -> None:
    with CaptureQueriesContext(connection) as seen:
        rollups._next_objects(FIVE_MINUTES, BEGAN, GUEST)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {seen.captured_queries[0]['sql']}")
        plan = [row[-1] for row in cursor.fetchall()]
    assert len(plan) == 1, plan
    assert "COVERING INDEX sqlite_autoindex_metrics_loadblock_1 (object_id>?" in plan[0]


def test_what_comes_late_reaches_roll_ups_that_were_made() -> None:
    told = record(range(0, HOUR, 300))
    keep_up(now=BEGAN + 2 * DAY, budget_s=600)
    late = record(range(2 * HOUR, 3 * HOUR, 300), host=OTHER)
    keep_up(now=BEGAN + 2 * DAY + HOUR, budget_s=600)
    same_as(read(0, DAY, 300).points, told + late, 300)


def test_what_comes_late_reaches_a_roll_up_that_is_half_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "OBJECTS_AT_ONCE", 1)
    last = UUID(int=9)
    told = record(range(0, HOUR, 300))
    record(range(0, HOUR, 300), guest=last, host=last)
    rounds = 0
    while LoadWork.objects.filter(cursor=GUEST).count() == 0:
        keep_up(now=BEGAN + 2 * DAY, budget_s=0.0)
        rounds += 1
        assert rounds < 10
    late = record(range(2 * HOUR, 3 * HOUR, 300), host=OTHER)
    keep_up(now=BEGAN + 4 * DAY, budget_s=600)  # by then the raw points are gone
    same_as(read(0, DAY, 300).points, told + late, 300)


def test_what_comes_late_reaches_roll_ups_after_a_crash_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    told = record(range(0, HOUR, 300))
    keep_up(now=BEGAN + 2 * DAY, budget_s=600)
    late = record(range(2 * HOUR, 3 * HOUR, 300), host=OTHER)

    def crash(*_args: Any) -> None:
        raise TurnLost

    with monkeypatch.context() as patch:
        patch.setattr(rollups, "make_roll_ups", crash)
        assert not keep_up(now=BEGAN + 2 * DAY + HOUR, budget_s=600)
    keep_up(now=BEGAN + 4 * DAY, budget_s=600)
    same_as(read(0, DAY, 300).points, told + late, 300)


def test_what_comes_late_takes_nothing_from_roll_ups_whose_points_are_gone() -> None:
    """As after the clock was days ahead and is set back."""
    told = record(range(0, HOUR, 300))
    keep_up(now=BEGAN + 4 * DAY, budget_s=600)
    assert not LoadBlock.objects.filter(level=Level.RAW).exists()
    late = record(range(2 * HOUR, 3 * HOUR, 300), host=OTHER)
    keep_up(now=BEGAN + 4 * DAY, budget_s=600)
    same_as(read(0, DAY, 300).points, told + late, 300)


def test_nothing_is_dropped_before_it_is_rolled_up(settings: Any) -> None:
    settings.LOAD_RAW_DAYS = 2
    record(range(0, HOUR, 300))
    turn = take_turn("test")
    assert turn
    for _part in hours.pack_hours(turn, BEGAN + 2 * HOUR):
        pass
    assert list(retention.prune(turn, BEGAN + 30 * DAY)) == []
    assert LoadBlock.objects.filter(level=Level.RAW).exists()


def test_what_is_older_than_is_kept_goes(settings: Any) -> None:
    told = record(range(0, HOUR, 300))
    keep_up(now=BEGAN + 3 * DAY, budget_s=600)
    assert set(LoadBlock.objects.values_list("level", flat=True)) == {Level.FIVE_MINUTES}
    keep_up(now=BEGAN + 60 * DAY, budget_s=600)
    assert set(LoadBlock.objects.values_list("level", flat=True)) == {Level.HOUR}
    same_as(read(0, DAY, 300).points, told, HOUR)  # coarser than asked for, and says so
    assert read(0, DAY, 300).step == HOUR
    keep_up(now=BEGAN + 800 * DAY, budget_s=600)
    assert not LoadBlock.objects.exists()


def test_only_one_does_the_upkeep_at_a_time() -> None:
    first = take_turn("upkeep")
    assert first
    assert take_turn("upkeep") is None
    assert not keep_up(now=BEGAN)
    LoadWork.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    second = take_turn("upkeep")
    assert second
    with pytest.raises(TurnLost):
        first.renew()
    second.renew()


def test_a_turn_taken_before_the_clock_was_set_back_does_not_last_until_then() -> None:
    assert take_turn("upkeep")
    LoadWork.objects.update(lease_until=timezone.now() + timedelta(days=1))
    assert take_turn("upkeep")


def test_who_lost_the_turn_writes_nothing() -> None:
    record(range(0, HOUR, 300))
    with pytest.raises(TurnLost):
        next(iter(hours.pack_hours(Turn("upkeep", 99), BEGAN + 2 * HOUR)))
    assert LoadPoll.objects.exists()
    assert not LoadBlock.objects.exists()


def test_datastores_are_kept_to_the_byte_also_in_roll_ups() -> None:
    store = uuid4()
    for second in range(0, 2 * DAY, 300):
        reading = DatastoreReading(store, 100 * GIB + 1, 40 * GIB + second)
        record_datastores([reading], read_at=datetime.fromtimestamp(BEGAN + second, UTC))
    keep_up(now=BEGAN + 2 * DAY + HOUR, budget_s=600)
    found = read(0, HOUR, HOUR, store, "datastore").points
    assert found.average[0].tolist() == [100 * GIB + 1]
    assert found.low[2].tolist() == [40 * GIB]
    assert found.high[2].tolist() == [40 * GIB + 3300]


def test_a_host_is_read_by_its_own_id() -> None:
    for second in (0, 30):
        reading = HostReading(HOST, HostLoadFact("h", second * 5, second * 10, GIB, 4 * GIB))
        record_loads([], [reading], read_at=datetime.fromtimestamp(BEGAN + second, UTC))
    found = read(0, HOUR, 0, HOST, "host")
    assert cpu(found.points) == [(BEGAN + 30, 50.0)]
    assert found.since == BEGAN


def test_nobody_without_a_right_to_look_reads_anything() -> None:
    record(range(0, 300, 30))
    nobody = User(role=Role.VIEWER, is_active=False)
    found = load_series(user=nobody, kind="guest", object_id=GUEST, start=BEGAN, end=BEGAN + HOUR)
    assert (len(found.points.times), found.since) == (0, None)


def test_a_year_is_not_given_in_seconds() -> None:
    assert read(0, 365 * DAY, 0).step == 21600
    assert read(0, HOUR).step == 0
    assert read(0, HOUR, 45).step == 60


def test_the_latest_load_of_what_nobody_reads_is_forgotten() -> None:
    """Of guests and datastores that are no more, and of hosts that were lost; their past stays."""
    for age, number in ((HOUR, 1), (2 * DAY, 2)):
        moment = datetime.fromtimestamp(BEGAN - age, UTC)
        one = UUID(int=number + 10)
        record_loads([GuestReading(one, HOST, 1, load_fact(0))], [], read_at=moment)
        record_loads([], [HostReading(one, HostLoadFact(str(number), 1, 2, GIB, GIB))], read_at=moment)
        record_datastores([DatastoreReading(one, GIB, GIB)], read_at=moment)
    assert keep_up(now=BEGAN)
    young = [UUID(int=11)]
    for model in (GuestLoad, HostLoad, DatastoreLoad):
        assert list(model.objects.values_list("pk", flat=True)) == young
    assert LoadPoll.objects.exists() or LoadBlock.objects.exists()


def test_only_the_load_of_the_last_minutes_tells_of_now() -> None:
    for number, age in ((1, 10), (2, 290), (3, 310), (4, DAY)):
        GuestLoad.objects.create(pk=UUID(int=number), read_at=timezone.now() - timedelta(seconds=age))
    rows = latest_loads(GuestLoad)
    assert sorted(row.pk.int for row in rows) == [1, 2]
    GuestLoad.objects.update(read_at=timezone.now() - timedelta(seconds=310))
    assert list(rows.all()) == [], "so long before each query, not before the first one"


# -- in one query


def recent(start: int, end: int, step: int = 0, object_id: UUID = GUEST, kind: str = "guest") -> LoadSeries:
    user = User(role=Role.VIEWER)
    with CaptureQueriesContext(connection) as captured:
        found = recent_series(
            user=user, kind=kind, object_id=object_id, start=BEGAN + start, end=BEGAN + end, step=step
        )
    assert len(captured) == 1
    return found


def test_one_query_finds_what_is_packed_and_what_is_not() -> None:
    told = record(range(0, 3 * HOUR, 120))
    assert cpu(recent(0, 3 * HOUR).points) == told
    keep_up(now=BEGAN + 3 * HOUR + 60)
    assert LoadPoll.objects.exists()
    assert LoadBlock.objects.exists()
    assert cpu(recent(0, 3 * HOUR).points) == told
    last_hour = [one for one in told if one[0] >= BEGAN + 90 * 60]
    assert cpu(recent(90 * 60, 3 * HOUR).points) == last_hour
    assert cpu(recent(0, HOUR, 60, OTHER).points) == []


def test_one_query_finds_a_guest_on_the_hosts_it_was_on() -> None:
    told = record(range(0, 600, 30)) + record(range(600, 1200, 30), host=OTHER)
    record(range(0, 1200, 30), guest=UUID(int=9), seed=2)
    assert cpu(recent(0, HOUR).points) == told
    forget_guest_loads([GUEST], read_at=timezone.now())
    assert cpu(recent(0, HOUR).points) == told


def test_one_query_reads_roll_ups_where_they_are_made_and_finer_points_after() -> None:
    told = record([day * DAY + second for day in range(9) for second in range(0, 2 * HOUR, 110)])
    same_as(recent(0, 9 * DAY, 12 * HOUR).points, told, 12 * HOUR)
    assert keep_up(now=BEGAN + 8 * DAY + HOUR, budget_s=600)
    assert set(LoadBlock.objects.values_list("level", flat=True)) == {Level.RAW, Level.FIVE_MINUTES, Level.HOUR}
    same_as(recent(0, 9 * DAY, 12 * HOUR).points, told, 12 * HOUR)
    kept = [one for one in told if one[0] - BEGAN >= 3 * DAY]
    same_as(recent(3 * DAY, 9 * DAY, 12 * HOUR).points, kept, 12 * HOUR)


def test_one_query_finds_hosts_and_datastores() -> None:
    for second in (0, 30):
        moment = datetime.fromtimestamp(BEGAN + second, UTC)
        record_loads([], [HostReading(HOST, HostLoadFact("h", second * 5, second * 10, GIB, 4 * GIB))], read_at=moment)
        record_datastores([DatastoreReading(OTHER, 8 * GIB, 5 * GIB)], read_at=moment)
    assert cpu(recent(0, HOUR, 0, HOST, "host").points) == [(BEGAN + 30, 50.0)]
    assert cpu(recent(0, DAY, 12 * HOUR, OTHER, "datastore").points) == [(BEGAN, 8 * GIB)]


def test_nobody_without_a_right_to_look_finds_anything_in_one_query() -> None:
    record(range(0, 300, 30))
    nobody = User(role=Role.VIEWER, is_active=False)
    found = recent_series(user=nobody, kind="guest", object_id=GUEST, start=BEGAN, end=BEGAN + HOUR)
    assert len(found.points.times) == 0
