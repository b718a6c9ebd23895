"""What was, at a moment in the past.

Each object there ever was is looked up in an index by its id and the moment: as many looks as objects, however long
their history is.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, OuterRef, QuerySet, Subquery

from access.roles import Action
from history.models import (
    DatastoreRevision,
    GuestBuild,
    GuestMove,
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
    there = stays_as_of(at, user=user, gone=False, **of_stay)
    rows = GuestRevision.objects.restrict(user, Action.VIEW)
    return _held(rows, _known(Kind.GUEST, user).filter(object_id__in=there.values("object_id")), at)


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
