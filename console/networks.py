"""Virtual switches: the list and the page of one."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from access.models import require
from access.roles import Action
from console.ages import switch_seen_at, switch_silence
from console.areas import tabs
from console.listing import list_response
from console.tables.guests import guest_rows, guest_spec
from console.tables.switches import kind_of, state_cell, switch_rows, switch_spec, vlan_ranges
from console.tagging import tags_fact
from core.models import by_name
from inventory.models import Nic
from networks.models import PortGroup, VirtualSwitch
from networks.selectors import port_groups_of

NICS_SHOWN = 50


@require_safe
def switch_list(request: HttpRequest) -> HttpResponseBase:
    require(request.user, Action.VIEW)
    context = {
        "heading": _("Virtual switches"),
        "empty_icon": "network",
        "empty_title": _("No virtual switches yet."),
        "empty_hint": _("They appear as soon as a source is read."),
    }
    spec, rows = switch_spec(user=request.user), switch_rows(user=request.user)
    return list_response(request, spec, rows, context=context, live="switches hosts sources loads")


@require_safe
def switch_page(request: HttpRequest, pk: UUID, tab: str = "summary") -> HttpResponseBase:
    """One switch: its host, its uplinks, addresses and port groups, and who is plugged in."""
    require(request.user, Action.VIEW)
    switch = get_object_or_404(switch_rows(user=request.user), pk=pk)
    nics = Nic.objects.restrict(request.user, Action.VIEW).filter(switch=switch)
    context = _frame(switch, nics, tab)
    if tab == "summary":
        return render(request, "networks/switch_page.html", {**context, **_summary(request.user, switch, nics)})
    if tab != "guests":
        raise Http404
    rows = guest_rows(user=request.user).filter(pk__in=nics.values("guest"))
    spec, live = guest_spec(user=request.user), "guests loads"
    return list_response(request, spec, rows, template="networks/switch_guests.html", context=context, live=live)


def _summary(user: Any, switch: VirtualSwitch, nics: QuerySet[Nic]) -> dict[str, Any]:
    groups = {group.name: group for group in port_groups_of(switch, user=user)}
    default = next((group for group in groups.values() if group.default), None)
    plugged: Counter[str] = Counter()
    for name, count in nics.values_list("port_group").annotate(count=Count("pk")).order_by():
        group = groups.get(name) if name else default
        plugged[group.name if group else ""] += count
    shown = nics.select_related("guest").order_by(by_name("guest__name"), "position", "id")[:NICS_SHOWN]
    return {
        **tags_fact("switch", switch.pk, user=user),
        "vlans": vlan_ranges(switch.details.get("vlans", [])),
        "port_groups": [
            {"row": group, "vlans": vlan_ranges(group.vlans), "nics": plugged[group.name]} for group in groups.values()
        ],
        "nics": [_nic(nic, groups.get(nic.port_group) if nic.port_group else default, switch) for nic in shown],
    }


def _nic(nic: Nic, group: PortGroup | None, switch: VirtualSwitch) -> dict[str, Any]:
    """A NIC with the VLANs that count for it: its own, else its port group's, else the switch's."""
    vlans = nic.vlans or (group.vlans if group else []) or switch.details.get("vlans", [])
    return {"row": nic, "port_group": group.name if group else nic.port_group, "vlans": vlan_ranges(vlans)}


def _frame(switch: VirtualSwitch, nics: QuerySet[Nic], tab: str) -> dict[str, Any]:
    """What every tab shows above its own part."""
    plugged = nics.aggregate(guests=Count("guest", distinct=True), nics=Count("pk"))
    labels = [("summary", _("Summary"), None), ("guests", _("Guests"), plugged["guests"])]
    return {
        "switch": switch,
        "kind": kind_of(switch),
        "plugged": plugged,
        "silence": switch_silence(switch),
        "seen_at": switch_seen_at(switch),
        "state_cell": state_cell(switch),
        "tabs": tabs("switch", switch.pk, tab, labels),
    }
