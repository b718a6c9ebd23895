"""Acts on users and their API tokens."""

import hashlib
import secrets
from typing import Any

from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.db.models import F
from django.utils.translation import gettext as _

from access.models import ApiToken, User, require
from access.roles import Action, Role
from access.throttle import clear_account, count_attempt
from audit.services import COMMAND_LINE, NOBODY, record
from core.db import write_transaction
from core.errors import Conflict, Forbidden, Invalid
from core.events import Change, publish

TOKEN_START = "gst_"  # noqa: S105 - lets a scanner for leaked secrets recognize ours
SHOWN_CHARACTERS = 12
LONGEST_NAME = 150
LONGEST_PASSWORD = 256  # hashing endless input would be free work for a stranger
MOST_TOKENS = 50


def create_user(*, username: str, role: str, password: str = "", by: Any) -> tuple[User, str]:
    """Add a user. Without a password one is made up; it is returned this once and must be changed at sign-in.

    Raises: Forbidden, Invalid.
    """
    require(by, Action.USERS)
    user = User(username=_checked_username(username), role=_checked_role(role), must_change_password=True)
    password = _set_password(user, password)
    try:
        with write_transaction():
            user.save(force_insert=True)
            _record("user.created", user, by=by, role=user.role)
    except IntegrityError as error:
        raise Invalid(_("There is already a user of this name."), field="username") from error
    return user, password


def set_role(*, user: User, role: str, by: Any) -> User:
    """Raises: Forbidden, Invalid, Conflict for the last active administrator."""
    require(by, Action.USERS)
    role = _checked_role(role)
    if user.pk == by.pk:
        raise Forbidden(_("Nobody changes their own role; ask another administrator."))
    with write_transaction():
        locked = _locked(user, keeps_administrator=role == Role.ADMIN)
        before, locked.role = locked.role, role
        if before != role:
            locked.save(update_fields=["role"])
            _record("user.role_changed", locked, by=by, before=before, after=role)
    return locked


def disable_user(*, user: User, by: Any) -> User:
    """End what a user may do, at once: sessions end, API tokens are gone.

    Raises: Forbidden, Conflict for oneself and the last active administrator.
    """
    require(by, Action.USERS)
    if user.pk == by.pk:
        raise Conflict(_("Nobody disables themselves; ask another administrator."))
    with write_transaction():
        locked = _locked(user, keeps_administrator=False)
        if locked.is_active:
            locked.is_active = False
            locked.session_version += 1
            locked.save(update_fields=["is_active", "session_version"])
            revoked = _revoke_all(locked)
            _record("user.disabled", locked, by=by, tokens_revoked=revoked)
    return locked


def enable_user(*, user: User, by: Any) -> User:
    """Raises: Forbidden."""
    require(by, Action.USERS)
    with write_transaction():
        locked = User.objects.select_for_update().get(pk=user.pk)
        if not locked.is_active:
            locked.is_active = True
            locked.save(update_fields=["is_active"])
            _record("user.enabled", locked, by=by)
    return locked


def reset_password(*, user: User, password: str = "", by: Any) -> str:
    """Give a user a password that must be changed at sign-in; sessions end, API tokens are gone.

    Returns it, this once. Raises: Forbidden, Invalid.
    """
    require(by, Action.USERS)
    if user.pk == by.pk:
        raise Conflict(_("Change your own password on your account's page."))
    password = _set_password(user, password)
    with write_transaction():
        user.must_change_password = True
        user.save(update_fields=["password", "must_change_password"])
        _end_sessions(user)
        _record("user.password_reset", user, by=by, tokens_revoked=_revoke_all(user))
    return password


def change_own_password(*, user: User, current: str, new: str, address: str = "") -> User:
    """Every session of this user ends; the page signs its own in again. Guesses at `current` count as sign-ins do.

    Raises: Invalid, access.throttle.SignInRefused, Conflict when the password was changed elsewhere meanwhile.
    """
    checked = user.password
    attempt = count_attempt(user.username, address)
    if len(current) > LONGEST_PASSWORD or not check_password(current, checked):
        attempt.record_failure("user.password_change_failed", user=user, by=user)
        raise Invalid(_("That is not your current password."), field="current")
    attempt.forget()
    if current == new:
        raise Invalid(_("Choose a password that differs from the current one."), field="new")
    _judge_password(user, new, field="new")
    hashed = make_password(new)
    with write_transaction():
        locked = User.objects.select_for_update().get(pk=user.pk)
        if locked.password != checked or not locked.is_active:
            raise Conflict(_("Your password was changed elsewhere meanwhile; sign in again."))
        locked.password, locked.must_change_password = hashed, False
        locked.save(update_fields=["password", "must_change_password"])
        _end_sessions(locked)
        _record("user.password_changed", locked, by=locked)
    user.refresh_from_db()
    return user


