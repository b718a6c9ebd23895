"""The size by which a volume is known again: smaller than asked, the same each time, another for each task."""

from __future__ import annotations

import pytest

from drivers.marks import LEAST_CHOICES, MOST_BYTES, MOST_WRITTEN_BYTES, first_bytes, is_as_asked
from drivers.requests import VolumeRequest

MIB = 1 << 20
SIZES = [(LEAST_CHOICES + 16) << 12, 8 * MIB + 1023, 20 << 30, 1 << 60]


@pytest.mark.parametrize("capacity", SIZES)
@pytest.mark.parametrize(
    ("format_", "preallocate", "unit"),
    [("qcow2", False, 1024), ("qcow2", True, 1024), ("raw", False, 1), ("raw", True, 1)],
)
def test_each_task_has_its_own(capacity: int, format_: str, preallocate: bool, unit: int) -> None:
    request = VolumeRequest("pool", "a", capacity, format_, preallocate)
    found = [first_bytes(request, f"stamp {number}") for number in range(200)]
    assert found == [first_bytes(request, f"stamp {number}") for number in range(200)]
    least = (1 << 16) + (capacity >> 20) if preallocate and format_ == "raw" else 0
    assert all(0 < size < capacity and size % unit == 0 for size in found)
    assert min(found) >= capacity - MOST_BYTES - 2 * unit - least
    assert len(set(found)) > LEAST_CHOICES // 2
    assert max(found) <= capacity - least


@pytest.mark.parametrize("capacity", SIZES)
def test_what_is_allocated_ahead_is_allocated_once_but_for_little(capacity: int) -> None:
    """What it grows by is written to it, over the network."""
    request = VolumeRequest("pool", "a", capacity, "raw", True)
    found = [first_bytes(request, f"stamp {number}") for number in range(200)]
    assert min(found) >= capacity - MOST_WRITTEN_BYTES - (1 << 16) - (capacity >> 20)


@pytest.mark.parametrize(
    ("capacity", "format_", "stamp"),
    [(8 * MIB, "qcow2", ""), (1, "raw", "s"), (LEAST_CHOICES, "raw", "s"), (100 * 1024, "qcow2", "s")],
)
def test_what_has_none_is_made_whole(capacity: int, format_: str, stamp: str) -> None:
    assert first_bytes(VolumeRequest("pool", "a", capacity, format_), stamp) == capacity


@pytest.mark.parametrize(
    ("size", "step", "is_it"),
    [(1000, 1, True), (999, 1, False), (1001, 1, False), (1024, 1024, True), (2023, 1024, True), (2024, 1024, False)],
)
def test_what_is_rounded_up_to_a_step_is_as_asked_and_nothing_larger(size: int, step: int, is_it: bool) -> None:
    assert is_as_asked(VolumeRequest("pool", "a", 1000), size, step) is is_it
