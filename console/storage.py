"""Datastores: the list and the page of one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from access.models import require
from access.roles import Action
from console.ages import datastore_seen_at, datastore_silence, host_silence
from console.areas import gauge, tabs
from console.listing import list_response
from console.load import monitor
from console.sparks import space_sparks
from console.tables.datastores import (
    datastore_rows,
    datastore_spec,
    state_cell,
    storage_class,
    technology,
    used_bytes,
)
from console.tables.guests import guest_rows, guest_spec
from console.tables.hosts import host_rows, host_spec
from console.tables.volumes import volume_spec
from console.tagging import tags_fact
from core.units import format_bytes
from inventory.models import Disk
from storage.models import Datastore, DatastoreMount
from storage.selectors import volumes_of


@require_safe
def datastore_list(request: HttpRequest) -> HttpResponseBase:
    require(request.user, Action.VIEW)
    context = {
        "heading": _("Datastores"),
        "empty_icon": "database",
        "empty_title": _("No datastores yet."),
        "empty_hint": _("They appear as soon as a source is read."),
    }
    spec, rows = datastore_spec(user=request.user), datastore_rows(user=request.user)
    return list_response(request, spec, rows, context=context, live="datastores hosts sources loads")


@require_safe
def datastore_page(request: HttpRequest, pk: UUID, tab: str = "summary") -> HttpResponseBase:
    """One datastore: capacity, the volumes in it, the hosts that see it, the guests with disks on it."""
    require(request.user, Action.VIEW)
    datastore = get_object_or_404(datastore_rows(user=request.user), pk=pk)
    disks = Disk.objects.restrict(request.user, Action.VIEW).filter(datastore=datastore)
    context = _frame(request.user, datastore, disks, tab)
    if tab == "summary":
        return render(request, "storage/datastore_page.html", {**context, **_summary(request.user, datastore, disks)})
    if tab == "monitor":
        figures = monitor(request, "datastore", datastore.pk, f"datastore:{datastore.pk}")
        return render(request, "storage/datastore_monitor.html", {**context, **figures})
    if tab == "volumes":
        return _volumes(request, datastore, context)
    if tab == "guests":
        # By id: a guest with two disks here is one row.
        rows: Any = guest_rows(user=request.user).filter(pk__in=disks.values("guest"))
        spec: Any = guest_spec(user=request.user)
    elif tab == "hosts":
        mounts = DatastoreMount.objects.restrict(request.user, Action.VIEW)
        seeing = mounts.filter(datastore=datastore, missing_since=None).values("host")
        rows = host_rows(user=request.user).filter(pk__in=seeing)
        spec = host_spec(user=request.user)
    else:
        raise Http404
    return list_response(
        request, spec, rows, template="storage/datastore_list_tab.html", context=context, live=f"{tab} loads"
    )


def _volumes(request: HttpRequest, datastore: Datastore, context: dict[str, Any]) -> HttpResponseBase:
    told = {
        "empty_icon": "device-sd-card",
        "empty_title": _("No volumes here."),
        "empty_hint": "" if datastore.active else _("They are listed when the datastore is active on a host."),
    }
    return list_response(
        request,
        volume_spec(datastore, user=request.user),
        volumes_of(datastore, user=request.user),
        template="storage/datastore_volumes.html",
        context={**context, **told},
        live=f"datastore:{datastore.pk} guests",
    )


def _frame(user: Any, datastore: Datastore, disks: QuerySet[Disk], tab: str) -> dict[str, Any]:
    """What every tab shows above its own part."""
    counts = disks.aggregate(
        guests=Count("guest", distinct=True), disks=Count("pk"), bytes=Sum("capacity_bytes", default=0)
    )
    volumes = volumes_of(datastore, user=user).aggregate(
        number=Count("pk"), capacity=Sum("capacity_bytes", default=0), allocated=Sum("allocated_bytes", default=0)
    )
    mounts = [mount for mount in datastore.mounts.all() if mount.missing_since is None]
    labels = [
        ("summary", _("Summary"), None),
        ("monitor", _("Monitor"), None),
        ("volumes", _("Volumes"), volumes["number"]),
        ("guests", _("Guests"), counts["guests"]),
        ("hosts", _("Hosts"), len(mounts)),
    ]
    return {
        "datastore": datastore,
        "disks": counts,
        "volumes": volumes,
        "are_volumes_cut": any(mount.volumes_cut for mount in mounts),
        "mounts": [
            {"row": mount, "silence": host_silence(mount.host)} for mount in sorted(mounts, key=lambda m: m.host.name)
        ],
        "silence": datastore_silence(datastore),
        "seen_at": datastore_seen_at(datastore),
        "state_cell": state_cell(datastore),
        "tabs": tabs("datastore", datastore.pk, tab, labels),
    }


GUESTS_SHOWN = 20


def _summary(user: Any, datastore: Datastore, disks: QuerySet[Disk]) -> dict[str, Any]:
    used = used_bytes(datastore)
    words = {"part": format_bytes(used), "whole": format_bytes(datastore.capacity_bytes)}
    largest = disks.select_related("guest").order_by("-capacity_bytes", "id")
    return {
        **tags_fact("datastore", datastore.pk, user=user),
        "technology": technology(datastore),
        "storage_class": storage_class(datastore),
        "gauges": [gauge(_("Used"), used, datastore.capacity_bytes, _("%(part)s of %(whole)s") % words)],
        "sparks": space_sparks(datastore.pk, user=user),
        "largest": list(largest.exclude(capacity_bytes=None)[:GUESTS_SHOWN]),
    }
