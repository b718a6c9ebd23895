"""Virtual switches: the list and the page of one."""

from __future__ import annotations

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
from console.tables.guests import GUESTS, guest_rows
from console.tables.switches import SWITCHES, kind_of, state_cell, switch_rows
from core.models import by_name
from inventory.models import Nic
from networks.models import VirtualSwitch

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
    rows = switch_rows(user=request.user)
    return list_response(request, SWITCHES, rows, context=context, live="switches hosts sources loads")


@require_safe
def switch_page(request: HttpRequest, pk: UUID, tab: str = "summary") -> HttpResponseBase:
    """One switch: its host, its uplinks, and who is plugged in."""
    require(request.user, Action.VIEW)
    switch = get_object_or_404(switch_rows(user=request.user), pk=pk)
    nics = Nic.objects.restrict(request.user, Action.VIEW).filter(switch=switch)
    context = _frame(switch, nics, tab)
    if tab == "summary":
        shown = nics.select_related("guest").order_by(by_name("guest__name"), "position", "id")[:NICS_SHOWN]
        return render(request, "networks/switch_page.html", {**context, "nics": list(shown)})
    if tab != "guests":
        raise Http404
    rows = guest_rows(user=request.user).filter(pk__in=nics.values("guest"))
    return list_response(
        request, GUESTS, rows, template="networks/switch_guests.html", context=context, live="guests loads"
    )


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
