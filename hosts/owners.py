"""One host that several sources show, such as by tcp and by ssh: one of them owns its row and is believed.

The others stand by. When the owner is removed or paused, or shows the host no more, the next one takes the row over
with all that hangs on it, so that neither the host nor its guests become others.

Equal are UUID, name and hypervisor within one trust domain: cheap boards come with the same UUID by the thousand, and a
machine may run QEMU and containers, which are two hosts with guests of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet
from django.db.transaction import atomic, set_rollback
from django.utils import timezone
from django.utils.translation import gettext as _

from core.db import write_transaction
from core.events import Change, publish
from core.ids import new_id
from drivers.types import HostFact, Snapshot, StateReading
from hosts.facts import Findings, digest, identity, key_text, text
from hosts.lease import Lease, lock_sources, renew
from hosts.models import Datacenter, Host, HostSighting, Source, SourceState
from hosts.polling import hurry

Key = tuple[str, str, str]


class Overtaken(Exception):
    """Another source brought one of these hosts a moment ago: look again who owns them."""


@dataclass(frozen=True, slots=True)
class _Rival:
    """A row of the same host that another source brought."""

    host_id: UUID
    source_id: UUID
    source_name: str
    source_since: datetime
    idle: bool  # paused, or it shows the host no more


@dataclass(frozen=True, slots=True)
class _Seen:
    """A host that stands in this source's sightings. `answered`: when the last complete read of its owner began."""

    rival: _Rival
    differs_since: datetime | None
    answered: datetime | None

    @property
    def is_another(self) -> bool:
        """Whether the owner was read since this source told of another host, and tells what it told before."""
        return bool(self.differs_since and self.answered and self.answered > self.differs_since)

    def is_new_at(self, moment: datetime) -> bool:
        """Whether nobody was asked yet; what is noted for the time ahead is of a clock that was set back."""
        return self.differs_since is None or self.differs_since > moment


@dataclass(slots=True)
class _Outcome:
    """What a read means for the hosts that it shows, by their references."""

    own: dict[str, HostFact] = field(default_factory=dict)
    taken: list[tuple[_Rival, str]] = field(default_factory=list)
    seen: dict[str, UUID] = field(default_factory=dict)
    doubts: dict[str, _Seen] = field(default_factory=dict)  # of `seen`, those that tell another UUID or name


def own_hosts(source: Source, snapshot: Snapshot, lease: Lease, findings: Findings) -> list[HostFact]:
    """Each host that is this source's own, once; the others are noted as seen by it, too.

    Raises: LeaseLost. Transaction: its own, and only when something changed.
    """
    known = _known(source)
    outcome = _judge(source, {fact.ref: fact for fact in snapshot.hosts}.values(), known, findings)
    _write(source, outcome, known, lease, snapshot)
    return list(outcome.own.values())


def _judge(source: Source, facts: Collection[HostFact], known: dict[str, _Seen], findings: Findings) -> _Outcome:
    rivals, outcome = _rivals(source, facts), _Outcome()
    missing = dict(Host.objects.filter(source=source).values_list("ref", "missing_since"))
    for fact in facts:
        ref, rival = key_text(fact.ref, 255), rivals.get(_key(source, fact))
        findings.look_at(f"host-owner:{digest(fact.ref)}")
        stood_for = known.get(ref)
        if rival is None and stood_for and not stood_for.is_another and (ref not in missing or missing[ref]):
            rival = stood_for.rival
            if not rival.idle:
                outcome.doubts[ref] = stood_for
        if rival is None or (ref in missing and _is_before(source, rival, missing[ref])):
            outcome.own[ref] = fact
        elif rival.idle and ref not in missing:
            outcome.own[ref] = fact
            outcome.taken.append((rival, ref))
        else:
            outcome.seen[ref] = rival.host_id
            _tell(fact, rival, findings, in_doubt=ref in outcome.doubts)
    return outcome


