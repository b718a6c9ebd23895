"""Signing in and out."""

from django.contrib.auth import authenticate, login, logout
from django.http import HttpRequest
from django.utils.translation import gettext as _

from access.models import User
from access.services import LONGEST_NAME, LONGEST_PASSWORD
from access.throttle import SignInRefused, count_attempt
from audit.services import UNKNOWN, record


def sign_in(request: HttpRequest, *, username: str, password: str) -> User:
    """Check name and password, and start a new session.

    Raises: SignInRefused.
    """
    attempt = count_attempt(username, str(request.META.get("REMOTE_ADDR", "")))
    user = _authenticate(request, username, password)
    if user is None:
        attempt.record_failure("user.sign_in_failed", user=_named(username), by=UNKNOWN)
        raise SignInRefused(_("The user name or the password is not right."))
    attempt.forget()
    login(request, user)
    record(action="user.signed_in", by=user, target_kind="user", target_id=user.pk, target_name=user.username)
    return user


def sign_out(request: HttpRequest) -> None:
    """End this session."""
    user = request.user
    if isinstance(user, User):
        record(action="user.signed_out", by=user, target_kind="user", target_id=user.pk, target_name=user.username)
    logout(request)


def _authenticate(request: HttpRequest, username: str, password: str) -> User | None:
    if len(password) > LONGEST_PASSWORD or not _may_exist(username):
        return None
    user = authenticate(request, username=username, password=password)
    return user if isinstance(user, User) else None


def _named(username: str) -> User | None:
    """An existing account only: what was typed may be a password in the wrong field."""
    return User.objects.filter(username=username).first() if _may_exist(username) else None


def _may_exist(username: str) -> bool:
    """PostgreSQL refuses to be asked for a NUL."""
    return len(username) <= LONGEST_NAME and "\0" not in username
