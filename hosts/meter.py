"""How far a lasting task is and how fast it goes, from readings of its bytes."""

from __future__ import annotations

import time
from typing import Any

# The rate follows what is measured within a few readings, without jumping at each.
WEIGHT = 0.3


class Meter:
    """Of one task of a job. `part` is which percents of the whole job this task is, when it is not all of it."""

    def __init__(self, part: tuple[float, float] = (0.0, 100.0)) -> None:
        self._part = part
        self._at: float | None = None
        self._done = 0
        self._rate: float | None = None

    def read(self, total: int | None, done: int | None) -> dict[str, Any]:
        """What the task shows. Units: bytes, bytes a second, seconds; none where it is not known."""
        if not total or done is None:
            return {"percent": int(self._part[0])}
        done = max(0, min(done, total))
        self._measure(done)
        rate = int(self._rate) if self._rate else None
        first, last = self._part
        return {
            "percent": min(99, int(first + (last - first) * done / total)),
            "bytes_total": total,
            "bytes_processed": done,
            "bytes_remaining": total - done,
            "rate_bytes_per_s": rate,
            "seconds_left": (total - done) // rate if rate else None,
        }

    def _measure(self, done: int) -> None:
        now = time.monotonic()
        if self._at is not None and now > self._at and done >= self._done:
            rate = (done - self._done) / (now - self._at)
            self._rate = rate if self._rate is None else self._rate + WEIGHT * (rate - self._rate)
        self._at, self._done = now, done
