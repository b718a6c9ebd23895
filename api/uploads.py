"""Sending a file to be a volume: begin, send pieces, then hand it to a task of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

import rest_framework.views  # noqa: F401 - see api.organization
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from rest_framework import status
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from access.models import require
from access.roles import Action
from api.errors import TooLarge
from api.formats import Body, JsonParser, read_body
from api.views import Endpoint
from core.errors import Invalid
from storage import staging, uploads
from storage.models import Upload


class UploadBody(Body):
    name: str
    size_bytes: int
    sha256: str = ""


def upload_json(upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.pk,
        "name": upload.name,
        "size_bytes": upload.size_bytes,
        "offset": staging.received_bytes(upload.pk),
        "largest_piece_bytes": uploads.LARGEST_PIECE_BYTES,
    }


def own_upload(request: Request, identifier: UUID) -> Upload:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.PROVISION)
    return get_object_or_404(uploads.own_uploads(user=request.user), pk=identifier)


class Uploads(Endpoint):
    def get(self, request: Request) -> Response:
        require(request.user, Action.PROVISION)
        own = uploads.own_uploads(user=request.user)[: uploads.MOST_AT_ONCE]
        return Response({"results": [upload_json(one) for one in own], "next": None})

    def post(self, request: Request) -> Response:
        require(request.user, Action.PROVISION)
        body = read_body(request, UploadBody)
        upload = uploads.begin_upload(name=body.name, size_bytes=body.size_bytes, sha256=body.sha256, by=request.user)
        return Response(upload_json(upload), status=status.HTTP_201_CREATED)


class UploadDetail(Endpoint):
    def get(self, request: Request, id: UUID) -> Response:  # noqa: A002 - the name in the URL
        return Response(upload_json(own_upload(request, id)))


class PieceParser(BaseParser):
    """The request's body as it is. Whoever asks for what was posted, as the check of CSRF does, has it read here."""

    media_type = "application/octet-stream"

    def parse(  # type: ignore[override]  # bytes, no mapping
        self, stream: Any, _media_type: str | None = None, _parser_context: Mapping[str, Any] | None = None
    ) -> bytes:
        return cast("bytes", stream.read(uploads.LARGEST_PIECE_BYTES + 1))


class UploadPiece(Endpoint):
    """`?offset=` says where the piece begins; it is the request's body as it is."""

    parser_classes = (PieceParser, JsonParser)  # a piece of another kind is told that it does not fit

    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        upload = own_upload(request, id)
        offset = str(request.query_params.get("offset", ""))
        if not offset.isdecimal() or len(offset) > 20:  # noqa: PLR2004 - digits of the largest number there is
            raise Invalid(_("Say where the piece begins: ?offset=0."), field="offset")
        piece = request.data if isinstance(request.data, bytes) else b""
        if len(piece) > uploads.LARGEST_PIECE_BYTES:
            raise TooLarge(_("A piece has 1 byte to 1 MiB."))
        end = uploads.add_piece(upload=upload, offset=int(offset), piece=piece, by=request.user)
        return Response({"offset": end})


class UploadDiscard(Endpoint):
    def post(self, request: Request, id: UUID) -> Response:  # noqa: A002
        uploads.discard_upload(upload=own_upload(request, id), by=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)
