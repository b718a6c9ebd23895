"""Where a guest is, judged from words alone; whole histories are in test_identity.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from inventory.resolve import Word, judge


def word(state: str, second: int, *, askable: bool = True) -> Word:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    return Word(uuid4(), uuid4(), "ref", state, said_at=at, heard_at=at, askable=askable)


@pytest.mark.parametrize(
    ("state", "askable", "second", "moves"),
    [
        ("paused", False, 2, True),
        ("paused", True, 2, False),
        ("paused", False, 0, False),
        ("off", False, 2, False),
    ],
    ids=["nobody asks the holder", "the holder answers", "an older word", "a copy left behind"],
)
def test_where_two_say_the_same(state: str, askable: bool, second: int, moves: bool) -> None:
    holder, other = word(state, 1, askable=askable), word(state, second)
    assert judge(holder, [holder, other]).winner is (other if moves else holder)
