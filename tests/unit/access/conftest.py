from collections.abc import Callable

import pytest

from access.models import User
from access.roles import Role

PASSWORD = "a long enough secret"


@pytest.fixture
def make_user(db) -> Callable[..., User]:
    def make(username: str, role: str = Role.VIEWER, password: str = "") -> User:
        user: User = User(username=username, role=role)
        if password:
            user.set_password(password)
        else:
            user.set_unusable_password()
        user.save()
        return user

    return make


@pytest.fixture
def boss(make_user: Callable[..., User]) -> User:
    return make_user("boss", Role.ADMIN, PASSWORD)
