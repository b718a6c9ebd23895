"""JSON in and out, through one fast and strict library."""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

import msgspec
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from api.errors import TooLarge
from core.decoding import decode_json
from core.errors import Invalid

LARGEST_BODY = 64 * 1024

T = TypeVar("T", bound=msgspec.Struct)


def _plain(value: Any) -> Any:
    if isinstance(value, Promise):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


class JsonRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        _accepted_media_type: str | None = None,
        _renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else msgspec.json.encode(data, enc_hook=_plain)


class JsonParser(BaseParser):
    """Hands on the bytes: each endpoint decodes them into the one shape it takes."""

    media_type = "application/json"

    def parse(  # type: ignore[override]  # bytes, not yet a mapping
        self, stream: Any, _media_type: str | None = None, _parser_context: Mapping[str, Any] | None = None
    ) -> bytes:
        body = cast("bytes", stream.read(LARGEST_BODY + 1))
        if len(body) > LARGEST_BODY:
            raise TooLarge(_("This request is too large."))
        return body


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """The base of what a POST may hold; a field that is not named is refused."""


def read_body(request: Request, shape: type[T]) -> T:
    """The request's body. Raises: Invalid, ParseError."""
    data = request.data
    try:
        return cast("T", decode_json(data if isinstance(data, bytes) and data else b"{}", shape))
    except msgspec.ValidationError as error:
        raise Invalid(_("The request does not fit: %(detail)s.") % {"detail": error}) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ParseError(_("The request is not JSON.")) from error
