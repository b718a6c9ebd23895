"""Users and their API tokens."""

from __future__ import annotations

from typing import Any, Self, TypeVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.translation import gettext_lazy as _

from access.roles import ROLE_ACTIONS, Action, Role
from core.ids import new_id
from core.models import Row

M_co = TypeVar("M_co", bound=models.Model, covariant=True)


class User(AbstractUser):
    """A person or a script. What it may do follows from its role alone, never from is_staff or is_superuser."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    role = models.CharField(_("role"), max_length=32, choices=Role.choices, default=Role.VIEWER)

    def may(self, action: Action) -> bool:
        return self.is_active and action in ROLE_ACTIONS.get(self.role, frozenset())


def may(user: Any, action: Action) -> bool:
    """Whether this user, who may be anonymous, may do this at all."""
    return isinstance(user, User) and user.may(action)


class RestrictedQuerySet(models.QuerySet[M_co]):
    """Every list of objects a person sees goes through `restrict`."""

    def restrict(self, user: Any, action: Action) -> Self:
        """Only the rows on which this user may do this."""
        return self if may(user, action) else self.none()


class ApiToken(Row):
    """A bearer token; only its SHA-256 is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    digest = models.CharField(max_length=64, unique=True)
    prefix = models.CharField(max_length=12)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.prefix}… ({self.user.username})"
