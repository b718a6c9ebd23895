"""One poll of one source: ask, apply, and say how it went."""

from __future__ import annotations

import logging

from django.db import InterfaceError, OperationalError
from django.utils import timezone

from core.db import write_transaction
from drivers.errors import DriverError
from hosts.lease import Lease, LeaseLost, claim, renew
from hosts.models import Source
from hosts.polling import (
    OPEN_DEADLINE_S,
    PATIENT_DEADLINE_S,
    SNAPSHOT_DEADLINE_S,
    STATES_DEADLINE_S,
    note_certificate,
    record_failure,
    record_success,
    unexpected,
)
from hosts.sessions import open_session
from inventory.sync import apply_snapshot, apply_states

log = logging.getLogger(__name__)


def poll(source_id: str) -> None:
    """Read a source if it is due and nobody else does; never raises for what the source does."""
    try:
        lease = claim(source_id)
        if lease is not None:
            _poll_claimed(Source.objects.get(pk=lease.source_id), lease)
    except (OperationalError, InterfaceError):
        # Ours, not the source's, failed: nothing can be written now; it is read again when its message or lease ends.
        log.exception("The database failed while source %s was read.", source_id)


def _poll_claimed(source: Source, lease: Lease) -> None:
    try:
        whole = _read(source, lease)
        record_success(source, lease, inventory=whole)
    except LeaseLost:
        _tell_lost(source)
    except DriverError as error:
        _fail(source, lease, error)
    except (OperationalError, InterfaceError):
        raise
    except Exception:  # the process boundary: whatever a source's answer breaks must not end its polling
        log.exception("Reading %s failed in an unexpected way.", source.name)
        _fail(source, lease, unexpected())


def _fail(source: Source, lease: Lease, error: DriverError) -> None:
    try:
        record_failure(source, lease, error)
    except LeaseLost:
        _tell_lost(source)


def _tell_lost(source: Source) -> None:
    log.warning("Another worker took over %s; what was read is dropped.", source.name)


def _read(source: Source, lease: Lease) -> bool:
    """Read and apply states, and the whole inventory when it is due or the states do not fit it.

    The quick call goes first, under a short deadline: a source that hangs costs a thread only that long.
    Returns whether the inventory was read. Raises: DriverError, LeaseLost.
    """
    whole = source.next_inventory_at <= timezone.now()
    opening = PATIENT_DEADLINE_S if source.suspect else OPEN_DEADLINE_S
    answering = PATIENT_DEADLINE_S if source.suspect else STATES_DEADLINE_S
    with open_session(source, deadline_s=opening) as session:
        states = session.read_states(deadline_s=answering)
        if not whole:
            outcome = apply_states(source, states, lease.token)
            whole = outcome.needs_inventory(source)
            if not outcome.mismatch:
                _keep_unsettled(source, lease, "")
        if whole:
            with write_transaction():
                renew(lease)
            snapshot = session.snapshot(deadline_s=SNAPSHOT_DEADLINE_S)
            apply_snapshot(source, snapshot, lease.token)
            note_certificate(source, lease, snapshot.server_certificate)
            _keep_unsettled(source, lease, apply_states(source, states, lease.token).mismatch)
    return whole


def _keep_unsettled(source: Source, lease: Lease, mismatch: str) -> None:
    """What a full read did not settle, such as a guest that cannot be read, asks for no other one until its time."""
    if source.unsettled != mismatch:
        with write_transaction():
            renew(lease)
            Source.objects.filter(pk=source.pk).update(unsettled=mismatch)
