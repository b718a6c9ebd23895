"""Writing guests from what a job saw of them."""

from datetime import datetime

from core.db import write_transaction
from core.events import Change, publish
from drivers.types import GuestState
from hosts.models import Host
from inventory.models import Guest, Placement


def place_guest(*, guest: Guest, host: Host, ref: str, state: GuestState, evidence_at: datetime) -> None:
    """Write where a guest is and how, as a job verified it at `evidence_at`. No older reading undoes it.

    Transaction: joins the caller's, which also writes the job's end.
    """
    with write_transaction():
        row = Guest.objects.select_for_update().get(pk=guest.pk)
        if row.host_id != host.pk:
            Placement.objects.filter(guest=row, host=row.host_id).delete()
            row.placed_at = evidence_at
        row.host, row.ref, row.state, row.evidence_at = host, ref, state.value, evidence_at
        row.missing_since = None
        row.save(update_fields=["host", "ref", "state", "evidence_at", "placed_at", "missing_since"])
        Placement.objects.update_or_create(
            host=host, ref=ref, defaults={"guest": row, "state": state.value, "evidence_at": evidence_at}
        )
        publish(Change("guest", str(row.pk)))
