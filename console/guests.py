"""Guests: the list and the page of one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from access.models import require
from access.roles import Action
from console.ages import guest_silence
from console.areas import gauge, tabs
from console.hardware import DEVICES, guest_devices, guest_hardware, snapshot_tree
from console.listing import list_response
from console.load import monitor
from console.sparks import compute_sparks
from console.tables.guests import cpu_percent, guest_rows, guest_spec, load_guests, memory_used, state_cell
from console.tables.migrations import MIGRATIONS
from console.tables.moves import MOVES, move_rows
from console.tables.tasks import TASKS
from console.tagging import tags_fact
from core.units import format_bytes, format_percent, share
from inventory.acts.rules import SNAPSHOT_CREATE, holder_of, reason_for
from inventory.folders import folder_of
from inventory.models import Guest, Placement
from inventory.selectors import details_of, disks_in_common, disks_of, nics_of, twins_of
from migrations.selectors import migration_list
from operations.selectors import jobs_of


@require_safe
def guest_list(request: HttpRequest) -> HttpResponseBase:
    require(request.user, Action.VIEW)
    context = {
        "heading": _("Guests"),
        "empty_icon": "device-desktop",
        "empty_title": _("No guests yet."),
        "empty_hint": _("They appear as soon as a source is read."),
    }
    spec, rows = guest_spec(user=request.user), guest_rows(user=request.user)
    template, live = "guests/guest_list.html", "guests hosts loads"
    return list_response(request, spec, rows, template=template, context=context, live=live)


@require_safe
def guest_page(request: HttpRequest, pk: UUID, tab: str = "summary") -> HttpResponseBase:
    """One guest: state, placement, what it is plugged into, its load; its migrations and tasks."""
    require(request.user, Action.VIEW)
    guest = get_object_or_404(guest_rows(user=request.user), pk=pk)
    context = _frame(guest, tab)
    listed = _tab_list(request.user, guest, tab)
    if listed is not None:
        spec, rows, live = listed
        return list_response(request, spec, rows, template=f"guests/guest_{tab}.html", context=context, live=live)
    if tab == "monitor":
        live = f"guest:{guest.pk} load:{guest.host.source_id}"
        return render(request, "guests/guest_monitor.html", {**context, **monitor(request, "guest", guest.pk, live)})
    if tab == "hardware":
        details = details_of(guest, user=request.user)
        acts = guest_devices(guest, user=request.user)
        return render(request, "guests/guest_hardware.html", {**context, **guest_hardware(details), **acts})
    if tab == "snapshots":
        snapshots = snapshot_tree(details_of(guest, user=request.user))
        reason = reason_for(guest, SNAPSHOT_CREATE, user=request.user, holder=holder_of(guest))
        shown = {**context, "snapshots": snapshots, "act_reason": reason}
        return render(request, "guests/guest_snapshots.html", shown)
    if tab != "summary":
        raise Http404
    return render(request, "guests/guest_page.html", {**context, **_summary(request.user, guest)})


def _tab_list(user: Any, guest: Guest, tab: str) -> tuple[Any, Any, str] | None:
    if tab == "tasks":
        return TASKS, jobs_of(user=user, target_kind="guest", target_id=guest.pk), "tasks"
    if tab == "migrations":
        return MIGRATIONS, migration_list(user=user).filter(guest=guest), "tasks"
    if tab == "moves":
        return MOVES, move_rows(user=user).filter(guest_id=guest.pk), f"guest:{guest.pk}"
    return None


def _frame(guest: Guest, tab: str) -> dict[str, Any]:
    """What every tab shows above its own part."""
    labels: list[tuple[str, str, int | None]] = [
        ("summary", _("Summary"), None),
        ("monitor", _("Monitor"), None),
        ("hardware", _("Hardware"), None),
        ("snapshots", _("Snapshots"), guest.snapshot_count),
        ("migrations", _("Migrations"), None),
        ("moves", _("Moves"), None),
        ("tasks", _("Tasks"), None),
    ]
    return {
        "guest": guest,
        "silence": guest_silence(guest),
        "state_cell": state_cell(guest),
        "tabs": tabs("guest", guest.pk, tab, labels),
    }


def _summary(user: Any, guest: Guest) -> dict[str, Any]:
    load_guests([guest])
    cpu, memory = cpu_percent(guest), memory_used(guest)
    load = guest.load if cpu is not None or memory is not None else None  # type: ignore[attr-defined]
    words = {"part": format_bytes(memory), "whole": format_bytes(guest.memory_bytes)}
    twins = twins_of(guest, user=user)
    placements = Placement.objects.restrict(user, Action.VIEW).filter(guest=guest)
    return {
        "load": load,
        "twins": twins,
        "common_disks": disks_in_common(guest, twins, user=user),
        "folder": folder_of(guest, user=user),
        "gauges": [
            gauge(_("CPU"), cpu, 100.0, format_percent(cpu)),
            gauge(_("Memory"), memory, guest.memory_bytes, _("%(part)s of %(whole)s") % words if memory else ""),
        ],
        "sparks": compute_sparks("guest", guest.pk, guest.memory_bytes, user=user),
        "disks": [_disk(disk) for disk in disks_of(guest, user=user)],
        "nics": nics_of(guest, user=user),
        **tags_fact("guest", guest.pk, user=user),
        "placements": list(placements.select_related("host").order_by("host__name", "id")),
    }


def _disk(disk: Any) -> dict[str, Any]:
    store = disk.datastore
    return {
        "row": disk,
        "icon": DEVICES.get(disk.device, "device-sd-card"),
        "store": store,
        "store_percent": share(store.capacity_bytes - store.available_bytes, store.capacity_bytes) if store else None,
    }
