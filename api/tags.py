"""Tags: what scripts do with them."""

from __future__ import annotations

from uuid import UUID

import rest_framework.views  # noqa: F401 - it loads our formats by name: it must not begin while they are half loaded
from django.shortcuts import get_object_or_404
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from access.models import require
from access.roles import Action
from api.formats import Body, read_body
from api.resources import TAGS
from api.views import Endpoint, ListEndpoint
from labels import services
from labels.models import Tag


class TagBody(Body):
    name: str
    color: str = ""


class TagChangeBody(Body):
    name: str | None = None
    color: str | None = None


class ObjectsBody(Body):
    kind: str
    ids: list[UUID]
    add: list[str] = []
    remove: list[str] = []


def _tag(request: Request, identifier: UUID) -> Tag:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.SOURCES)
    return get_object_or_404(Tag.objects.restrict(request.user, Action.SOURCES), pk=identifier)


def _told(request: Request, tag: Tag) -> Response:
    return Response(TAGS.one_json(get_object_or_404(TAGS.rows(request.user), pk=tag.pk), request.user))


class Tags(ListEndpoint):
    resource = TAGS

    def post(self, request: Request) -> Response:
        """One that nothing has yet."""
        require(request.user, Action.SOURCES)
        body = read_body(request, TagBody)
        made = _told(request, services.create_tag(name=body.name, color=body.color, by=request.user))
        made.status_code = status.HTTP_201_CREATED
        return made


class TagChange(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002 - the name in the URL
        tag, body = _tag(request, id), read_body(request, TagChangeBody)
        return _told(request, services.change_tag(tag=tag, name=body.name, color=body.color, by=request.user))


class TagDelete(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        services.delete_tag(tag=_tag(request, id), by=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class TagsOfMany(Endpoint):
    """Puts tags on objects of one kind and takes others off; answers with how many changed."""

    def post(self, request: Request) -> Response:
        require(request.user, Action.CONFIGURE)
        body = read_body(request, ObjectsBody)
        changed = services.change_tags(kind=body.kind, ids=body.ids, add=body.add, remove=body.remove, by=request.user)
        return Response({"changed": changed})
