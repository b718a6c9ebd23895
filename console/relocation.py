"""Moving a source to another datacenter: choose one, read what it means, confirm."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import path
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from access.models import require
from access.roles import Action
from console.forms import form_page, values_of
from core.errors import Invalid, Refused
from hosts.models import Datacenter, Source
from inventory.relocation import move_source, plan_relocation

ASKED = ["GET", "HEAD", "POST"]
TEMPLATE = "sources/source_relocate.html"
OFFERED = 200


@require_http_methods(ASKED)
def source_relocate(request: HttpRequest, source_id: UUID) -> HttpResponseBase:
    """Ask where to, and show the plan; by POST, with the source's name, do it."""
    require(request.user, Action.SOURCES)
    rows = Source.objects.restrict(request.user, Action.SOURCES).select_related("datacenter")
    source = get_object_or_404(rows, pk=source_id)
    if request.method != "POST":
        chosen = _chosen(request, source, str(request.GET.get("datacenter", "")))
        return form_page(request, TEMPLATE, {"confirmation": ""}, **_context(request, source, chosen))
    values = values_of(request, "confirmation", "datacenter")
    chosen = _chosen(request, source, values["datacenter"])
    context = _context(request, source, chosen)
    if chosen is None:
        error = Invalid(_("Choose a datacenter of the list."), field="datacenter")
        return form_page(request, TEMPLATE, values, error, **context)
    try:
        move_source(source=source, datacenter=chosen, confirmation=values["confirmation"], by=request.user)
    except Refused as error:
        return form_page(request, TEMPLATE, values, error, **context)
    said = _("%(source)s belongs to %(datacenter)s now; it is read anew.")
    messages.success(request, said % {"source": source.name, "datacenter": chosen.name})
    return redirect("source_page", source.pk)


def _others(request: HttpRequest, source: Source) -> Any:
    return Datacenter.objects.restrict(request.user, Action.SOURCES).exclude(pk=source.datacenter_id)


def _chosen(request: HttpRequest, source: Source, text: str) -> Datacenter | None:
    with suppress(ValueError):
        return _others(request, source).filter(pk=UUID(text)).first()  # type: ignore[no-any-return]
    return None


def _context(request: HttpRequest, source: Source, chosen: Datacenter | None) -> dict[str, Any]:
    plan = plan_relocation(source=source, datacenter=chosen, by=request.user) if chosen else None
    return {"source": source, "datacenters": _others(request, source)[:OFFERED], "chosen": chosen, "plan": plan}


urlpatterns = [path("sources/<uuid:source_id>/datacenter/", source_relocate, name="source_relocate")]
