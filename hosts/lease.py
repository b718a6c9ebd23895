"""The right to read a source and to write what it said: one worker at a time, fenced by a token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db.models import F, Q
from django.utils import timezone

from core.db import write_transaction
from hosts.models import Source, SourceState

# Longer than what a poll does between two renewals: a suspect is opened and asked (hosts.polling.PATIENT_DEADLINE_S
# each), or a full read is taken (SNAPSHOT_DEADLINE_S), or a batch is written.
LEASE = timedelta(seconds=75)


class LeaseLost(Exception):
    """Another worker reads this source now: what we read must not be written."""


@dataclass(frozen=True, slots=True)
class Lease:
    source_id: UUID
    token: int

    def prove(self) -> bool:
        """Whether it is still ours; prolongs it, and locks the source's row on PostgreSQL."""
        held = Source.objects.filter(pk=self.source_id, lease_token=self.token)
        return bool(held.update(lease_until=timezone.now() + LEASE))


def claim(source_id: UUID | str) -> Lease | None:
    """Take the source for reading; none when it is not due, paused or being read.

    Whoever comes first wins: a doubled or late message finds nothing due.
    Transaction: its own.
    """
    token = Source.objects.filter(pk=source_id).values_list("lease_token", flat=True).first()
    if token is None:
        return None
    wanted = Source.objects.filter(due(), free(), pk=source_id, lease_token=token).exclude(state=SourceState.PAUSED)
    with write_transaction():
        claimed = wanted.update(lease_token=F("lease_token") + 1, lease_until=timezone.now() + LEASE)
    return Lease(UUID(str(source_id)), token + 1) if claimed else None


def due() -> Q:
    now = timezone.now()
    return Q(next_states_at__lte=now) | Q(next_inventory_at__lte=now)


def free() -> Q:
    return Q(lease_until__isnull=True) | Q(lease_until__lt=timezone.now())


def renew(lease: Lease) -> None:
    """Prove that the lease is still ours, and prolong it. On PostgreSQL this locks the source's row as well.

    Raises: LeaseLost.
    Transaction: call it first in each one that writes what was read.
    """
    if not lease.prove():
        raise LeaseLost
