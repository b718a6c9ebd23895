"""The pages of errors. Whoever is not signed in sees none of the frame; a failure of ours needs no database."""

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin
from django.utils.translation import gettext as _

from audit.middleware import current_request_id
from core import room
from core.errors import Refused


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's signature
    return _bare(request, HTTPStatus.BAD_REQUEST, _("Bad request"), _("The server cannot use what was sent."))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """What the user may not do, in the sentence of whoever refused."""
    if not _signed_in(request):
        return _bare(request, HTTPStatus.FORBIDDEN, _("Not allowed"), _("Sign in to see this."))
    reason = exception.message if isinstance(exception, Refused) else ""
    return render(request, "403.html", {"reason": reason}, status=HTTPStatus.FORBIDDEN)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's signature
    if not _signed_in(request):
        return _bare(request, HTTPStatus.NOT_FOUND, _("Not found"), _("There is nothing at this address."))
    return render(request, "404.html", status=HTTPStatus.NOT_FOUND)


def not_allowed(request: HttpRequest) -> str:
    """The page for an address that was asked in a way it does not answer, such as a button's opened by hand."""
    # Messages were written by now: shown here, they would come once more on the next page.
    context = {"heading": _("Not a page"), "sentence": _("This address is not a page."), "messages": ()}
    return render_to_string("405.html" if _signed_in(request) else "bare_error.html", context, request)


class NoRoomMiddleware(MiddlewareMixin):
    """Whoever would have something written hears why it is not, when the server's disk is full."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        del request
        return no_room() if room.is_full_error(exception) else None


def no_room() -> HttpResponse:
    """Without the request, as `server_error`."""
    context = {"heading": _("No room on the server"), "sentence": room.sentence_full()}
    return HttpResponse(render_to_string("bare_error.html", context), status=HTTPStatus.INSUFFICIENT_STORAGE)


def server_error(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - Django's signature
    """Rendered without the request: whatever failed may fail again in a context processor."""
    if room.is_full():
        return no_room()
    context = {
        "heading": _("Something failed on the server"),
        "sentence": _("It was written to the log. Try again; if it stays, tell an administrator."),
        "request_id": current_request_id.get(),
    }
    return HttpResponse(render_to_string("bare_error.html", context), status=HTTPStatus.INTERNAL_SERVER_ERROR)


def _signed_in(request: HttpRequest) -> bool:
    user = getattr(request, "user", None)
    return bool(user and user.is_authenticated)


def _bare(request: HttpRequest, status: HTTPStatus, heading: str, sentence: str) -> HttpResponse:
    return render(request, "bare_error.html", {"heading": heading, "sentence": sentence}, status=status)
