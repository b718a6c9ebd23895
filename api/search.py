"""Searching everything."""

from typing import Any

from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response

from api.lists import CURSOR, LIMIT, following_address, read_limit
from api.serializers import Json, active_state
from api.views import Endpoint
from core.lists import ListError
from inventory.find import EVERY_KIND, Search, cursor_of, read_cursor
from inventory.places import place_of
from search.models import Kind

QUERY, KIND = "q", "kind"
PARAMETERS = (QUERY, KIND, LIMIT, CURSOR)


class SearchEndpoint(Endpoint):
    """Objects of every kind that have all words of `q` in what they are found by, best first."""

    def get(self, request: Request) -> Response:
        asked = _asked(request)
        text = asked.get(QUERY, "")
        limit, after = read_limit(request), read_cursor(asked.get(CURSOR, ""), text)
        found = Search(text, user=request.user).results(_kinds(request), after=after, most=limit + 1)
        following = cursor_of(found[limit - 1].hit, text) if len(found) > limit else ""
        address = following_address(request, following) if following else None
        return Response({"results": [_json(one.kind, one.row) for one in found[:limit]], "next": address})


def _asked(request: Request) -> dict[str, str]:
    """Raises: ListError for a parameter that does not exist here."""
    for name in request.query_params:
        if name not in PARAMETERS:
            known = ", ".join(sorted(PARAMETERS))
            message = _("There is no parameter “%(name)s” here; there are %(known)s.")
            raise ListError(message % {"name": name[:40], "known": known})
    if not request.query_params.get(QUERY, "").strip():
        raise ListError(_("Say in “q” what to look for."))
    return {name: str(value) for name, value in request.query_params.items()}


def _kinds(request: Request) -> tuple[Kind, ...]:
    """Those asked for. Raises: ListError."""
    names = request.query_params.getlist(KIND)
    by_name = {kind.label: kind for kind in Kind}
    if wrong := [name for name in names if name not in by_name]:
        message = _("“%(name)s” is one of %(values)s, not “%(value)s”.")
        raise ListError(message % {"name": KIND, "values": ", ".join(by_name), "value": wrong[0][:40]})
    return tuple(sorted({by_name[name] for name in names})) or EVERY_KIND


def _json(kind: Kind, row: Any) -> Json:
    place = place_of(kind, row)
    return {
        "kind": kind.label,
        "id": row.pk,
        "name": row.name,
        "state": _state(kind, row),
        "where": {"kind": place.kind, "id": place.id, "name": place.name} if place else None,
    }


def _state(kind: Kind, row: Any) -> str | None:
    """As the object's own address tells it."""
    if kind in (Kind.CLUSTER, Kind.DATACENTER):
        return None
    return active_state(row.active, row.missing_since) if kind in (Kind.DATASTORE, Kind.SWITCH) else str(row.state)