def unlock_user(*, user: User) -> bool:
    """Forget the failed sign-ins counted on an account over all addresses. Returns whether there were any."""
    with write_transaction():
        unlocked = clear_account(user.username)
        if unlocked:
            _record("user.unlocked", user, by=COMMAND_LINE)
    return unlocked


def create_token(*, user: User, name: str = "", by: Any) -> tuple[ApiToken, str]:
    """Make an API token; its text is returned this once, only its hash is kept.

    Raises: Conflict, Forbidden.
    """
    if by != COMMAND_LINE and by.pk != user.pk:
        raise Forbidden(_("A token is made by the user it belongs to."))
    text = TOKEN_START + secrets.token_urlsafe(32)
    label = "".join(filter(str.isprintable, name)).strip()
    token = ApiToken(
        user=user, name=(label or str(by))[:100], digest=token_digest(text), prefix=text[:SHOWN_CHARACTERS]
    )
    with write_transaction():
        if not User.objects.select_for_update().filter(pk=user.pk, is_active=True).exists():
            raise Conflict(_("This user is disabled; enable it first."))
        if ApiToken.objects.filter(user=user).count() >= MOST_TOKENS:
            raise Conflict(_("There are too many tokens already; revoke one that is no longer used."))
        token.save(force_insert=True)
        _record("token.created", user, by=by, token=token.prefix, name=token.name)
    return token, text


def revoke_token(*, token: ApiToken, by: Any) -> None:
    """Raises: Forbidden unless it is one's own, or one manages users."""
    if token.user_id != by.pk:
        require(by, Action.USERS)
    with write_transaction():
        deleted, _kinds = ApiToken.objects.filter(pk=token.pk).delete()
        if deleted:
            _record("token.revoked", token.user, by=by, token=token.prefix, name=token.name)


def ensure_admin(*, password: str) -> bool:
    """Make sure that somebody can administer: `admin` is made, or made usable again, if nobody active is one.

    The password comes from the server's own configuration and is not judged. Returns whether anything changed.
    """
    with write_transaction():
        if User.objects.filter(role=Role.ADMIN, is_active=True).exists():
            return False
        user = User.objects.select_for_update().filter(username="admin").first() or User(username="admin")
        user.role, user.is_active, user.must_change_password = Role.ADMIN, True, False
        user.session_version += 1
        user.set_password(password)
        user.save()
        _record("user.administrator_ensured", user, by=COMMAND_LINE)
    return True


def token_digest(text: str) -> str:
    """256 random bits need no slow hash: nobody can guess what this is the digest of."""
    return hashlib.sha256(text.encode()).hexdigest()


def _locked(user: User, *, keeps_administrator: bool) -> User:
    """The row as it is now, locked; refuses to take the last active administrator away.

    All active administrators are locked in one order, so that two who demote each other wait for each other.
    """
    admins = list(
        User.objects.select_for_update()
        .filter(role=Role.ADMIN, is_active=True)
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    if not keeps_administrator and admins == [user.pk]:
        raise Conflict(_("This is the last active administrator; make another user administrator first."))
    return User.objects.select_for_update().get(pk=user.pk)


def _end_sessions(user: User) -> None:
    User.objects.filter(pk=user.pk).update(session_version=F("session_version") + 1)


def _revoke_all(user: User) -> int:
    return ApiToken.objects.filter(user=user).delete()[0]


def _set_password(user: User, password: str) -> str:
    """Set a judged password, or a random one when it is empty; hashes before any transaction opens."""
    password = password or secrets.token_urlsafe(15)
    _judge_password(user, password, field="password")
    user.set_password(password)
    return password


def _judge_password(user: User, password: str, *, field: str) -> None:
    if len(password) > LONGEST_PASSWORD:
        raise Invalid(_("This password is too long."), field=field)
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise Invalid(" ".join(error.messages), field=field) from error


def _checked_username(username: str) -> str:
    name = User.normalize_username(username.strip())
    try:
        UnicodeUsernameValidator()(name)
    except ValidationError as error:
        raise Invalid(str(error.messages[0]), field="username") from error
    if not 1 <= len(name) <= LONGEST_NAME:
        raise Invalid(_("A user name has 1 to 150 characters."), field="username")
    if name.casefold() in NOBODY:
        raise Invalid(_("The audit log uses this name for itself; choose another one."), field="username")
    return name


def _checked_role(role: str) -> str:
    if role not in Role.values:
        raise Invalid(_("There is no such role."), field="role")
    return role


def _record(action: str, user: User, *, by: Any, **detail: Any) -> None:
    record(action=action, by=by, target_kind="user", target_id=user.pk, target_name=user.username, **detail)
    publish(Change("user", str(user.pk)))
