"""Writing down what changed. Callers pass what differs from what they knew; nothing is compared here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core import bulk
from history.models import GuestRevision, GuestStay, RecordedObject

GUEST = "guest"

REVISION = ("object_id", "valid_from", "gone", "name", "datacenter_id", "vcpus", "memory_bytes", "facts")
STAY = ("object_id", "valid_from", "state", "host_id")
_MOMENT = ("object_id", "valid_from")

Values = Sequence[Any]


def add_guest_revisions(rows: Sequence[Values]) -> None:
    """Columns as REVISION. The last word of one moment counts.

    Transaction: the one that changes the guests.
    """
    bulk.upsert(GuestRevision, REVISION, rows, key=_MOMENT)


def add_guest_stays(rows: Sequence[Values]) -> None:
    """Columns as STAY; otherwise as `add_guest_revisions`."""
    bulk.upsert(GuestStay, STAY, rows, key=_MOMENT)


def remember_guests(objects: Sequence[tuple[Any, Any]]) -> None:
    """(id, since when) of guests whose first revision is written; those that are known stay as they are."""
    rows = [(GUEST, object_id, since) for object_id, since in objects]
    bulk.upsert(RecordedObject, ("kind", "object_id", "since"), rows, key=("kind", "object_id"), keep=("since",))
