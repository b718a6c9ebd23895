"""Whose turn it is to do the upkeep: one worker at a time, fenced by a token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import F, Q
from django.utils import timezone

from metrics.models import LoadWork

# Longer than a batch takes, which renews it.
LEASE = timedelta(seconds=60)


class TurnLost(Exception):
    """Another worker took over: what was prepared must not be written."""


@dataclass(frozen=True, slots=True)
class Turn:
    name: str
    token: int

    def renew(self) -> None:
        """Prove that it is still ours, and prolong it. On PostgreSQL this locks the row as well.

        Raises: TurnLost.
        Transaction: call it first in each one that writes.
        """
        held = LoadWork.objects.filter(name=self.name, token=self.token)
        if not held.update(lease_until=timezone.now() + LEASE):
            raise TurnLost

    def end(self) -> None:
        LoadWork.objects.filter(name=self.name, token=self.token).update(lease_until=None)


def take_turn(name: str) -> Turn | None:
    """None while another worker has it."""
    work, _made = LoadWork.objects.get_or_create(name=name)
    now = timezone.now()
    # One that ends later than any can was taken before the clock was set back.
    free = Q(lease_until=None) | Q(lease_until__lt=now) | Q(lease_until__gt=now + 2 * LEASE)
    taken = LoadWork.objects.filter(free, name=name, token=work.token).update(
        token=F("token") + 1, lease_until=now + LEASE
    )
    return Turn(name, work.token + 1) if taken else None
