"""What was, at a moment in the past."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery

from access.roles import Action
from history.models import GuestRevision, GuestStay, RecordedObject
from history.services import GUEST

R = TypeVar("R", GuestRevision, GuestStay)


def guests_as_of(at: datetime, *, user: Any) -> QuerySet[GuestRevision]:
    """What each guest there was at that moment was made of."""
    return _as_of(GuestRevision.objects.restrict(user, Action.VIEW), at, user).filter(gone=False)


def stays_as_of(at: datetime, *, user: Any) -> QuerySet[GuestStay]:
    """State and host of every guest at that moment; also of those that were gone then."""
    return _as_of(GuestStay.objects.restrict(user, Action.VIEW), at, user)


def revisions_of(guest_id: UUID, *, user: Any) -> QuerySet[GuestRevision]:
    """The newest first."""
    return GuestRevision.objects.restrict(user, Action.VIEW).filter(object_id=guest_id).order_by("-valid_from")


def _as_of(rows: QuerySet[R], at: datetime, user: Any) -> QuerySet[R]:
    """For each object the row that held then: one look into the index for each object there ever was."""
    then = rows.filter(object_id=OuterRef("object_id"), valid_from__lte=at).order_by("-valid_from")
    known = (
        RecordedObject.objects.restrict(user, Action.VIEW)
        .filter(kind=GUEST)
        .annotate(row=Subquery(then.values("pk")[:1]))
    )
    return rows.filter(pk__in=known.values("row"))
