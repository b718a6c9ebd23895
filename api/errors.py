"""Every error as `{"error": {"code", "message"}}` with its status."""

import logging
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

from core import room
from core.errors import Conflict, Forbidden, Invalid, Refused
from core.lists import ListError
from migrations.planner import as_data
from migrations.services import NotPossible
from operations.errors import AlreadyOpen
from storage.staging import StorageFull, WrongOffset

log = logging.getLogger(__name__)

REFUSED_STATUS: dict[type[Refused], int] = {
    Forbidden: status.HTTP_403_FORBIDDEN,
    Invalid: status.HTTP_400_BAD_REQUEST,
    Conflict: status.HTTP_409_CONFLICT,
    StorageFull: status.HTTP_507_INSUFFICIENT_STORAGE,
}
CODES = {
    status.HTTP_400_BAD_REQUEST: "invalid",
    status.HTTP_401_UNAUTHORIZED: "unauthorized",
    status.HTTP_403_FORBIDDEN: "forbidden",
    status.HTTP_404_NOT_FOUND: "not_found",
    status.HTTP_405_METHOD_NOT_ALLOWED: "method_not_allowed",
    status.HTTP_406_NOT_ACCEPTABLE: "not_acceptable",
    status.HTTP_413_REQUEST_ENTITY_TOO_LARGE: "too_large",
    status.HTTP_415_UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type",
}


class TooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE


def handle_exception(error: Exception, _context: dict[str, Any]) -> Response:
    """The answer to whatever an endpoint raised."""
    set_rollback()
    if isinstance(error, Refused):
        return _refused(error)
    if isinstance(error, exceptions.APIException):
        return _api_error(error)
    if isinstance(error, ListError | Http404 | PermissionDenied):
        return _asked_wrongly(error)
    if room.is_full_error(error):
        return _answer(status.HTTP_507_INSUFFICIENT_STORAGE, room.sentence_full(), StorageFull.code)
    # The process boundary: a script gets JSON, too, and never our internals; the log has the traceback.
    log.error("An endpoint failed.", exc_info=error)
    return _answer(
        status.HTTP_500_INTERNAL_SERVER_ERROR, _("This failed in an unexpected way; see the server's log."), "internal"
    )


def _asked_wrongly(error: ListError | Http404 | PermissionDenied) -> Response:
    if isinstance(error, ListError):
        return _answer(status.HTTP_400_BAD_REQUEST, str(error))
    if isinstance(error, Http404):
        return _answer(status.HTTP_404_NOT_FOUND, _("There is no such object."))
    return _answer(status.HTTP_403_FORBIDDEN, _("You may not do this."))


def _refused(error: Refused) -> Response:
    code = next((code for kind, code in REFUSED_STATUS.items() if isinstance(error, kind)), 400)
    response = _answer(code, error.message, error.code)
    details: dict[str, Any] = response.data["error"]
    if isinstance(error, Invalid) and error.field:
        details["field"] = error.field
    if isinstance(error, NotPossible):
        details["findings"] = as_data(error.findings)
    if isinstance(error, WrongOffset):
        details["offset"] = error.offset
    if isinstance(error, AlreadyOpen) and error.job is not None:
        details["task"] = str(error.job.pk)
    return response


def _api_error(error: exceptions.APIException) -> Response:
    response = _answer(error.status_code, _sentence(error.detail))
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        response["WWW-Authenticate"] = getattr(error, "auth_header", "")
    return response


def _sentence(detail: Any) -> str:
    if isinstance(detail, dict):
        detail = next(iter(detail.values()), "")
    if isinstance(detail, list):
        detail = detail[0] if detail else ""
    return str(detail)


def _answer(code: int, message: str, name: str = "") -> Response:
    return Response({"error": {"code": name or CODES.get(code, "error"), "message": str(message)}}, status=code)
