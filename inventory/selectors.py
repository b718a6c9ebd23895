"""Reading guests with their devices, and hosts with their guests."""

from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from access.roles import Action
from core.models import count_of
from hosts import selectors as hosts
from hosts.models import Host
from inventory.models import Disk, Guest, GuestDetails, GuestState, Nic
from networks.models import VirtualSwitch
from storage.models import Datastore

MOST_TWINS = 50


def guest_list(*, user: Any) -> QuerySet[Guest]:
    """With host, source and datacenter, so that ages and names need no further query."""
    return Guest.objects.restrict(user, Action.VIEW).select_related("host__source", "datacenter")


def host_list(*, user: Any) -> QuerySet[Host]:
    """With `guest_count` and `running_count`."""
    guests = Guest.objects.restrict(user, Action.VIEW).filter(missing_since=None)
    # The state is no condition of the query: an index on it would be chosen, and it covers most guests.
    return hosts.host_list(user=user).annotate(
        guest_count=count_of(guests, "host"),
        running_count=count_of(guests, "host", filter=Q(state=GuestState.RUNNING)),
    )


def disks_of(guest: Guest, *, user: Any) -> list[Disk]:
    """With the datastore of each: none where this user does not see it."""
    stores = Datastore.objects.restrict(user, Action.VIEW).filter(pk=OuterRef("datastore"))
    rows = Disk.objects.restrict(user, Action.VIEW).filter(guest=guest).select_related("datastore")
    return _unlinked(rows.annotate(is_linked=Exists(stores)), "datastore")


def twins_of(guest: Guest, *, user: Any) -> list[Guest]:
    """The other guests that have its UUID in its datacenter, with their hosts; none while there is no conflict."""
    if not guest.conflict:
        return []
    same = guest_list(user=user).filter(datacenter=guest.datacenter_id, uuid=guest.uuid)
    return list(same.exclude(pk=guest.pk).order_by("twin")[:MOST_TWINS])


def disks_in_common(guest: Guest, twins: list[Guest], *, user: Any) -> list[Disk]:
    """Disks of this guest that one of these others writes to as well."""
    if not twins:
        return []
    theirs = Disk.objects.restrict(user, Action.VIEW).filter(guest__in=twins, datastore=OuterRef("datastore"))
    theirs = theirs.filter(source=OuterRef("source"), read_only=False)
    ours = Disk.objects.restrict(user, Action.VIEW).filter(guest=guest, shareable=False, read_only=False)
    return list(ours.exclude(source="").filter(Exists(theirs)))


def details_of(guest: Guest, *, user: Any) -> GuestDetails:
    """Empty ones while nothing was read in full."""
    found = GuestDetails.objects.restrict(user, Action.VIEW).filter(guest=guest).first()
    return found or GuestDetails(guest=guest)


def nics_of(guest: Guest, *, user: Any) -> list[Nic]:
    """With the switch of each: none where this user does not see it."""
    switches = VirtualSwitch.objects.restrict(user, Action.VIEW).filter(pk=OuterRef("switch"))
    rows = Nic.objects.restrict(user, Action.VIEW).filter(guest=guest).select_related("switch")
    return _unlinked(rows.annotate(is_linked=Exists(switches)), "switch")


def _unlinked(rows: QuerySet[Any], name: str) -> list[Any]:
    """The rows, in one query, without what is not to be seen beside them."""
    found = list(rows)
    for row in found:
        if not row.is_linked:
            setattr(row, name, None)
    return found
