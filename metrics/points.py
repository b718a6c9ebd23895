"""Putting points together: in one line, and in steps of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metrics.packing import Floats, Integers, Points, nothing


def merge(parts: Sequence[Points], series: int) -> Points:
    """All of them in the order of time. Of two at the same second the later part's counts.

    A part made before a series was added lacks it, and says nothing of it.
    """
    parts = [_widen(part, series) for part in parts if len(part.times)]
    if not parts:
        return nothing(series)
    times = np.concatenate([part.times for part in parts])
    # Of equal times the first in reversed order is the last that was said.
    kept, first = np.unique(times[::-1], return_index=True)
    order = len(times) - 1 - first

    def chosen(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts], axis=1)[:, order]

    return Points(kept, chosen("average"), chosen("low"), chosen("high"), chosen("counts"))


def between(points: Points, start: int, end: int) -> Points:
    """Those from `start` on, before `end`."""
    chosen = slice(*np.searchsorted(points.times, [start, end]).tolist())
    return Points(
        points.times[chosen],
        points.average[:, chosen],
        points.low[:, chosen],
        points.high[:, chosen],
        points.counts[:, chosen],
    )


def in_steps(points: Points, step: int) -> Points:
    """One point for each step of time in which there was any; averages weigh what they were made of.

    Units: `step` in seconds; steps are counted from 1970, so that a coarser step holds whole finer ones.
    """
    if not len(points.times):
        return points
    steps = points.times // step
    first = np.flatnonzero(np.diff(steps, prepend=steps[0] - 1))
    counts: Integers = np.add.reduceat(points.counts, first, axis=1)
    with np.errstate(invalid="ignore"):
        total: Floats = np.add.reduceat(np.nan_to_num(points.average) * points.counts, first, axis=1)
        average = np.where(counts > 0, total / np.maximum(counts, 1), np.nan)
    # fmin and fmax pass over NaN.
    low, high = np.fmin.reduceat(points.low, first, axis=1), np.fmax.reduceat(points.high, first, axis=1)
    # Rounding of a sum must not lift an average out of its bounds.
    return Points(steps[first] * step, np.clip(average, low, high), low, high, counts)


def _widen(part: Points, series: int) -> Points:
    missing = series - part.series
    if missing <= 0:
        return part
    pad = np.full((missing, len(part.times)), np.nan)
    none = np.zeros((missing, len(part.times)), np.int64)
    average, low, high = (np.concatenate([plane, pad]) for plane in (part.average, part.low, part.high))
    return Points(part.times, average, low, high, np.concatenate([part.counts, none]))
