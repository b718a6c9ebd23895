"""What goes with a source: its guests, unless another source knows them, too."""

from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from core import bulk
from core.bulk import BATCH
from core.errors import Conflict
from hosts.models import Host, Source
from inventory.models import GUEST_LOCK_ORDER, Guest, Placement
from inventory.recording import record_gone, record_guests
from inventory.resolve import RANK, UNKNOWN
from metrics.models import GuestLoad, HostLoad
from operations.models import ENDED, Job
from search.models import Kind
from search.services import forget


def on_source_removing(*, source: Source, **kwargs: Any) -> None:
    """Raises: Conflict while a task is open on one of its guests.

    Transaction: the one that removes the source.
    """
    require_idle(source)
    hosts = list(source.hosts.values_list("pk", flat=True))
    shared = Guest.objects.filter(host__in=hosts, placements__host__in=_others(source)).distinct()
    move_to_their_other_hosts(Guest.objects.filter(pk__in=shared.values("pk")), source)
    record_gone(Guest.objects.filter(host__in=hosts).values_list("pk", flat=True), at=timezone.now())
    forget(Kind.GUEST, Guest.objects.filter(host__in=hosts).values("pk"))
    GuestLoad.objects.filter(pk__in=Guest.objects.filter(host__in=hosts).values("pk")).delete()
    HostLoad.objects.filter(pk__in=hosts).delete()


def require_idle(source: Source) -> None:
    """Raises: Conflict while a task is open on a guest that this source knows."""
    open_jobs = Job.objects.exclude(state__in=ENDED).filter(target_kind="guest")
    here = Q(host__source=source) | Q(placements__host__source=source)
    busy = Guest.objects.filter(here, pk__in=list(open_jobs.values_list("target_id", flat=True))).first()
    if busy is not None:
        raise Conflict(_("A task is open on %(target)s; wait for it to end or cancel it.") % {"target": busy.name})


def move_to_their_other_hosts(guests: QuerySet[Guest], source: Source) -> None:
    """The guests keep their rows, each on the host that knows it best; that host's next read fills in the rest.

    `guests`: each is known to a host of another source.
    """
    rows = guests.order_by(*GUEST_LOCK_ORDER).select_for_update(no_key=True)
    wanted = list(rows.values_list("pk", flat=True))
    for start in range(0, len(wanted), BATCH):
        _move_some(wanted[start : start + BATCH], source)
    record_guests(wanted, at=timezone.now())


def _move_some(guests: list[UUID], source: Source) -> None:
    words: dict[UUID, Placement] = {}
    for word in Placement.objects.filter(guest__in=guests, host__in=_others(source)).order_by("-evidence_at", "pk"):
        best = words.setdefault(word.guest_id, word)
        if _rank(word) < _rank(best):
            words[word.guest_id] = word
    places = [(word.guest_id, word.host_id, word.ref, word.state, "", "", "") for word in words.values()]
    bulk.update(Guest, ("id", "host", "ref", "state", "fact_hash", "devices_hash", "conflict"), places)
    of_them = Placement.objects.filter(pk__in=[word.pk for word in words.values()])
    of_them.update(fact_hash="", contested=False, claimed_at=None)


def _rank(word: Placement) -> int:
    return RANK.get(word.state, RANK[UNKNOWN])


def _others(source: Source) -> Any:
    return Host.objects.exclude(source=source)
