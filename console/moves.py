"""Moves of guests: also those that somebody else began."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase
from django.urls import path
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from access.models import require
from access.roles import Action
from console.listing import list_response
from console.tables.moves import MOVES, move_rows


@require_safe
def move_list(request: HttpRequest) -> HttpResponseBase:
    """Every move, newest first."""
    require(request.user, Action.VIEW)
    context = {
        "heading": _("Moves"),
        "empty_icon": "transfer",
        "empty_title": _("No guest went to another host yet."),
        "empty_hint": _("Moves that others begin, such as by virsh, are noticed and stand here, too."),
    }
    rows = move_rows(user=request.user)
    return list_response(request, MOVES, rows, template="migrations/move_list.html", context=context, live="guests")


urlpatterns = [path("moves/", move_list, name="move_list")]
