"""When each source is read, and what its success or failure means for it and its hosts."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Case, F, Q, QuerySet, Value, When
from django.utils import timezone
from django.utils.translation import gettext as _

from core.db import write_transaction
from core.events import Change, publish
from core.queue import POLLS, SUSPECT, enqueue
from drivers.errors import AuthFailed, DriverError, Unreachable
from hosts.certificates import describe_presented
from hosts.lease import LEASE, Lease, LeaseLost, due, free, lock_at_hand, lock_sources, renew
from hosts.models import Host, HostState, Source, SourceState
from hosts.words import sentence

STATES_EVERY = timedelta(seconds=30)
INVENTORY_EVERY = timedelta(minutes=5)
# Sources drift apart, so that they are not all read in the same second for ever.
JITTER = 0.1
# The first time after a start or an outage they are sent apart on purpose.
SPREAD = (0.3, 1.0)
BACK_OFF = timedelta(seconds=10)
LONGEST_BACK_OFF = timedelta(minutes=3)
# A message that nobody took by then is taken for lost (the broker was flushed, a worker died) and sent again.
SENT_FOR = timedelta(seconds=10)
# So many messages wait at most, for suspects and for the others apart: when the workers cannot keep up, those that have
# waited longest are read first, and nobody works on messages that are too old by the time they are taken.
MOST_WAITING = 500
# A source not known to hang may hold a worker's thread only this long; suspects wait on a queue of their own.
OPEN_DEADLINE_S = 5.0
STATES_DEADLINE_S = 10.0
# There a slow one gets the time it needs: a far host's ssh may take longer than a hanging one is given elsewhere.
PATIENT_DEADLINE_S = 30.0
SNAPSHOT_DEADLINE_S = 45.0
# The clocks of one installation's machines differ by less; and who was read so long ago is due by now.
CLOCKS_DIFFER = timedelta(minutes=1)
LONG_AGO = 2 * INVENTORY_EVERY
# A guest that vanished most likely moved: so many other sources are asked at once whether they have it.
ASK_OTHERS = 50

POLL = "inventory.poll_source"


def dispatch_due() -> int:
    """Send a message for each source that is due and not being read; returns how many."""
    now = timezone.now()
    _plan_again(now)
    unsent = _unsent(now).filter(due(), free()).exclude(state=SourceState.PAUSED).order_by("next_states_at", "pk")
    found = [(pk, suspect) for suspect in (False, True) for pk in _next_to_send(unsent, now, suspect=suspect)]
    if not found:
        return 0
    with write_transaction():
        held = set(lock_at_hand(unsent.filter(pk__in=[pk for pk, _suspect in found])))
        Source.objects.filter(pk__in=held).update(sent_at=now)
        for pk, suspect in found:
            if pk in held:
                enqueue(
                    POLL,
                    str(pk),
                    queue=SUSPECT if suspect else POLLS,
                    expires_seconds=SENT_FOR.total_seconds(),
                )
    return len(held)


def _plan_again(now: datetime) -> None:
    """After the clock was set back, sources would not be read until it is where it was: they are due now.

    They are planned further ahead than anything is here, and were last read in the future, long ago or never: a source
    that was never read, or fails, has nothing but its plans from the time ahead.
    """
    planned = Q(*((f"{field}__gt", limit) for field, limit in _furthest(now).items()), _connector=Q.OR)
    read = Q(states_read_at__range=(now - LONG_AGO, now + CLOCKS_DIFFER)) & (
        Q(inventory_read_at=None) | Q(inventory_read_at__lte=now + CLOCKS_DIFFER)
    )
    late = Source.objects.filter(planned).exclude(read).exclude(state=SourceState.PAUSED)
    if late.exists():
        with write_transaction():
            held = Source.objects.filter(pk__in=lock_at_hand(late))
            held.update(next_states_at=now, next_inventory_at=now, sent_at=None, lease_until=None)


def _furthest(now: datetime) -> dict[str, datetime]:
    """Until when each of a source's times may be, as they are planned here and in hosts.lease."""
    longest = 1 + JITTER
    back_off = LONGEST_BACK_OFF * longest
    return {
        "next_states_at": now + max(STATES_EVERY * longest, back_off) + CLOCKS_DIFFER,
        "next_inventory_at": now + max(INVENTORY_EVERY * longest, back_off) + CLOCKS_DIFFER,
        "sent_at": now + CLOCKS_DIFFER,
        "lease_until": now + LEASE + CLOCKS_DIFFER,
    }


def _next_to_send(unsent: QuerySet[Source], now: datetime, *, suspect: bool) -> list[UUID]:
    """Those that have waited longest, as many as may wait in their queue."""
    ids = list(unsent.filter(suspect=suspect).values_list("pk", flat=True)[:MOST_WAITING])
    if not ids:
        return []
    sent = Source.objects.filter(due(), free(), suspect=suspect, sent_at__gt=now - SENT_FOR)
    waiting = sent.exclude(state=SourceState.PAUSED).exclude(pk__in=ids).count()
    return ids[: max(0, MOST_WAITING - waiting)]


def _unsent(now: datetime) -> QuerySet[Source]:
    """Sources without a message under way: none sent, the last one taken for lost, or sent before it became due."""
    since_then = Q(next_states_at__gt=F("sent_at"), next_states_at__lte=now)
    since_then |= Q(next_inventory_at__gt=F("sent_at"), next_inventory_at__lte=now)
    return Source.objects.filter(Q(sent_at=None) | Q(sent_at__lt=now - SENT_FOR) | since_then)


