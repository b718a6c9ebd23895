"""Moving a source to another datacenter, which is another trust domain: first what it would mean, then the act.

Nothing of anybody else changes: where a guest or host there is equal to one of these, the act is refused, and what
other sources of the old datacenter know as well stays with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, connection
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from access.models import require
from access.roles import Action
from audit.services import record
from core.db import write_transaction
from core.errors import Conflict, Invalid
from core.events import Change, publish
from history.services import relocate_guests
from hosts.models import Datacenter, Host, HostSighting, Source, SourceState
from hosts.organization import lock_place
from hosts.owners import hand_over_hosts, lock_with_heirs
from hosts.recording import relocate_hosts
from inventory.models import GUEST_LOCK_ORDER, Disk, FolderEntry, Guest, Placement, Watch
from inventory.removal import move_to_their_other_hosts, require_idle
from operations.models import ENDED, Job
from storage.models import Datastore
from storage.relocation import move_datastores

NAMED = 5


@dataclass(slots=True)
class Relocation:
    """`effects` and `blockers` are sentences; with a blocker the act is refused."""

    source: Source
    datacenter: Datacenter
    hosts: int = 0
    guests: int = 0
    effects: list[str] = field(default_factory=list)
    blockers: list[str] = field(default_factory=list)

    @property
    def possible(self) -> bool:
        return not self.blockers


def plan_relocation(*, source: Source, datacenter: Datacenter, by: Any) -> Relocation:
    """What it would mean, as things are now.

    Raises: Forbidden.
    """
    require(by, Action.SOURCES)
    plan = Relocation(source, datacenter)
    staying = _staying_hosts(source)
    ours = _hosts(source).exclude(pk__in=staying.values("pk"))
    going, shared = _guests_going(ours), _guests_staying(ours)
    plan.hosts, plan.guests = ours.count(), going.count()
    _note_blockers(plan, ours, going)
    _note_effects(plan, staying, shared)
    return plan


def move_source(*, source: Source, datacenter: Datacenter, confirmation: str, by: Any) -> Source:
    """Do what the plan says; the source is read again at once.

    Raises: Forbidden; Invalid unless `confirmation` is its name; Conflict for a blocker, or while tasks are open there.
    """
    require(by, Action.SOURCES)
    if confirmation.strip() != source.name:
        raise Invalid(_("Type the source's name to confirm."), field="confirmation")
    with write_transaction():
        heirs = lock_with_heirs(source)
        row = Source.objects.select_for_update(no_key=True).get(pk=source.pk)
        target, before = _locked(row, datacenter)
        _require_idle(row)
        plan = plan_relocation(source=row, datacenter=target, by=by)
        if plan.blockers:
            raise Conflict(" ".join(plan.blockers))
        handed = hand_over_hosts(row, heirs)
        try:
            _move(row, target)
        except IntegrityError as error:  # a read brought an equal guest a moment ago
            raise Conflict(_("Something changed there at this moment. Look at the plan again.")) from error
        _tell(row, before, plan, handed, by=by)
    row.refresh_from_db()
    return row


def _locked(source: Source, datacenter: Datacenter) -> tuple[Datacenter, Datacenter]:
    """The new and the old one, in one order. Raises: Conflict when one is gone."""
    rows = {row.pk: lock_place(row) for row in sorted((datacenter, source.datacenter), key=lambda row: row.pk)}
    return rows[datacenter.pk], rows[source.datacenter_id]


# -- who is concerned


def _hosts(source: Source) -> QuerySet[Host]:
    return Host.objects.filter(source=source)


def _staying_hosts(source: Source) -> QuerySet[Host]:
    """Hosts that another source of the old datacenter takes over."""
    heirs = HostSighting.objects.filter(host__source=source).exclude(source__state=SourceState.PAUSED)
    return _hosts(source).filter(pk__in=heirs.values("host"))


def _here(ours: QuerySet[Host]) -> QuerySet[Guest]:
    words = Placement.objects.filter(host__in=ours)
    return Guest.objects.filter(Q(host__in=ours) | Q(pk__in=words.values("guest")))


def _known_elsewhere(ours: QuerySet[Host]) -> Q:
    words = Placement.objects.exclude(host__in=ours)
    return ~Q(host__in=ours) | Q(pk__in=words.values("guest"))


def _guests_going(ours: QuerySet[Host]) -> QuerySet[Guest]:
    """Guests that nobody else knows."""
    return _here(ours).exclude(_known_elsewhere(ours))


def _guests_staying(ours: QuerySet[Host]) -> QuerySet[Guest]:
    return _here(ours).filter(_known_elsewhere(ours))


# -- the plan


def _note_blockers(plan: Relocation, ours: QuerySet[Host], going: QuerySet[Guest]) -> None:
    if plan.source.datacenter_id == plan.datacenter.pk:
        plan.blockers.append(_("%(source)s is in this datacenter already.") % {"source": plan.source.name})
        return
    there = Guest.objects.filter(datacenter=plan.datacenter, uuid__in=_here(ours).values("uuid"))
    if names := _names(there):
        sentence = _("%(target)s has guests with the same UUIDs: %(names)s. Whose they are has to be settled first.")
        plan.blockers.append(sentence % {"target": plan.datacenter.name, "names": names})
    if names := _names(going.exclude(conflict="")):
        plan.blockers.append(_("Guests are in a conflict: %(names)s. Solve it first.") % {"names": names})
    equal = [
        host.name
        for host in Host.objects.filter(datacenter=plan.datacenter, uuid__in=ours.values("uuid"))
        if ours.filter(uuid=host.uuid, name=host.name, hypervisor=host.hypervisor).exists()
    ]
    if equal:
        sentence = _("%(target)s has these hosts already, by another source: %(names)s.")
        plan.blockers.append(sentence % {"target": plan.datacenter.name, "names": _listed(equal)})


def _note_effects(plan: Relocation, staying: QuerySet[Host], shared: QuerySet[Guest]) -> None:
    hosts = ngettext("%(n)d host goes along,", "%(n)d hosts go along,", plan.hosts) % {"n": plan.hosts}
    guests = ngettext(
        "with %(n)d guest that keeps its identity and all that was noted of it.",
        "with %(n)d guests that keep their identity and all that was noted of them.",
        plan.guests,
    )
    plan.effects.append(f"{hosts} {guests % {'n': plan.guests}}")
    plan.effects.append(_("The hosts leave their clusters, the guests their folders."))
    words = {"before": plan.source.datacenter.name, "after": plan.datacenter.name}
    if names := _names(shared):
        sentence = _(
            "Other sources of %(before)s know these guests, too: %(names)s. They stay there with their history; what "
            "this source shows of them begins anew in %(after)s."
        )
        plan.effects.append(sentence % {**words, "names": names})
    if names := _names(staying):
        sentence = _("Other sources of %(before)s see these hosts, too, and read them from then on: %(names)s.")
        plan.effects.append(sentence % {**words, "names": names})
    plan.effects.append(
        _("Datastores that hosts staying in %(before)s see as well become datastores of their own in %(after)s.")
        % words
    )


def _names(rows: QuerySet[Any]) -> str:
    return _listed(rows.order_by("name").values_list("name", flat=True)[: NAMED + 1])


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:NAMED]) + (" …" if len(found) > NAMED else "")


# -- the act


def _require_idle(source: Source) -> None:
    """Raises: Conflict while a task is open on the source, its hosts or their guests."""
    require_idle(source)
    hosts = [str(pk) for pk in _hosts(source).values_list("pk", flat=True)]
    own = Q(target_kind="host", target_id__in=hosts) | Q(target_kind="source", target_id=str(source.pk))
    busy = Job.objects.exclude(state__in=ENDED).filter(own).first()
    if busy is not None:
        words = {"target": busy.target_name}
        raise Conflict(_("A task is open on %(target)s; wait for it to end or cancel it.") % words)


def _move(source: Source, datacenter: Datacenter) -> None:
    """What the source still has after hosts were handed over. Each statement is one for all: there may be 50,000."""
    ours, now = _hosts(source), timezone.now()
    _lock_guests(ours)
    move_to_their_other_hosts(_guests_staying(ours).filter(host__in=ours), source)
    going = Guest.objects.filter(host__in=ours)  # nobody else knows those that are left
    Placement.objects.filter(host__in=ours).exclude(guest__host__in=ours).delete()
    HostSighting.objects.filter(Q(source=source) | Q(host__source=source)).delete()
    move_datastores(source, datacenter)
    FolderEntry.objects.filter(guest__in=going).delete()
    relocate_guests(going.values("pk"), datacenter.pk, at=now)
    # No read begun before this moment counts: what it brings would stand in history before the move.
    going.update(datacenter=datacenter, twin=0, fact_hash="", placed_at=now)
    Placement.objects.filter(host__in=ours).update(fact_hash="")
    elsewhere = Datastore.objects.exclude(datacenter=datacenter)
    Disk.objects.filter(guest__in=going, datastore__in=elsewhere).update(datastore=None)
    relocate_hosts(ours.values_list("pk", flat=True), datacenter.pk, at=timezone.now())
    ours.update(datacenter=datacenter, cluster=None, links_hash="", fact_hash="")
    _begin_anew(source, datacenter)


def _lock_guests(ours: QuerySet[Host]) -> None:
    """Of the guests here, as polls of other sources lock them: none of those may take one away meanwhile."""
    if connection.features.has_select_for_update:
        rows = Guest.objects.filter(pk__in=_here(ours).values("pk")).order_by(*GUEST_LOCK_ORDER)
        list(rows.select_for_update(no_key=True).values_list("pk", flat=True))


def _begin_anew(source: Source, datacenter: Datacenter) -> None:
    """Whatever was read for the old datacenter and is not written yet, is not written any more."""
    now = timezone.now()
    Source.objects.filter(pk=source.pk).update(
        datacenter=datacenter,
        lease_token=F("lease_token") + 1,
        lease_until=None,
        sent_at=None,
        unsettled="",
        next_inventory_at=now,
        next_states_at=now,
    )
    Watch.objects.filter(pk=source.pk).update(watcher=None, token=F("token") + 1, since=None)


def _tell(source: Source, before: Datacenter, plan: Relocation, handed: dict[str, str], *, by: Any) -> None:
    detail: dict[str, Any] = {"before": before.name, "after": plan.datacenter.name}
    detail |= {"hosts": plan.hosts, "guests": plan.guests} | ({"handed_over": handed} if handed else {})
    record(
        action="source.relocated",
        by=by,
        target_kind="source",
        target_id=source.pk,
        target_name=source.name,
        **detail,
    )
    kinds = ("host", "guest", "datastore", "switch", "datacenter", "cluster", "folder")
    publish(Change("source", str(source.pk)), *(Change(kind, "*") for kind in kinds))
