"""What goes with a source: its guests, unless another source knows them, too."""

from typing import Any

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from core.errors import Conflict
from hosts.models import Host, Source
from inventory.models import Guest, Placement
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
    for guest in Guest.objects.filter(host__in=hosts, placements__host__in=_others(source)).distinct():
        move_to_its_other_host(guest, source)
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


def move_to_its_other_host(guest: Guest, source: Source) -> None:
    """The guest keeps its row, on the host that knows it best; that host's next read fills in the rest."""
    words = Placement.objects.filter(guest=guest, host__in=_others(source)).order_by("-evidence_at")
    best = min(words, key=lambda word: RANK.get(word.state, RANK[UNKNOWN]))
    Guest.objects.filter(pk=guest.pk).update(
        host=best.host_id, ref=best.ref, state=best.state, fact_hash="", devices_hash="", conflict=""
    )
    Placement.objects.filter(pk=best.pk).update(fact_hash="", contested=False, claimed_at=None)
    record_guests([guest.pk], at=timezone.now())


def _others(source: Source) -> Any:
    return Host.objects.exclude(source=source)
