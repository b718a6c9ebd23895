"""The right to read a source and to write what it said: one worker at a time, fenced by a token."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import connection
from django.db.models import F, Q, QuerySet
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


def lock_sources(ids: Iterable[UUID], *, to_remove: bool = False) -> None:
    """Lock these rows in one order, so that two who need several of the same wait for each other only one way.

    Who needs more than one locks all of them like this, before anything else: sources, then datacenters, then hosts,
    then the rest.
    Transaction: call it first in each one that changes several sources.
    """
    if connection.features.has_select_for_update:
        rows = Source.objects.select_for_update(no_key=not to_remove).filter(pk__in=list(ids)).order_by("pk")
        list(rows.values_list("pk", flat=True))


def lock_at_hand(rows: QuerySet[Source]) -> list[UUID]:
    """Lock those of these rows that nobody else holds, and return which; it never waits.

    For the dispatcher, which comes back in a second: one source whose row is held for long, such as while it goes to
    another datacenter, must not hold up the reading of all others. Nothing is waited for, so no order is broken.
    Transaction: call it first in each one that changes several sources and may leave some out.
    """
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(no_key=True, skip_locked=True)
    return list(rows.order_by("pk").values_list("pk", flat=True))


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
