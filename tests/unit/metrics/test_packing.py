"""Samples in, the same samples out."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from metrics.packing import LARGEST, Floats, Points, decode, encode, is_exact, pack, samples, unpack
from metrics.points import between, in_steps, merge

START = 1_772_366_400
loads = st.one_of(st.just(np.nan), st.floats(0, 2.0**63), st.floats(0, 200), st.integers(0, 512).map(float))


@st.composite
def measured(draw: st.DrawFn, series: int = 3, length: int = 3600) -> Points:
    """What one object may have been measured as within so many seconds."""
    times = sorted(draw(st.sets(st.integers(0, length - 1), max_size=40)))
    values = draw(arrays.arrays(np.float64, (series, len(times)), elements=loads))
    return samples(np.array(times, np.int64) + START, values)


def close(found: Floats, expected: Floats, relative: float = 2.0**-9) -> bool:
    return bool(np.allclose(found, expected, rtol=relative, atol=1e-37, equal_nan=True))


@given(measured())
def test_a_block_gives_back_what_was_packed(points: Points) -> None:
    found = unpack(pack(points, START, 1), START)
    assert found.times.tolist() == points.times.tolist()
    assert close(found.average, points.average)
    assert (found.counts == points.counts).all()


@given(measured())
def test_what_was_packed_once_stays_as_it_is(points: Points) -> None:
    once = unpack(pack(points, START, 1), START)
    twice = unpack(pack(once, START, 1), START)
    assert close(twice.average, once.average, 0.0)


@given(measured())
def test_an_exact_block_is_exact(points: Points) -> None:
    block = pack(points, START, 1, exact=True)
    assert is_exact(block)
    assert close(unpack(block, START).average, points.average, 0.0)


@given(measured())
def test_a_roll_up_keeps_its_bounds_and_counts(points: Points) -> None:
    rolled = in_steps(points, 300)
    found = unpack(pack(rolled, START, 300, spread=True), START)
    assert found.times.tolist() == rolled.times.tolist()
    assert (found.counts == rolled.counts).all()
    for name in ("average", "low", "high"):
        assert close(getattr(found, name), getattr(rolled, name))
    known = found.counts > 0
    assert (found.low[known] <= found.average[known]).all()
    assert (found.average[known] <= found.high[known]).all()


@given(measured(), st.sampled_from([60, 300, 3600]))
def test_steps_equal_brute_force(points: Points, step: int) -> None:
    found = in_steps(points, step)
    expected: dict[int, list[list[float]]] = {}
    for position, time in enumerate(points.times.tolist()):
        rows = expected.setdefault(time // step * step, [[] for _series in range(points.series)])
        for row, value in zip(rows, points.average[:, position].tolist(), strict=True):
            if not np.isnan(value):
                row.append(value)
    assert found.times.tolist() == list(expected)
    for position, rows in enumerate(expected.values()):
        for number, row in enumerate(rows):
            assert found.counts[number, position] == len(row)
            if row:
                assert found.low[number, position] == min(row)
                assert found.high[number, position] == max(row)
                assert np.isclose(found.average[number, position], sum(row) / len(row))
            else:
                assert np.isnan(found.average[number, position])


@given(measured(length=86400))
def test_steps_of_steps_are_steps(points: Points) -> None:
    """An hour made of five minutes is the hour made of the samples."""
    direct, staged = in_steps(points, 3600), in_steps(in_steps(points, 300), 3600)
    assert (direct.counts == staged.counts).all()
    assert close(staged.average, direct.average, 1e-9)
    assert close(staged.high, direct.high, 0.0)


@given(measured(), measured())
def test_of_two_samples_of_a_second_the_later_counts(one: Points, other: Points) -> None:
    found = merge([one, other], 3)
    said = dict(zip(one.times.tolist(), one.average.T.tolist(), strict=True))
    said |= dict(zip(other.times.tolist(), other.average.T.tolist(), strict=True))
    assert found.times.tolist() == sorted(said)
    assert close(found.average, np.array([said[at] for at in sorted(said)]).reshape(-1, 3).T, 0.0)
    again = merge([found, one, other], 3)
    assert close(again.average, found.average, 0.0)  # twice is once


def test_a_part_from_before_a_series_was_added_says_nothing_of_it() -> None:
    old = samples(np.array([START]), np.array([[1.0]]))
    new = samples(np.array([START + 30]), np.array([[2.0], [3.0]]))
    assert np.array_equal(merge([old, new], 2).average, [[1.0, 2.0], [np.nan, 3.0]], equal_nan=True)


def test_between_takes_the_start_and_leaves_the_end() -> None:
    points = samples(np.arange(START, START + 5), np.zeros((1, 5)))
    assert between(points, START + 1, START + 3).times.tolist() == [START + 1, START + 2]


def test_what_is_no_load_at_all_is_kept_within_bounds() -> None:
    values = np.array([[-1.0, np.inf, 1e300, np.nan, LARGEST]])
    found = decode(encode(values, exact=False), 5, exact=False)[0].tolist()
    assert found[:3] == [0.0, LARGEST, LARGEST]
    assert np.isnan(found[3])


def test_an_hour_of_a_quiet_guest_takes_little() -> None:
    """Two bytes a sample when nothing repeats; a guest at rest a tenth of that."""
    times = np.arange(START, START + 3600, 30)
    quiet = samples(times, np.full((9, len(times)), 3.0))
    wild = samples(times, np.random.default_rng(1).lognormal(10, 3, (9, len(times))))
    assert len(pack(quiet, START, 1)) < 0.2 * 9 * len(times)
    assert len(pack(wild, START, 1)) < 2.1 * 9 * len(times)
