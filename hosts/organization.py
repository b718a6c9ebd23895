"""Acts on datacenters and clusters: the order that people give to their hosts. None of it reaches a hypervisor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar
from uuid import UUID

from django.db import IntegrityError
from django.db.models import ProtectedError
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from access.models import require
from access.roles import Action
from audit.services import record
from core.db import write_transaction
from core.errors import Conflict, Invalid
from core.events import Change, publish
from hosts.models import Cluster, Datacenter, Host, Source
from hosts.search import index_places, kind_of_place
from hosts.validation import checked_name
from search.services import forget

# One transaction, one audit row: more than a dialog offers at once.
MOST_HOSTS = 1000
# An audit row names so many of them; their number is there, too.
MOST_NAMED = 100

Place = TypeVar("Place", Datacenter, Cluster)


def create_datacenter(*, name: str, by: Any) -> Datacenter:
    """A datacenter without anything in it yet.

    Raises: Forbidden, Invalid for a name that is taken, in whatever letters.
    """
    require(by, Action.SOURCES)
    row = Datacenter(name=checked_name(name))
    with write_transaction():
        _require_free_datacenter(row)
        _save(row, _datacenter_taken(row.name), force_insert=True)
        _record("datacenter.created", row, by=by, what="added")
    return row


def rename_datacenter(*, datacenter: Datacenter, name: str, by: Any) -> Datacenter:
    """Raises: Forbidden, Invalid for a name that is taken, Conflict when it is gone."""
    require(by, Action.SOURCES)
    new = checked_name(name)
    with write_transaction():
        row = lock_place(datacenter)
        before, row.name = row.name, new
        if before != new:
            _require_free_datacenter(row)
            _save(row, _datacenter_taken(new), update_fields=["name"])
            _record("datacenter.renamed", row, by=by, before=before)
    return row


def delete_datacenter(*, datacenter: Datacenter, by: Any) -> None:
    """Only an empty one: its sources are removed before, its clusters deleted.

    Raises: Forbidden, Conflict.
    """
    require(by, Action.SOURCES)
    with write_transaction():
        row = lock_place(datacenter, to_delete=True)
        _require_empty(row)
        _record("datacenter.deleted", row, by=by, what="removed")
        forget(kind_of_place(row), [row.pk])
        try:
            row.delete()
        except ProtectedError as error:  # what the apps above keep in it
            inside = min(map(str, error.protected_objects))
            raise _not_empty(row, inside) from error


def create_cluster(*, datacenter: Datacenter, name: str, by: Any) -> Cluster:
    """A cluster without hosts.

    Raises: Forbidden, Invalid for a name that another cluster of the datacenter has, Conflict without the datacenter.
    """
    require(by, Action.SOURCES)
    row = Cluster(name=checked_name(name))
    with write_transaction():
        row.datacenter = lock_place(datacenter)
        _save(row, _cluster_taken(row.name), force_insert=True)
        _record("cluster.created", row, by=by, what="added", datacenter=row.datacenter.name)
    return row


def rename_cluster(*, cluster: Cluster, name: str, by: Any) -> Cluster:
    """Raises: Forbidden, Invalid for a name that another cluster of the datacenter has, Conflict when it is gone."""
    require(by, Action.SOURCES)
    new = checked_name(name)
    with write_transaction():
        row = lock_place(cluster)
        before, row.name = row.name, new
        if before != new:
            _save(row, _cluster_taken(new), update_fields=["name"])
            _record("cluster.renamed", row, by=by, before=before)
    return row


def delete_cluster(*, cluster: Cluster, by: Any) -> None:
    """Its hosts stay, directly in their datacenter. One that is gone already is no error.

    Raises: Forbidden.
    """
    require(by, Action.SOURCES)
    with write_transaction():
        row = Cluster.objects.select_for_update().filter(pk=cluster.pk).first()
        if row is None:
            return
        hosts = list(Host.objects.filter(cluster=row).order_by("name"))
        _record("cluster.deleted", row, by=by, what="removed", **_named(hosts))
        publish(*(Change("host", str(host.pk)) for host in hosts))
        forget(kind_of_place(row), [row.pk])
        row.delete()


def assign_hosts(*, hosts: Iterable[UUID], cluster: Cluster, by: Any) -> list[Host]:
    """Put hosts into a cluster, out of whichever they were in; those that moved.

    Raises: Forbidden; Invalid for hosts of another datacenter; Conflict when a host or the cluster is gone.
    """
    require(by, Action.SOURCES)
    wanted = _wanted(hosts)
    with write_transaction():
        row = lock_place(cluster)
        found = _locked_hosts(wanted, by=by)
        _require_same_datacenter(row, found)
        moved = [host for host in found if host.cluster_id != row.pk]
        _place(moved, row)
        if moved:
            _record("cluster.hosts_assigned", row, by=by, **_named(moved))
    return moved


def release_hosts(*, hosts: Iterable[UUID], cluster: Cluster, by: Any) -> list[Host]:
    """Take hosts out of a cluster; they stay in the datacenter. One that is in another by now stays there.

    Raises: Forbidden; Conflict when a host or the cluster is gone.
    """
    require(by, Action.SOURCES)
    wanted = _wanted(hosts)
    with write_transaction():
        row = lock_place(cluster)
        moved = [host for host in _locked_hosts(wanted, by=by) if host.cluster_id == row.pk]
        _place(moved, None)
        if moved:
            _record("cluster.hosts_released", row, by=by, **_named(moved))
    return moved


def _wanted(hosts: Iterable[UUID]) -> list[UUID]:
    wanted = sorted(set(hosts))
    if not wanted:
        raise Invalid(_("Choose at least one host."), field="hosts")
    if len(wanted) > MOST_HOSTS:
        raise Invalid(_("Choose at most %(n)d hosts at once.") % {"n": MOST_HOSTS}, field="hosts")
    return wanted


def lock_place(row: Place, *, to_delete: bool = False) -> Place:
    """The row as it is now; nobody deletes it before the transaction ends. Raises: Conflict."""
    rows = type(row)._default_manager.select_for_update(no_key=not to_delete)
    fresh = rows.filter(pk=row.pk).first()
    if fresh is None:
        raise Conflict(_("%(name)s is gone; somebody deleted it.") % {"name": row.name})
    return fresh


def _locked_hosts(wanted: list[UUID], *, by: Any) -> list[Host]:
    """In one order, so that two people at once wait for each other. Raises: Conflict."""
    rows = Host.objects.restrict(by, Action.SOURCES).select_for_update(no_key=True).filter(pk__in=wanted)
    found = list(rows.order_by("pk"))
    if len(found) < len(wanted):
        raise Conflict(_("A host that you chose is gone; look at the list again."))
    return found


def _place(hosts: list[Host], cluster: Cluster | None) -> None:
    Host.objects.filter(pk__in=[host.pk for host in hosts]).update(cluster=cluster)
    clusters = {host.cluster_id for host in hosts} - {None}
    publish(*(Change("host", str(host.pk)) for host in hosts), *(Change("cluster", str(pk)) for pk in clusters))


def _require_same_datacenter(cluster: Cluster, hosts: list[Host]) -> None:
    far = [host.name for host in hosts if host.datacenter_id != cluster.datacenter_id]
    if far:
        raise Invalid(
            _("%(host)s is in another datacenter than the cluster %(cluster)s.")
            % {"host": far[0], "cluster": cluster.name},
            field="hosts",
        )


def _require_free_datacenter(row: Datacenter) -> None:
    if Datacenter.objects.filter(name__iexact=row.name).exclude(pk=row.pk).exists():
        raise _datacenter_taken(row.name)


def _require_empty(row: Datacenter) -> None:
    sources = Source.objects.filter(datacenter=row)
    clusters = Cluster.objects.filter(datacenter=row)
    first = sources.first()
    if first is not None:
        raise Conflict(
            ngettext(
                "%(name)s is not empty: the source %(source)s belongs to it. Remove that first.",
                "%(name)s is not empty: %(n)d sources belong to it, such as %(source)s. Remove them first.",
                sources.count(),
            )
            % {"name": row.name, "n": sources.count(), "source": first.name}
        )
    cluster = clusters.first()
    if cluster is not None:
        raise _not_empty(row, cluster.name)


def _not_empty(row: Datacenter, inside: str) -> Conflict:
    return Conflict(
        _("%(name)s is not empty: %(inside)s is in it. Delete that first.") % {"name": row.name, "inside": inside}
    )


def _datacenter_taken(name: str) -> Invalid:
    return Invalid(_("There is already a datacenter named %(name)s.") % {"name": name}, field="name")


def _cluster_taken(name: str) -> Invalid:
    return Invalid(_("This datacenter already has a cluster named %(name)s.") % {"name": name}, field="name")


def _save(row: Datacenter | Cluster, taken: Invalid, **how: Any) -> None:
    """Raises: `taken` when somebody was faster with this name."""
    try:
        row.save(**how)
    except IntegrityError as error:
        raise taken from error
    index_places([row])


def _named(hosts: list[Host]) -> dict[str, Any]:
    return {"number": len(hosts), "hosts": [host.name for host in hosts[:MOST_NAMED]]}


def _record(action: str, row: Datacenter | Cluster, *, by: Any, what: str = "changed", **detail: Any) -> None:
    kind = "datacenter" if isinstance(row, Datacenter) else "cluster"
    record(action=action, by=by, target_kind=kind, target_id=row.pk, target_name=row.name, **detail)
    publish(Change(kind, str(row.pk), what))
