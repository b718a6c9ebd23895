"""Writing guests from what a job saw of them."""

from __future__ import annotations

from datetime import datetime

from django.db.models import OuterRef, Subquery

from core.db import after_commit, write_transaction
from core.events import Change, publish
from drivers.types import GuestState
from history.models import How
from hosts.models import Host
from hosts.polling import hurry
from inventory.models import Guest, Nic, Placement
from inventory.recording import Arrival, Move, record_guests, record_moves
from networks.models import VirtualSwitch


def place_guest(
    *,
    guest: Guest,
    host: Host,
    ref: str,
    state: GuestState,
    evidence_at: datetime,
    arrival: Arrival | None = None,
) -> None:
    """Write where a guest is and how, as a job verified it at `evidence_at`.

    No older reading undoes it, and it undoes no newer one: of the place a job's word counts, of the state the latest.
    `arrival`: of the job that moved it there.

    Transaction: joins the caller's, which also writes the job's end.
    """
    with write_transaction():
        row = Guest.objects.select_for_update().get(pk=guest.pk)
        before = row.host_id
        word = Placement.objects.filter(host=host, ref=ref).first()
        if word is not None and word.guest_id == row.pk and word.evidence_at > evidence_at:
            if before == host.pk:
                return  # a poll has written it, and knows it better
            state, evidence_at = GuestState(word.state), word.evidence_at
        row.host, row.ref, row.state, row.evidence_at = host, ref, state.value, evidence_at
        row.missing_since = None
        if before != host.pk:
            _leave(row, evidence_at)
        row.save()
        Placement.objects.update_or_create(
            host=host,
            ref=ref,
            defaults={
                "guest": row,
                "state": state.value,
                "evidence_at": evidence_at,
                "contested": False,
                "claimed_at": None,
            },
        )
        record_guests([row.pk], at=evidence_at)
        publish(Change("guest", str(row.pk)))
        if before != host.pk:
            move = Move(row.pk, row.name, before, host.pk, state.value)
            record_moves([move], at=evidence_at, how=How.MIGRATION if arrival else How.POLL, arrival=arrival)
            publish(Change("host", str(before)), Change("host", str(host.pk)))
            # Disks, addresses and the rest are read again on both sides.
            sources = Host.objects.filter(pk__in=[before, host.pk]).values_list("source", flat=True)
            after_commit(hurry, set(sources))


def suspect_guest(*, guest: Guest, host: Host, ref: str, evidence_at: datetime) -> None:
    """Write down that a host may have the guest, as a job that did not learn it at `evidence_at` leaves it.

    Who starts the guest asks that host first. A word of the host that is there already says as much and stays; the
    host's next complete read confirms or removes this one.

    Transaction: joins the caller's, which also writes the job's end.
    """
    with write_transaction():
        row = Guest.objects.select_for_update().get(pk=guest.pk)
        if Placement.objects.filter(guest=row, host=host).exists():
            return
        said = {"guest": row, "state": GuestState.UNKNOWN.value, "evidence_at": evidence_at}
        Placement.objects.get_or_create(host=host, ref=ref, defaults=said)
        publish(Change("guest", str(row.pk)))


def _leave(row: Guest, evidence_at: datetime) -> None:
    """Forget what other hosts said before the move, and plug the NICs in where the guest is now."""
    row.placed_at = evidence_at
    row.fact_hash = row.devices_hash = ""
    Placement.objects.filter(guest=row, evidence_at__lt=evidence_at).exclude(host=row.host).delete()
    named = VirtualSwitch.objects.filter(host=row.host_id, name=OuterRef("network"), missing_since=None)
    Nic.objects.filter(guest=row).exclude(network="").update(switch=Subquery(named.values("pk")[:1]))
    Placement.objects.filter(guest=row, host=row.host).update(fact_hash="")
