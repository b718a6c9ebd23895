"""Users and their API tokens."""

from __future__ import annotations

from typing import Any, Self, TypeVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models.functions import Lower
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from access.roles import ROLE_ACTIONS, Action, Role
from core.errors import Forbidden
from core.ids import new_id
from core.models import Row

M_co = TypeVar("M_co", bound=models.Model, covariant=True)


class User(AbstractUser):
    """A person or a script. What it may do follows from its role alone, never from is_staff or is_superuser."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    role = models.CharField(_("role"), max_length=32, choices=Role.choices, default=Role.VIEWER)
    must_change_password = models.BooleanField(default=False)  # signed in with a password somebody else chose
    session_version = models.PositiveIntegerField(default=0)  # counting it up ends every session

    class Meta(AbstractUser.Meta):
        constraints = [models.UniqueConstraint(Lower("username"), name="access_one_user_per_name")]

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """Django keeps this in each session and compares it at each request."""
        value = f"{self.session_version}:{self.password}"
        return salted_hmac("access.User.session", value, secret=secret, algorithm="sha256").hexdigest()

    def may(self, action: Action) -> bool:
        return self.is_active and action in ROLE_ACTIONS.get(self.role, frozenset())


def may(user: Any, action: Action) -> bool:
    """Whether this user, who may be anonymous, may do this at all."""
    return isinstance(user, User) and user.may(action)


def require(user: Any, action: Action) -> None:
    """Stop whoever may not do this.

    Raises: core.errors.Forbidden, which Django answers with 403.
    """
    if not may(user, action):
        raise Forbidden(gettext("Your role does not allow this: %(action)s.") % {"action": Action(action).label})


class RestrictedQuerySet(models.QuerySet[M_co]):
    """Every list of objects a person sees goes through `restrict`, also lists of what is below or beside an object.

    An object names what contains it. Its parts are asked for by themselves: a disk or NIC is seen with its guest,
    a placement or mount with both its ends.
    """

    def restrict(self, user: Any, action: Action) -> Self:
        """Only the rows on which this user may do this."""
        return self if may(user, action) else self.none()


class ApiToken(Row):
    """A bearer token; only its SHA-256 is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    prefix = models.CharField(max_length=12)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects = models.Manager["ApiToken"]()

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.prefix}… ({self.user.username})"


class SignInThrottle(models.Model):
    """Failed sign-ins counted for one key: an account from an address, an address, or an account.

    A row in the database, so that the count holds over several web processes. Keys are hashed: no typed user name,
    which may be a password typed into the wrong field, is kept.
    """

    key = models.CharField(max_length=64, primary_key=True)
    failures = models.PositiveIntegerField(default=0)
    until = models.DateTimeField(db_index=True)  # when the count starts anew

    def __str__(self) -> str:
        return f"{self.failures} until {self.until:%H:%M:%S}"