def _known(source: Source) -> dict[str, _Seen]:
    """What this source sees without owning it, by reference."""
    columns = ("host_id", "host__missing_since", "host__source_id", "host__source__name", "host__source__created_at")
    rows = HostSighting.objects.filter(source=source).values_list(
        "ref", "differs_since", "host__source__inventory_read_at", "host__source__state", *columns
    )
    found = {}
    for ref, differs_since, answered, state, host, missing, owner, name, since in rows:
        idle = missing is not None or state == SourceState.PAUSED
        found[ref] = _Seen(_Rival(host, owner, name, since, idle), differs_since, answered)
    return found


def _is_before(source: Source, rival: _Rival, missing_since: datetime | None) -> bool:
    """Both have a row of it: the source that was added first owns it, unless it is idle."""
    ours_first = (source.created_at, source.pk) < (rival.source_since, rival.source_id)
    return rival.idle or (missing_since is None and ours_first)


def require_unowned(source: Source, facts: Iterable[HostFact]) -> None:
    """New hosts of two sources are written one after the other. Raises: Overtaken.

    Transaction: the one that inserts them.
    """
    list(Datacenter.objects.select_for_update(no_key=True).filter(pk=source.datacenter_id).values_list("pk"))
    if any(not rival.idle for rival in _rivals(source, facts).values()):
        raise Overtaken


def without_seen(source: Source, states: StateReading) -> StateReading:
    """What a quick read says of the source's own hosts: others speak for those that it merely sees."""
    seen = set(HostSighting.objects.filter(source=source).values_list("ref", flat=True))
    if not seen:
        return states
    guests = tuple(fact for fact in states.guests if key_text(fact.host_ref, 255) not in seen)
    hosts = tuple(load for load in states.hosts if key_text(load.ref, 255) not in seen)
    return StateReading(states.read_started_at, states.complete, guests=guests, hosts=hosts)


def lock_with_heirs(source: Source, *, to_remove: bool = False) -> frozenset[UUID]:
    """Lock a source that is to lose its hosts and those that stand by for them, which it returns.

    Transaction: call it first in the one that pauses, moves or removes the source: see `hosts.lease.lock_sources`.
    """
    heirs = _heirs(source)
    while True:
        with atomic():  # a part of the transaction: without what it was for, its locks go
            lock_sources([source.pk, *heirs], to_remove=to_remove)
            now = _heirs(source)
            if now <= heirs:
                return now
            set_rollback(True)
        heirs |= now


def _heirs(source: Source) -> frozenset[UUID]:
    return frozenset(_standing_by(source).values_list("source_id", flat=True))


def hand_over_hosts(source: Source, heirs: frozenset[UUID]) -> dict[str, str]:
    """Give this source's hosts to those that see them, too; names of hosts and of their new owners.

    They are read at once. Transaction: the one that pauses or removes the source, which has locked the heirs.
    """
    handed: dict[UUID, tuple[str, str]] = {}
    waiting = _standing_by(source).filter(source__in=heirs).select_related("host", "source")
    for sighting in waiting.order_by("host_id", "source__created_at", "pk"):
        host, after = sighting.host, sighting.source
        if host.pk not in handed and _take(host.pk, source.pk, after, sighting.ref):
            handed[host.pk] = (host.name, after.name)
    now, owners = timezone.now(), {after for _host, after in handed.values()}
    Source.objects.filter(pk__in=heirs, name__in=owners).update(next_inventory_at=now, next_states_at=now)
    return dict(handed.values())


def _standing_by(source: Source) -> QuerySet[HostSighting]:
    return HostSighting.objects.filter(host__source=source).exclude(source__state=SourceState.PAUSED)


def _take(host_id: UUID, before: UUID, after: Source, ref: str) -> bool:
    """Whether the row changed hands; then the source before stands by."""
    rows = Host.objects.filter(pk=host_id, source=before)
    before_ref = rows.values_list("ref", flat=True).first()
    if before_ref is None or Host.objects.filter(source=after, ref=ref).exists():
        return False
    HostSighting.objects.filter(source=after, ref=ref).delete()
    rows.update(source=after, ref=ref, fact_hash="", links_hash="")
    HostSighting.objects.create(host_id=host_id, source_id=before, ref=before_ref)
    publish(Change("host", str(host_id)), Change("source", str(before)), Change("source", str(after.pk)))
    return True


