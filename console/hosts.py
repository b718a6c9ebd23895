"""Hosts: the list and the page of one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Count, Q, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from access.models import require
from access.roles import Action
from console.ages import host_seen_at, host_silence
from console.areas import gauge, tabs
from console.host_hardware import host_hardware
from console.listing import list_response
from console.load import monitor
from console.sparks import compute_sparks
from console.tables.datastores import datastore_rows, datastore_spec
from console.tables.guests import guest_rows, guest_spec
from console.tables.hosts import (
    brand,
    cpu_percent,
    host_rows,
    host_spec,
    hypervisor,
    load_hosts,
    memory_used,
    state_cell,
)
from console.tables.switches import switch_rows, switch_spec
from console.tables.tasks import TASKS
from console.tagging import tags_fact
from core.units import format_bytes, format_percent
from hosts.models import Host
from hosts.selectors import details_of, sources_standing_by
from inventory.models import Guest, GuestState
from networks.models import VirtualSwitch
from operations.selectors import job_list, jobs_of
from storage.models import DatastoreMount

SHOWN = 50


@require_safe
def host_list(request: HttpRequest) -> HttpResponseBase:
    require(request.user, Action.VIEW)
    context = {
        "heading": _("Hosts"),
        "empty_icon": "server-2",
        "empty_title": _("No hosts yet."),
        "empty_hint": _("They appear as soon as a source is read."),
    }
    live = "hosts guests sources clusters loads"
    spec, rows = host_spec(user=request.user), host_rows(user=request.user)
    return list_response(request, spec, rows, template="hosts/host_list.html", context=context, live=live)


@require_safe
def host_page(request: HttpRequest, pk: UUID, tab: str = "summary") -> HttpResponseBase:
    """One host: state, capacity, what is on it; its hardware; and lists of its guests, datastores, switches, tasks."""
    require(request.user, Action.VIEW)
    host = get_object_or_404(host_rows(user=request.user), pk=pk)
    context = _frame(request.user, host, tab)
    if tab == "summary":
        return render(request, "hosts/host_page.html", {**context, **_summary(request.user, host)})
    if tab == "monitor":
        live = f"host:{host.pk} load:{host.source_id}"
        return render(request, "hosts/host_monitor.html", {**context, **monitor(request, "host", host.pk, live)})
    if tab == "hardware":
        details = details_of(host, user=request.user)
        return render(request, "hosts/host_hardware.html", {**context, **host_hardware(details)})
    found = _tab_list(request.user, host, tab)
    if found is None:
        raise Http404
    spec, rows, live = found
    return list_response(request, spec, rows, template="hosts/host_list_tab.html", context=context, live=live)


def _tab_list(user: Any, host: Host, tab: str) -> tuple[Any, Any, str] | None:
    if tab == "guests":
        return guest_spec(user=user), guest_rows(user=user).filter(host=host), f"guests host:{host.pk} loads"
    if tab == "datastores":
        seen = _mounts(user, host).values("datastore")
        rows = datastore_rows(user=user).filter(pk__in=seen)
        return datastore_spec(user=user), rows, f"datastores host:{host.pk}"
    if tab == "switches":
        return switch_spec(user=user), switch_rows(user=user).filter(host=host), f"switches host:{host.pk}"
    if tab == "tasks":
        return TASKS, _tasks(user, host), "tasks"
    return None


def _tasks(user: Any, host: Host) -> Any:
    """The host's own tasks and those of guests that are on it now."""
    own = jobs_of(user=user, target_kind="host", target_id=host.pk)
    guests = Guest.objects.restrict(user, Action.VIEW).filter(host=host).values_list("pk", flat=True)
    return own | job_list(user=user).filter(target_kind="guest", target_id__in=[str(pk) for pk in guests])


def _mounts(user: Any, host: Host) -> QuerySet[DatastoreMount]:
    return DatastoreMount.objects.restrict(user, Action.VIEW).filter(host=host, missing_since=None)


def _switches(user: Any, host: Host) -> QuerySet[VirtualSwitch]:
    return VirtualSwitch.objects.restrict(user, Action.VIEW).filter(host=host, missing_since=None)


def _guests(user: Any, host: Host) -> QuerySet[Guest]:
    return Guest.objects.restrict(user, Action.VIEW).filter(host=host, missing_since=None)


def _frame(user: Any, host: Host, tab: str) -> dict[str, Any]:
    """What every tab shows above its own part."""
    load_hosts([host])
    labels = [
        ("summary", _("Summary"), None),
        ("monitor", _("Monitor"), None),
        ("hardware", _("Hardware"), None),
        ("guests", _("Guests"), host.guest_count),  # type: ignore[attr-defined]
        ("datastores", _("Datastores"), _mounts(user, host).count()),
        ("switches", _("Switches"), _switches(user, host).count()),
        ("tasks", _("Tasks"), None),
    ]
    return {
        "host": host,
        "silence": host_silence(host),
        "seen_at": host_seen_at(host),
        "state_cell": state_cell(host),
        "tabs": tabs("host", host.pk, tab, labels),
    }


def _summary(user: Any, host: Host) -> dict[str, Any]:
    cpu, memory = cpu_percent(host), memory_used(host)
    of = _("%(part)s of %(whole)s")
    guests = _guests(user, host)
    given = guests.filter(state=GuestState.RUNNING).aggregate(
        memory=Sum("memory_bytes", default=0), vcpus=Sum("vcpus", default=0)
    )
    whole = format_bytes(host.memory_bytes)
    return {
        "brand": brand(host),
        "standing_by": list(sources_standing_by(host, user=user)),
        "hypervisor": hypervisor(host),
        "gauges": [
            gauge(_("CPU"), cpu, 100.0, format_percent(cpu)),
            gauge(
                _("Memory in use"),
                memory,
                host.memory_bytes,
                of % {"part": format_bytes(memory), "whole": whole} if memory else "",
            ),
            gauge(
                _("Memory given to running guests"),
                given["memory"],
                host.memory_bytes,
                of % {"part": format_bytes(given["memory"]), "whole": whole},
                promised=True,
            ),
            gauge(
                _("vCPUs of running guests, per thread"),
                given["vcpus"],
                host.cpu_threads,
                of % {"part": given["vcpus"], "whole": host.cpu_threads},
                promised=True,
            ),
        ],
        "sparks": compute_sparks("host", host.pk, host.memory_bytes, user=user),
        **tags_fact("host", host.pk, user=user),
        "guest_states": _guest_states(guests),
        "mounts": list(_mounts(user, host).select_related("datastore").order_by("name", "id")[:SHOWN]),
        "switches": list(_switches(user, host).order_by("name", "id")[:SHOWN]),
    }


def _guest_states(guests: QuerySet[Guest]) -> list[dict[str, Any]]:
    counts = guests.aggregate(**{state.value: Count("pk", filter=Q(state=state)) for state in GuestState})
    return [
        {"code": one.value, "label": one.label, "number": counts[one.value]} for one in GuestState if counts[one.value]
    ]