def hurry(sources: Iterable[UUID]) -> None:
    """Have these read in full at once, if they answer at all: somebody needs a newer word of theirs."""
    now, wanted = timezone.now(), list(sources)
    answering = Source.objects.filter(pk__in=wanted, state__in=(SourceState.OK, SourceState.NEW))
    with write_transaction():
        lock_sources(wanted)
        answering.update(next_inventory_at=now, next_states_at=now)


def read_now(source_id: UUID, *, inventory: bool) -> None:
    """Have this one read without waiting for beat: it told that something changed. Harmless while it is being read."""
    now = timezone.now()
    due_now = {"next_states_at": now, "sent_at": now} | ({"next_inventory_at": now} if inventory else {})
    wanted = Source.objects.filter(pk=source_id).exclude(state=SourceState.PAUSED)
    with write_transaction():
        suspect = wanted.values_list("suspect", flat=True).first()
        if wanted.update(**due_now):
            queue = SUSPECT if suspect else POLLS
            enqueue(POLL, str(source_id), queue=queue, expires_seconds=SENT_FOR.total_seconds())


def hurry_datacenter(source: Source) -> None:
    """Ask the other sources of this trust domain for their states: a guest of this one vanished."""
    others = Source.objects.filter(datacenter=source.datacenter_id, state=SourceState.OK).exclude(pk=source.pk)
    ids = list(others.order_by("next_states_at").values_list("pk", flat=True)[:ASK_OTHERS])
    if ids:
        with write_transaction():
            lock_sources(ids)
            Source.objects.filter(pk__in=ids).update(next_states_at=timezone.now())


def record_success(source: Source, lease: Lease, *, inventory: bool) -> None:
    """A read was applied: the source is fine, and due again in its time.

    `source` is as it was claimed. Raises: LeaseLost.
    """
    now = timezone.now()
    first = source.state != SourceState.OK
    values: dict[str, Any] = {
        "next_states_at": _next(source, "next_states_at", now + _interval(STATES_EVERY, first)),
        "failures": 0,
        "suspect": False,
    }
    if inventory:
        values["next_inventory_at"] = _next(source, "next_inventory_at", now + _interval(INVENTORY_EVERY, first))
    with write_transaction():
        _finish(source, lease, SourceState.OK, "", values)


def record_failure(source: Source, lease: Lease, error: DriverError) -> None:
    """A read failed: try again later, and say why.

    Raises: LeaseLost.
    """
    failures = source.failures + 1
    again = timezone.now() + back_off(failures)
    values: dict[str, Any] = {name: _next(source, name, again) for name in ("next_states_at", "next_inventory_at")}
    values |= {"failures": failures, "suspect": isinstance(error, Unreachable)}
    with write_transaction():
        _finish(source, lease, _failed_state(error), sentence(error), values)


def note_certificate(source: Source, lease: Lease, presented: str) -> None:
    """Keep what is told of the host's certificate, so that pages say when it ends. `source` is as it was claimed.

    Raises: LeaseLost.
    """
    told = describe_presented(presented) if presented else {}
    if source.certificates.get("server", {}) == told:
        return
    with write_transaction():
        renew(lease)
        now = Source.objects.only("certificates").get(pk=lease.source_id)  # which may have other credentials since
        now.certificates = {**now.certificates, "server": told}
        now.save(update_fields=["certificates"])
        publish(Change("source", str(source.pk)))


def back_off(failures: int) -> timedelta:
    """10 s, doubling to 3 minutes."""
    doubled: timedelta = BACK_OFF * 2 ** min(failures - 1, 10)
    return min(doubled, LONGEST_BACK_OFF) * _jitter()


def _interval(usual: timedelta, first: bool) -> timedelta:
    return usual * (random.uniform(*SPREAD) if first else _jitter())  # noqa: S311 (spreads load, guards nothing)


def _jitter() -> float:
    return random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 (spreads load, guards nothing)


def _next(source: Source, field: str, at: datetime) -> Case:
    """The next time, unless somebody asked for another read while this one was under way."""
    return Case(When(**{field: getattr(source, field)}, then=Value(at)), default=F(field))


def _failed_state(error: DriverError) -> SourceState:
    if isinstance(error, Unreachable):
        return SourceState.UNREACHABLE
    return SourceState.AUTH_FAILED if isinstance(error, AuthFailed) else SourceState.FAILING


def _finish(source: Source, lease: Lease, state: SourceState, message: str, values: dict[str, Any]) -> None:
    """Give the lease back with the outcome; tell hosts and browsers only when something changed."""
    changed = (source.state, source.state_message) != (state, message)
    if source.state != state:
        values["state_since"] = timezone.now()
    ours = Source.objects.filter(pk=lease.source_id, lease_token=lease.token)
    if not ours.update(state=state, state_message=message, lease_until=None, sent_at=None, **values):
        raise LeaseLost
    follow = HostState.CONNECTED if state == SourceState.OK else HostState.NOT_RESPONDING
    hosts = Host.objects.filter(source=lease.source_id, missing_since=None).exclude(state=follow)
    ids = list(hosts.values_list("pk", flat=True))
    if ids:
        hosts.update(state=follow)
        publish(*(Change("host", str(pk)) for pk in ids))
    if changed:
        publish(Change("source", str(source.pk)))


def unexpected() -> DriverError:
    """What a person reads when we failed, not the source; the log has the details."""
    return DriverError(_("What this source answered could not be processed. The server's log says more."))
