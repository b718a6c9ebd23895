"""Who must sign in first, how long a session lasts, and what it may do before its password is changed."""

import logging
import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.views import redirect_to_login
from django.contrib.sessions import middleware as sessions
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.exceptions import SessionInterrupted
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, resolve_url
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from access.models import User
from core import room

log = logging.getLogger(__name__)

IDLE_SECONDS = 8 * 3600  # a working day at one desk
ABSOLUTE_SECONDS = 24 * 3600
WRITE_EVERY_SECONDS = 300  # a page view seldom writes

STARTED = "started_at"
SEEN = "seen_at"
_SIGNED_OUT = "signed_out"
# What a user with a password somebody else chose can do: change it, or leave.
ALWAYS_OPEN = frozenset({"account_password", "logout", "healthz"})


def is_expired(session: SessionBase) -> bool:
    """Whether a session is too old, or was not used for too long."""
    idle, age = (time.time() - float(session.get(clock, 0)) for clock in (SEEN, STARTED))
    return idle > IDLE_SECONDS or age > ABSOLUTE_SECONDS


def start_clock(request: HttpRequest, **kwargs: Any) -> None:
    """Remember when this session began; called at each sign-in."""
    request.session[STARTED] = request.session[SEEN] = int(time.time())


def note_sign_out(request: HttpRequest, **kwargs: Any) -> None:
    """Remember that this request ends its session."""
    setattr(request, _SIGNED_OUT, True)


class SessionCookieMiddleware(sessions.SessionMiddleware):
    """Takes the cookie away only where a session is ended on purpose.

    Django does so wherever a cookie names no session of use. After a changed password a tab's late question, asked with
    the old cookie, would take the new one away, and with it the user's sign-in.
    """

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        try:
            answer = super().process_response(request, response)
        except (OperationalError, SessionInterrupted) as error:  # Django takes a failed write for a sign-out elsewhere
            if not room.is_full_error(error):
                raise
            log.warning("What this session did last could not be noted: the disk is full.")
            return response
        cookie = answer.cookies.get(settings.SESSION_COOKIE_NAME)
        if cookie is not None and not cookie.value and not getattr(request, _SIGNED_OUT, False):
            del answer.cookies[settings.SESSION_COOKIE_NAME]
        return answer


class SignInRequiredMiddleware(LoginRequiredMiddleware):
    """Leads back to a page after the sign-in: what a button sends is not done later, and its address is no page."""

    def handle_no_permission(self, request: HttpRequest, view_func: Any) -> HttpResponseRedirect:
        if request.method in ("GET", "HEAD"):
            return super().handle_no_permission(request, view_func)
        return redirect_to_login(_page_shown(request), resolve_url(self.get_login_url(view_func)))


def _page_shown(request: HttpRequest) -> str:
    """The page of ours with the button, as far as the browser says."""
    for said in (request.headers.get("HX-Current-URL"), request.headers.get("Referer")):
        if said and url_has_allowed_host_and_scheme(said, {request.get_host()}, require_https=request.is_secure()):
            url = urlsplit(said)
            return urlunsplit(("", "", url.path or "/", url.query, ""))
    return reverse("home")


class SessionMiddleware(MiddlewareMixin):
    """Ends sessions that are too old or idle; keeps a user with a one-time password on the page that changes it."""

    def process_request(self, request: HttpRequest) -> None:
        if not request.user.is_authenticated:
            return
        if is_expired(request.session):
            logout(request)
        elif not asks_by_itself(request) and time.time() - request.session.get(SEEN, 0) > WRITE_EVERY_SECONDS:
            request.session[SEEN] = int(time.time())

    def process_view(self, request: HttpRequest, *args: Any) -> HttpResponseBase | None:
        user = request.user
        if not isinstance(user, User) or not user.must_change_password:
            return None
        name = request.resolver_match.url_name if request.resolver_match else ""
        return None if name in ALWAYS_OPEN else _change_password_first(request)


def asks_by_itself(request: HttpRequest) -> bool:
    """Whether a page left open asks for fresh parts; nobody needs to sit there."""
    return request.headers.get("X-Live") == "true" or request.path == reverse("events")


def _change_password_first(request: HttpRequest) -> HttpResponseBase:
    page = reverse("account_password")
    if request.path.startswith("/api/"):
        message = _("Change your password first.")
        return JsonResponse({"error": {"code": "password_change_required", "message": message}}, status=403)
    if request.headers.get("HX-Request"):
        return HttpResponse(status=204, headers={"HX-Redirect": page})
    return redirect(page)
