"""The times people look at: from an hour to a year before now."""

from __future__ import annotations

from dataclasses import dataclass

from metrics.levels import DAY_S, HOUR_S


@dataclass(frozen=True, slots=True)
class Range:
    """How far back, in which steps, and in which coarser ones where it is read as a table. Units: seconds."""

    length: int
    step: int
    row: int


RANGES = {
    "1h": Range(HOUR_S, 0, 300),
    "1d": Range(DAY_S, 120, HOUR_S),
    "1w": Range(7 * DAY_S, 600, 6 * HOUR_S),
    "1m": Range(30 * DAY_S, HOUR_S, DAY_S),
    "1y": Range(365 * DAY_S, 12 * HOUR_S, 7 * DAY_S),
}
USUAL = "1h"