def _write(source: Source, outcome: _Outcome, known: dict[str, _Seen], lease: Lease, snapshot: Snapshot) -> None:
    taken, seen = outcome.taken, outcome.seen
    new = {ref: host for ref, host in seen.items() if ref not in known or known[ref].rival.host_id != host}
    over = [ref for ref in known if ref not in seen and (snapshot.complete or ref in outcome.own)]
    doubts = {ref: one.rival for ref, one in outcome.doubts.items() if one.is_new_at(snapshot.read_started_at)}
    settled = [ref for ref in seen if ref in known and known[ref].differs_since and ref not in outcome.doubts]
    if not (taken or new or over or doubts or settled):
        return
    with write_transaction():
        # Of hosts it begins to see the owner, too: it may be going away at this moment.
        owners = Host.objects.filter(pk__in=new.values()).values_list("source_id", flat=True)
        rivals = [*(rival for rival, _ref in taken), *doubts.values()]
        lock_sources([source.pk, *owners, *(rival.source_id for rival in rivals)])
        renew(lease)
        for rival, ref in taken:
            _take(rival.host_id, rival.source_id, source, ref)
        mine = HostSighting.objects.filter(source=source)
        mine.filter(ref__in=[*over, *new]).delete()
        mine.filter(ref__in=settled).update(differs_since=None)
        if doubts:
            mine.filter(ref__in=doubts).update(differs_since=snapshot.read_started_at)
            hurry(rival.source_id for rival in doubts.values())
        _add(source, new)
        gone = {known[ref].rival.host_id for ref in over}
        publish(*(Change("host", str(host)) for host in {*new.values(), *gone}))


def _add(source: Source, new: dict[str, UUID]) -> None:
    there = set(Host.objects.filter(pk__in=new.values()).values_list("pk", flat=True))
    rows = [
        HostSighting(id=new_id(), host_id=host, source=source, ref=ref) for ref, host in new.items() if host in there
    ]
    HostSighting.objects.bulk_create(rows)


def _key(source: Source, fact: HostFact) -> Key:
    return identity(fact.uuid, source.pk, fact.ref), text(fact.name, 255), text(fact.hypervisor, 64)


def _rivals(source: Source, facts: Iterable[HostFact]) -> dict[Key, _Rival]:
    """Rows of other sources by what makes a host the same; of several, one that is not idle."""
    wanted = {_key(source, fact) for fact in facts}
    uuids = [uuid for uuid, _name, _hypervisor in wanted]
    rows = Host.objects.filter(datacenter=source.datacenter_id, uuid__in=uuids).exclude(source=source)
    columns = ("uuid", "name", "hypervisor", "pk", "missing_since", "source_id", "source__name", "source__created_at")
    found: dict[Key, _Rival] = {}
    for uuid, host, hypervisor, pk, missing, owner, name, since, state in rows.values_list(*columns, "source__state"):
        key = (uuid, host, hypervisor)
        if key in wanted and (key not in found or found[key].idle):
            idle = missing is not None or state == SourceState.PAUSED
            found[key] = _Rival(pk, owner, name, since, idle)
    return found


def _tell(fact: HostFact, rival: _Rival, findings: Findings, *, in_doubt: bool) -> None:
    message = _(
        "The host %(host)s is left out: the source %(source)s already reads it. This one takes over when that is "
        "paused or removed."
    )
    if in_doubt:
        message = _(
            "The host %(host)s tells another name or UUID than before. It is left out until the source %(source)s, "
            "which reads it, was asked whether it is the same one."
        )
    words = {"host": text(fact.name, 255), "source": rival.source_name}
    findings.add(f"host-owner:{digest(fact.ref)}", message % words)
