"""One host that several sources show, such as by tcp and by ssh: one of them owns its row and is believed.

The others stand by. When the owner is removed or paused, or shows the host no more, the next one takes the row over
with all that hangs on it, so that neither the host nor its guests become others.

Equal are UUID, name and hypervisor within one trust domain: cheap boards come with the same UUID by the thousand, and a
machine may run QEMU and containers, which are two hosts with guests of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.utils import timezone
from django.utils.translation import gettext as _

from core.db import write_transaction
from core.events import Change, publish
from core.ids import new_id
from drivers.types import HostFact, StateReading
from hosts.facts import Findings, digest, identity, key_text, text
from hosts.lease import Lease, renew
from hosts.models import Datacenter, Host, HostSighting, Source, SourceState

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


def own_hosts(
    source: Source, facts: Iterable[HostFact], lease: Lease, findings: Findings, *, complete: bool
) -> list[HostFact]:
    """Each host that is this source's own, once; the others are noted as seen by it, too.

    Raises: LeaseLost. Transaction: its own, and only when something changed.
    """
    once = {fact.ref: fact for fact in facts}
    rivals = _rivals(source, once.values())
    missing = dict(Host.objects.filter(source=source).values_list("ref", "missing_since"))
    own, taken, seen = [], [], {}
    for fact in once.values():
        ref, rival = key_text(fact.ref, 255), rivals.get(_key(source, fact))
        findings.look_at(f"host-owner:{digest(fact.ref)}")
        if rival is None or (ref in missing and _is_before(source, rival, missing[ref])):
            own.append(fact)
        elif rival.idle and ref not in missing:
            own.append(fact)
            taken.append((rival, ref))
        else:
            seen[ref] = rival.host_id
            _tell(fact, rival, findings)
    _write(source, taken, seen, lease, complete=complete)
    return own


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


def hand_over_hosts(source: Source) -> dict[str, str]:
    """Give this source's hosts to those that see them, too; names of hosts and of their new owners.

    They are read at once. Transaction: the one that pauses or removes the source.
    """
    handed: dict[UUID, tuple[str, str]] = {}
    waiting = HostSighting.objects.filter(host__source=source).exclude(source__state=SourceState.PAUSED)
    for sighting in waiting.select_related("host", "source").order_by("source__created_at", "pk"):
        host, after = sighting.host, sighting.source
        if host.pk not in handed and _take(host.pk, source.pk, after, sighting.ref):
            handed[host.pk] = (host.name, after.name)
            now = timezone.now()
            Source.objects.filter(pk=after.pk).update(next_inventory_at=now, next_states_at=now)
    return dict(handed.values())


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


def _write(
    source: Source, taken: list[tuple[_Rival, str]], seen: dict[str, UUID], lease: Lease, *, complete: bool
) -> None:
    known = dict(HostSighting.objects.filter(source=source).values_list("ref", "host_id"))
    new = {ref: host for ref, host in seen.items() if known.get(ref) != host}
    over = [ref for ref in known if ref not in seen and (complete or ref in {own for _rival, own in taken})]
    if not (taken or new or over):
        return
    with write_transaction():
        renew(lease)
        for rival, ref in taken:
            _take(rival.host_id, rival.source_id, source, ref)
        HostSighting.objects.filter(source=source, ref__in=[*over, *new]).delete()
        there = set(Host.objects.filter(pk__in=new.values()).values_list("pk", flat=True))
        rows = [
            HostSighting(id=new_id(), host_id=host, source=source, ref=ref)
            for ref, host in new.items()
            if host in there
        ]
        HostSighting.objects.bulk_create(rows)
        publish(*(Change("host", str(host)) for host in {*new.values(), *(known[ref] for ref in over if ref in known)}))


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


def _tell(fact: HostFact, rival: _Rival, findings: Findings) -> None:
    message = _(
        "The host %(host)s is left out: the source %(source)s already reads it. This one takes over when that is "
        "paused or removed."
    )
    words = {"host": text(fact.name, 255), "source": rival.source_name}
    findings.add(f"host-owner:{digest(fact.ref)}", message % words)
