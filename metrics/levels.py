"""How fine points are kept, in blocks of what length, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from metrics.models import Level

HOUR_S, DAY_S = 3600, 86400
# What was read in the last seconds of an hour may still be on its way into the database.
GRACE_S = 120


@dataclass(frozen=True, slots=True)
class Grain:
    """Units: seconds. Raw points keep their own second; `kept` is the setting that says how many days."""

    level: Level
    step: int
    block: int
    kept: str


RAW = Grain(Level.RAW, 1, HOUR_S, "LOAD_RAW_DAYS")
FIVE_MINUTES = Grain(Level.FIVE_MINUTES, 300, DAY_S, "LOAD_FIVE_MINUTE_DAYS")
HOUR = Grain(Level.HOUR, HOUR_S, 7 * DAY_S, "LOAD_HOUR_DAYS")
# What each roll-up is made of.
ROLL_UPS = {FIVE_MINUTES: RAW, HOUR: FIVE_MINUTES}


def kept_since(grain: Grain, now: int) -> int:
    """Blocks that ended before it may be dropped. Units: seconds since 1970."""
    return now - int(getattr(settings, grain.kept)) * DAY_S
