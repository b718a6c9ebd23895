"""Signing in and out, one's own account, and the users."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from access import services
from access.models import ApiToken, User, require
from access.roles import Action, Role
from access.selectors import token_list, user_list
from access.signin import sign_in, sign_out
from console.forms import form_page, own_page, values_of
from console.listing import list_response
from console.tables.users import USERS
from core.errors import Invalid, Refused

ASKED = ["GET", "HEAD", "POST"]

# -- signing in and out


@login_not_required
@sensitive_post_parameters()
@require_http_methods(ASKED)
def sign_in_page(request: HttpRequest) -> HttpResponseBase:
    """Ask who it is; by POST, sign in and go where the person wanted to."""
    after = _safe_next(request)
    if request.user.is_authenticated and request.method != "POST":
        return redirect(after)
    values = values_of(request, "username", "password")
    if request.method != "POST":
        return form_page(request, "access/sign_in.html", values, next=after)
    try:
        sign_in(request, **values)
    except Refused as error:
        return form_page(request, "access/sign_in.html", values, error, next=after)
    return redirect(after)


def _safe_next(request: HttpRequest) -> str:
    """Where to go after signing in."""
    wanted = str(request.POST.get("next") or request.GET.get("next") or "")
    return own_page(request, wanted, reverse("home"))


@login_not_required
@require_POST
def sign_out_page(request: HttpRequest) -> HttpResponseBase:
    """End the session, if it has not ended by itself."""
    sign_out(request)
    return redirect("login")


# -- one's own account


@sensitive_post_parameters()
@require_http_methods(ASKED)
def account_password(request: HttpRequest) -> HttpResponseBase:
    """Ask for a new password; by POST, change it. This session stays, all others of the user end."""
    user, values = _me(request), values_of(request, "current", "new", "again")
    template, after = "access/account_password.html", "home" if user.must_change_password else "account_password"
    if request.method != "POST":
        return form_page(request, template, values)
    try:
        if values["new"] != values["again"]:
            raise Invalid(_("Both new passwords must be the same."), field="again")
        fresh = services.change_own_password(
            user=user,
            current=values["current"],
            new=values["new"],
            address=str(request.META.get("REMOTE_ADDR", "")),
        )
    except Refused as error:
        return form_page(request, template, values, error)
    login(request, fresh, backend="django.contrib.auth.backends.ModelBackend")
    messages.success(request, _("Your password is changed. Your other sessions have ended."))
    return redirect(after)


@require_http_methods(ASKED)
def account_tokens(request: HttpRequest) -> HttpResponseBase:
    """One's own tokens; by POST, make one and show it this once."""
    user, values = _me(request), values_of(request, "name")
    shown: dict[str, Any] = {"tokens": token_list(user=user)}
    if request.method != "POST":
        return form_page(request, "access/account_tokens.html", values, **shown)
    try:
        if not values["name"].strip():
            raise Invalid(_("Say what the token is for, so that you know later which one to revoke."), field="name")
        _token, text = services.create_token(user=user, name=values["name"], by=user)
    except Refused as error:
        return form_page(request, "access/account_tokens.html", values, error, **shown)
    return form_page(request, "access/account_tokens.html", {}, **shown, new_token=text)


@require_POST
def token_revoke(request: HttpRequest, token_id: UUID) -> HttpResponseBase:
    """Revoke one of one's own tokens."""
    token = get_object_or_404(token_list(user=request.user), pk=token_id)
    services.revoke_token(token=token, by=request.user)
    messages.success(request, _("The token %(token)s… is revoked.") % {"token": token.prefix})
    return redirect("account_tokens")


def _me(request: HttpRequest) -> User:
    """Who is signed in; the middleware lets nobody else come here."""
    user = request.user
    if not isinstance(user, User):
        raise TypeError("nobody is signed in")
    return user


# -- users

# What a person choosing a role reads.
ROLES = [
    (Role.VIEWER, gettext_lazy("sees the inventory and the tasks")),
    (Role.OPERATOR, gettext_lazy("also exports lists, opens consoles and changes power")),
    (Role.MIGRATION_ADMIN, gettext_lazy("also migrates guests, cancels tasks and sets maintenance")),
    (Role.AUDITOR, gettext_lazy("sees and exports everything, reads the audit log, changes nothing")),
    (Role.ADMIN, gettext_lazy("may do everything, with sources and users")),
]


@require_safe
def users_page(request: HttpRequest) -> HttpResponseBase:
    require(request.user, Action.USERS)
    context = {"heading": _("Users"), "empty_icon": "users"}
    return list_response(
        request, USERS, user_list(user=request.user), template="access/user_list.html", context=context
    )


