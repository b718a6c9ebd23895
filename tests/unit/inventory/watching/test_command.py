"""`manage.py watch`: what it needs of the machine is asked for at the start."""

from __future__ import annotations

import resource

import pytest
from django.core.management.base import CommandError

from inventory.management.commands.watch import require_files


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Soft and hard; as the command leaves them."""
    now = [1024, 4096]
    monkeypatch.setattr(resource, "getrlimit", lambda _which: tuple(now))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, wanted: now.__setitem__(slice(None), wanted))
    return now


def test_the_soft_limit_is_raised_to_what_is_needed(limits: list[int]) -> None:
    require_files(2000)
    assert limits == [2000, 4096]


@pytest.mark.parametrize("soft", [3000, resource.RLIM_INFINITY])
def test_a_limit_that_is_high_enough_stays(limits: list[int], soft: int) -> None:
    limits[:] = [soft, resource.RLIM_INFINITY]
    require_files(2000)
    assert limits == [soft, resource.RLIM_INFINITY]


def test_no_hard_limit_is_no_obstacle(limits: list[int]) -> None:
    limits[1] = resource.RLIM_INFINITY
    require_files(9000)
    assert limits[0] == 9000


def test_a_hard_limit_that_is_too_low_is_said_with_both_numbers_and_what_to_do(limits: list[int]) -> None:
    with pytest.raises(CommandError, match=r"needs 5000 open files.*only 4096.*LimitNOFILE="):
        require_files(5000)
