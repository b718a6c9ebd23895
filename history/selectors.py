"""What was, at a moment in the past.

Each object there ever was is looked up in an index by its id and the moment: as many looks as objects, however long
their history is.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import BooleanField, Case, Exists, Model, OuterRef, QuerySet, Subquery, Value, When

from access.roles import Action
from history.models import (
    DatastoreRevision,
    GuestBuild,
    GuestMove,
    GuestName,
    GuestRevision,
    GuestStay,
    HostRevision,
    Kind,
    MountRevision,
    RecordedObject,
    SwitchRevision,
)

R = TypeVar("R", bound=Model)


def guests_as_of(at: datetime, *, user: Any, **of_stay: Any) -> QuerySet[GuestRevision]:
    """What each guest there was at that moment was made of.

    `of_stay`: conditions on its state, host or addresses then, as `filter` takes them.
    """
    there = _there(_known(Kind.GUEST, user), at, user=user, **of_stay)
    return _held(GuestRevision.objects.restrict(user, Action.VIEW), there, at)


def guest_names_as_of(at: datetime, *, user: Any, **of_stay: Any) -> QuerySet[GuestName]:
    """The guests there were at that moment as they were called then: for lists by name, of which one page is shown.

    Sorted by name and id it stops where the page is full. The rest of a page say `revisions_at` and `stays_of`.
    `of_stay` as in `guests_as_of`.
    """
    later = GuestName.objects.restrict(user, Action.VIEW).filter(
        object_id=OuterRef("object_id"), valid_from__lte=at, valid_from__gt=OuterRef("valid_from")
    )
    rows = GuestName.objects.restrict(user, Action.VIEW).filter(valid_from__lte=at)
    return _there(rows.filter(~Exists(later)), at, user=user, **of_stay)


def _there(rows: QuerySet[R], at: datetime, *, user: Any, **of_stay: Any) -> QuerySet[R]:
    """Those of these rows whose guest was there then, and was so.

    One answer for each row: asked for the stay itself, PostgreSQL rather reads all stays there ever were.
    """
    so = Case(When(gone=False, **of_stay, then=Value(True)), default=Value(False), output_field=BooleanField())
    then = GuestStay.objects.restrict(user, Action.VIEW).filter(object_id=OuterRef("object_id"), valid_from__lte=at)
    answered: Any = rows.alias(_so=Subquery(then.order_by("-valid_from").values(so=so)[:1]))
    there: QuerySet[R] = answered.filter(_so=True)
    return there


def revisions_at(guests: Iterable[UUID], at: datetime, *, user: Any) -> dict[UUID, GuestRevision]:
    """What these guests were made of at that moment."""
    known = _known(Kind.GUEST, user).filter(object_id__in=list(guests))
    return {row.object_id: row for row in _held(GuestRevision.objects.restrict(user, Action.VIEW), known, at)}


def stays_as_of(at: datetime, *, user: Any, **where: Any) -> QuerySet[GuestStay]:
    """State, host and addresses of every guest at that moment; also of those that were gone then."""
    rows = GuestStay.objects.restrict(user, Action.VIEW)
    return _held(rows, _known(Kind.GUEST, user), at).filter(**where)


def stays_of(guests: Iterable[UUID], at: datetime, *, user: Any) -> dict[UUID, GuestStay]:
    """State, host and addresses of these guests at that moment."""
    known = _known(Kind.GUEST, user).filter(object_id__in=list(guests))
    return {row.object_id: row for row in _held(GuestStay.objects.restrict(user, Action.VIEW), known, at)}


def hardware_of(rows: Iterable[GuestRevision], *, user: Any) -> dict[str, Any]:
    """What the `hardware` of these revisions says, by that."""
    builds = GuestBuild.objects.restrict(user, Action.VIEW).filter(pk__in={row.hardware for row in rows})
    return dict(builds.values_list("pk", "facts"))


def hosts_as_of(at: datetime, *, user: Any) -> QuerySet[HostRevision]:
    rows = HostRevision.objects.restrict(user, Action.VIEW)
    return _held(rows, _known(Kind.HOST, user), at).filter(gone=False)


def datastores_as_of(at: datetime, *, user: Any) -> QuerySet[DatastoreRevision]:
    rows = DatastoreRevision.objects.restrict(user, Action.VIEW)
    return _held(rows, _known(Kind.DATASTORE, user), at).filter(gone=False)


def mounts_as_of(at: datetime, *, user: Any) -> QuerySet[MountRevision]:
    """Which host saw which datastore."""
    rows = MountRevision.objects.restrict(user, Action.VIEW)
    return _held(rows, _known(Kind.MOUNT, user), at).filter(gone=False)


def switches_as_of(at: datetime, *, user: Any) -> QuerySet[SwitchRevision]:
    rows = SwitchRevision.objects.restrict(user, Action.VIEW)
    return _held(rows, _known(Kind.SWITCH, user), at).filter(gone=False)


def revisions_of(guest_id: UUID, *, user: Any) -> QuerySet[GuestRevision]:
    """The newest first."""
    return GuestRevision.objects.restrict(user, Action.VIEW).filter(object_id=guest_id).order_by("-valid_from")


def move_list(*, user: Any) -> QuerySet[GuestMove]:
    """The newest first."""
    return GuestMove.objects.restrict(user, Action.VIEW)


def _known(kind: Kind, user: Any) -> QuerySet[RecordedObject]:
    return RecordedObject.objects.restrict(user, Action.VIEW).filter(kind=kind)


def _held(rows: QuerySet[R], known: QuerySet[RecordedObject], at: datetime) -> QuerySet[R]:
    """For each of these objects the row that held then."""
    then = rows.filter(object_id=OuterRef("object_id"), valid_from__lte=at).order_by("-valid_from")
    return rows.filter(pk__in=known.values(row=Subquery(then.values("pk")[:1])))