@sensitive_post_parameters()
@require_http_methods(ASKED)
def user_add(request: HttpRequest) -> HttpResponseBase:
    """Ask for a new user; by POST, add it and show its one-time password."""
    require(request.user, Action.USERS)
    values = values_of(request, "username", "role", "password")
    if request.method != "POST":
        return form_page(request, "access/user_add.html", {"role": Role.VIEWER}, roles=ROLES)
    try:
        user, password = services.create_user(**values, by=request.user)
    except Refused as error:
        return form_page(request, "access/user_add.html", values, error, roles=ROLES)
    return _show_password(request, user, password, added=True)


@require_safe
def user_page(request: HttpRequest, user_id: UUID) -> HttpResponseBase:
    """One user and what can be done with it."""
    return _user_page(request, _user(request, user_id))


def _user_page(request: HttpRequest, user: User, error: Refused | None = None) -> HttpResponseBase:
    context = {
        "subject": user,
        "roles": ROLES,
        "tokens": ApiToken.objects.filter(user=user).count(),
        "is_me": user.pk == request.user.pk,
    }
    return form_page(request, "access/user_page.html", {"role": user.role}, error, **context)


def _user(request: HttpRequest, user_id: UUID) -> User:
    """Raises: Forbidden, Http404."""
    require(request.user, Action.USERS)
    return get_object_or_404(user_list(user=request.user), pk=user_id)


@require_POST
def user_role(request: HttpRequest, user_id: UUID) -> HttpResponseBase:
    user = _user(request, user_id)
    role = str(request.POST.get("role", ""))
    try:
        changed = services.set_role(user=user, role=role, by=request.user)
    except Refused as error:
        messages.error(request, error.message)
    else:
        sentence = _("%(user)s is %(role)s from now on.")
        messages.success(request, sentence % {"user": user.username, "role": Role(changed.role).label})
    return redirect("user_page", user.pk)


@require_http_methods(ASKED)
def user_disable(request: HttpRequest, user_id: UUID) -> HttpResponseBase:
    """Ask whether to disable a user; by POST, do it."""
    user = _user(request, user_id)
    if request.method != "POST":
        return render(request, "access/user_disable.html", {"subject": user})
    try:
        services.disable_user(user=user, by=request.user)
    except Refused as error:
        return _user_page(request, user, error)
    messages.success(request, _("%(user)s is disabled and signed out everywhere.") % {"user": user.username})
    return redirect("user_page", user.pk)


@require_POST
def user_enable(request: HttpRequest, user_id: UUID) -> HttpResponseBase:
    user = _user(request, user_id)
    services.enable_user(user=user, by=request.user)
    messages.success(request, _("%(user)s may sign in again.") % {"user": user.username})
    return redirect("user_page", user.pk)


@sensitive_post_parameters()
@require_http_methods(ASKED)
def user_reset_password(request: HttpRequest, user_id: UUID) -> HttpResponseBase:
    """Ask for a user's one-time password; by POST, set it and show it."""
    user, values = _user(request, user_id), values_of(request, "password")
    template = "access/user_reset_password.html"
    if request.method != "POST":
        return form_page(request, template, values, subject=user)
    try:
        password = services.reset_password(user=user, password=values["password"], by=request.user)
    except Refused as error:
        return form_page(request, template, values, error, subject=user)
    return _show_password(request, user, password, added=False)


def _show_password(request: HttpRequest, user: User, password: str, *, added: bool) -> HttpResponseBase:
    """The one page that shows a one-time password; FrameMiddleware keeps it out of every cache."""
    context = {"subject": user, "password": password, "added": added}
    return render(request, "access/user_password.html", context)


urlpatterns = [
    path("login/", sign_in_page, name="login"),
    path("logout/", sign_out_page, name="logout"),
    path("account/password/", account_password, name="account_password"),
    path("account/tokens/", account_tokens, name="account_tokens"),
    path("account/tokens/<uuid:token_id>/revoke/", token_revoke, name="token_revoke"),
    path("users/", users_page, name="user_list"),
    path("users/add/", user_add, name="user_add"),
    path("users/<uuid:user_id>/", user_page, name="user_page"),
    path("users/<uuid:user_id>/role/", user_role, name="user_role"),
    path("users/<uuid:user_id>/disable/", user_disable, name="user_disable"),
    path("users/<uuid:user_id>/enable/", user_enable, name="user_enable"),
    path("users/<uuid:user_id>/password/", user_reset_password, name="user_reset_password"),
]
