"""Pages asked for as somebody."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from access.roles import Role
from tests.factories import Inventory, make_user
from tests.web.everything import Everything

ClientAs = Callable[[str], Client]
ANONYMOUS = "anonymous"
ROLES = [role.value for role in Role]


@pytest.fixture
def client_as(db: None) -> ClientAs:
    """A signed-in client of a role; the same user for the same role. `anonymous` is not signed in."""
    clients: dict[str, Client] = {}

    def client(role: str) -> Client:
        if role not in clients:
            clients[role] = Client()
            if role != ANONYMOUS:
                clients[role].force_login(make_user(role))
        return clients[role]

    return client


@pytest.fixture
def inventory(db: None) -> Inventory:
    """Three hosts with twelve guests."""
    return Inventory()


@pytest.fixture
def everything(db: None) -> Everything:
    """One object of each kind and three rows of each on its pages."""
    return Everything()
