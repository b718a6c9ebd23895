"""Who listens to what: living watchers share the sources evenly, and one that dies is missed within seconds."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import connection
from django.db.models import F, Q, QuerySet, TextField, Value
from django.db.models.functions import MD5, Cast, Coalesce, Concat, Now

from core.db import write_transaction
from core.ids import new_id
from hosts.lease import Lease
from hosts.models import SECRETS, Source, SourceState
from inventory.models import Watch, Watcher

BEAT_S = 2.0
# Three beats: others take over at their next one, so a dead watcher's sources are silent for 8 s at most.
LEASE = timedelta(seconds=6)
FORGET_AFTER = timedelta(hours=1)
AT_ONCE = 500  # rows of one transaction


@dataclass(frozen=True, slots=True)
class WatchLease(Lease):
    """The right to write what a source told."""

    watcher_id: UUID

    def prove(self) -> bool:
        """Whether it is still ours. Locks the source's row on PostgreSQL, so that polls and watchers take turns."""
        rows = Source.objects.filter(pk=self.source_id).exclude(state=SourceState.PAUSED)
        if connection.vendor != "sqlite":
            rows = rows.select_for_update(no_key=True)
        ours = Watch.objects.filter(pk=self.source_id, token=self.token, watcher=self.watcher_id)
        return bool(list(rows.values_list("pk"))) and ours.exists()


def register() -> UUID:
    """A new watcher, alive."""
    watcher_id = new_id()
    with write_transaction():
        Watcher.objects.filter(alive_until__lt=Now() - FORGET_AFTER).delete()
        Watcher.objects.create(
            id=watcher_id, name=f"{socket.gethostname()}:{os.getpid()}"[:200], alive_until=Now() + LEASE
        )
    return watcher_id


def beat(watcher_id: UUID) -> bool:
    """Say that it lives. False when nobody remembers it: then it has to register again."""
    with write_transaction():
        return bool(Watcher.objects.filter(pk=watcher_id).update(alive_until=Now() + LEASE))


def leave(watcher_id: UUID) -> None:
    """It ends; the others may take its sources at once."""
    with write_transaction():
        Watch.objects.filter(watcher=watcher_id).update(since=None)
        Watcher.objects.filter(pk=watcher_id).delete()


def balance(watcher_id: UUID) -> dict[UUID, int]:
    """Take or give until this watcher has its share; returns the token of each source that is its own.

    Transaction: short ones of its own, and none when nothing changes.
    """
    _add_missing()
    alive = set(Watcher.objects.filter(alive_until__gt=Now()).values_list("pk", flat=True)) | {watcher_id}
    wanted = _wanted()
    share = -(-wanted.count() // len(alive))
    mine = list(wanted.filter(watcher=watcher_id).order_by("pk").values_list("pk", flat=True))
    if len(mine) > share:
        _give_back(watcher_id, mine[share:])
    elif len(mine) < share:
        _claim(watcher_id, alive, share - len(mine))
    return dict(_wanted().filter(watcher=watcher_id).values_list("pk", "token"))


def answering(watcher_id: UUID) -> dict[UUID, str]:
    """The sources of this watcher that answered their last poll, each with a digest of how it is reached."""
    ours = Source.objects.filter(watch__watcher=watcher_id, state=SourceState.OK)
    return dict(ours.annotate(reached=MD5(Concat(*_REACHED, output_field=TextField()))).values_list("pk", "reached"))


_REACHED = (
    *("transport", Value(" "), "address", Value(" "), Cast(Coalesce("port", 0), TextField()), Value(" "), "uri"),
    *("hypervisor", "username", *SECRETS, "host_key"),
)


def _wanted() -> QuerySet[Watch]:
    return Watch.objects.exclude(source__state=SourceState.PAUSED)


def _add_missing() -> None:
    while new := list(Source.objects.filter(watch=None).values_list("pk", flat=True)[:AT_ONCE]):
        with write_transaction():
            there = Source.objects.filter(pk__in=new).values_list("pk", flat=True)
            Watch.objects.bulk_create([Watch(source_id=pk) for pk in there], ignore_conflicts=True)


def _give_back(watcher_id: UUID, sources: list[UUID]) -> None:
    for start in range(0, len(sources), AT_ONCE):
        with write_transaction():
            ours = Watch.objects.filter(watcher=watcher_id, pk__in=sources[start : start + AT_ONCE])
            ours.update(watcher=None, since=None)


def _claim(watcher_id: UUID, alive: set[UUID], number: int) -> None:
    """Whoever comes first has it: another's claim shows in the condition of ours."""
    free = Q(watcher=None) | ~Q(watcher__in=alive)
    found = list(_wanted().filter(free).order_by("pk").values_list("pk", flat=True)[:number])
    for start in range(0, len(found), AT_ONCE):
        with write_transaction():
            rows = Watch.objects.filter(free, pk__in=found[start : start + AT_ONCE])
            rows.update(watcher=watcher_id, token=F("token") + 1, since=None)
