"""What a user may see of users, tokens and the audit log."""

from typing import Any

from django.db.models import QuerySet

from access.models import ApiToken, User, may
from access.roles import Action
from audit.models import AuditRow


def user_list(*, user: Any) -> QuerySet[User]:
    """Every user, for who manages users."""
    return User.objects.all() if may(user, Action.USERS) else User.objects.none()


def token_list(*, user: Any) -> QuerySet[ApiToken]:
    """One's own tokens."""
    if not isinstance(user, User) or not user.is_active:
        return ApiToken.objects.none()
    return ApiToken.objects.filter(user=user)


def audit_list(*, user: Any) -> QuerySet[AuditRow]:
    """The audit log, for who may read it."""
    return AuditRow.objects.all() if may(user, Action.AUDIT) else AuditRow.objects.none()
