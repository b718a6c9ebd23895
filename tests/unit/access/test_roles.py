"""What each role may do, written down a second time on purpose: a change must be made in both places."""

import pytest
from django.contrib.auth.models import AnonymousUser

from access.models import User, may, require
from access.roles import ROLE_ACTIONS, Action, Role
from core.errors import Forbidden
from hosts.models import Host

ALLOWED = {
    "viewer": "view",
    "operator": "view export console power",
    "migration_admin": "view export console power configure migrate cancel maintenance",
    "auditor": "view export audit",
    "admin": "view export console power configure provision migrate cancel maintenance audit sources users",
}


@pytest.mark.parametrize("role", Role.values)
def test_role_may_do_exactly_this(role):
    assert {str(action) for action in ROLE_ACTIONS[role]} == set(ALLOWED[role].split())


@pytest.mark.parametrize("role", Role.values)
@pytest.mark.parametrize("action", Action.values)
def test_require_follows_the_table(role, action):
    user = User(username="x", role=role)
    if action in ALLOWED[role].split():
        require(user, Action(action))
    else:
        with pytest.raises(Forbidden):
            require(user, Action(action))


def test_flags_of_django_give_nothing():
    user = User(username="x", role=Role.VIEWER, is_staff=True, is_superuser=True)
    assert not may(user, Action.USERS)


def test_disabled_anonymous_and_unknown_roles_may_nothing():
    for user in (User(role=Role.ADMIN, is_active=False), AnonymousUser(), None, User(role="root")):
        assert not any(may(user, action) for action in Action)


def test_restrict_gives_nothing_to_who_may_not(db):
    rows = Host.objects.restrict(User(role=Role.VIEWER), Action.POWER)
    assert rows.query.is_empty()
    assert not Host.objects.restrict(User(role=Role.OPERATOR), Action.POWER).query.is_empty()
