"""Moving a source to another datacenter: the plan, and the act."""

from __future__ import annotations

from uuid import UUID

import rest_framework.views  # noqa: F401 - it loads our formats by name: it must not begin while they are half loaded
from django.shortcuts import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from access.models import require
from access.roles import Action
from api.formats import Body, read_body
from api.resources import SOURCES
from api.serializers import link
from api.views import Endpoint
from hosts.models import Datacenter, Source
from inventory.relocation import move_source, plan_relocation


class PlanBody(Body):
    datacenter: UUID


class RelocateBody(Body):
    datacenter: UUID
    confirmation: str


def _source(request: Request, identifier: UUID) -> Source:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.SOURCES)
    rows = Source.objects.restrict(request.user, Action.SOURCES).select_related("datacenter")
    return get_object_or_404(rows, pk=identifier)


def _datacenter(request: Request, identifier: UUID) -> Datacenter:
    return get_object_or_404(Datacenter.objects.restrict(request.user, Action.SOURCES), pk=identifier)


class RelocationPlan(Endpoint):
    """What it would mean. By POST, since it takes a body; nothing is changed."""

    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002 - the name in the URL
        source = _source(request, id)
        datacenter = _datacenter(request, read_body(request, PlanBody).datacenter)
        plan = plan_relocation(source=source, datacenter=datacenter, by=request.user)
        told = {"possible": plan.possible, "hosts": plan.hosts, "guests": plan.guests}
        return Response({**told, "datacenter": link(datacenter), "effects": plan.effects, "blockers": plan.blockers})


class Relocate(Endpoint):
    """Answers with the source."""

    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        source, body = _source(request, id), read_body(request, RelocateBody)
        datacenter = _datacenter(request, body.datacenter)
        move_source(source=source, datacenter=datacenter, confirmation=body.confirmation, by=request.user)
        return Response(SOURCES.tell_one(SOURCES.rows(request.user).get(pk=source.pk), request.user))
