"""Readings of a running move, as the task and its chart show them."""

from typing import Any

from drivers.types import MigrationProgress

# The chart of a move of hours needs no more points than a screen has columns.
SAMPLES_KEPT = 600


def as_progress(reading: MigrationProgress) -> dict[str, Any]:
    """What the task shows. Units: bytes, bytes a second, milliseconds; `seconds_left` is an estimate or None."""
    return {
        "percent": percent_of(reading),
        "bytes_total": reading.bytes_total,
        "bytes_processed": reading.bytes_processed,
        "bytes_remaining": reading.bytes_remaining,
        "rate_bytes_per_s": reading.rate_bytes_per_s,
        "dirty_rate_bytes_per_s": reading.dirty_rate_bytes_per_s,
        "iteration": reading.iteration,
        "expected_downtime_ms": reading.expected_downtime_ms,
        "elapsed_ms": reading.elapsed_ms,
        "seconds_left": seconds_left(reading),
    }


def percent_of(reading: MigrationProgress) -> int:
    """How far the move is; 100 only when it has ended.

    While the first pass runs nobody knows how much the guest changes meanwhile, so the whole pass is nine tenths of the
    way. After it: what was sent, of that and what is still to be sent.
    """
    total, left, sent = reading.bytes_total, reading.bytes_remaining, reading.bytes_processed
    if not total or left is None:
        return 0
    done, whole = total - left, total
    if reading.iteration is not None and reading.iteration <= 1:
        whole = whole * 10 // 9
    elif reading.iteration is not None and sent:
        done, whole = sent, sent + left
    return max(0, min(99, 100 * done // whole))


def seconds_left(reading: MigrationProgress) -> int | None:
    """None when it cannot be told: nothing measured yet, or the guest writes as fast as we copy."""
    if reading.bytes_remaining is None or not reading.rate_bytes_per_s:
        return None
    gain = reading.rate_bytes_per_s - (reading.dirty_rate_bytes_per_s or 0)
    return reading.bytes_remaining // gain if gain > 0 else None


def with_sample(samples: list[list[Any]], reading: MigrationProgress) -> list[list[Any]]:
    """The chart's points with one more: seconds since start, bytes done, rate, dirty rate."""
    if reading.elapsed_ms is None:
        return samples
    point = [
        round(reading.elapsed_ms / 1000, 2),
        reading.bytes_processed,
        reading.rate_bytes_per_s,
        reading.dirty_rate_bytes_per_s,
    ]
    kept = samples if len(samples) < SAMPLES_KEPT else samples[::2]
    return [*kept, point]
