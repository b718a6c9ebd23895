"""The server's disk is full: pages are read as before and say so, what would be written is refused in a sentence."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from django.contrib.auth import SESSION_KEY
from django.db import OperationalError, connection
from django.test import Client
from django.urls import reverse

from access.middleware import SEEN, WRITE_EVERY_SECONDS
from access.roles import Role
from core import room
from operations.models import Job
from tests.factories import PASSWORD, Inventory
from tests.web.conftest import ClientAs

SAYS = "disk is full"


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "is_full", lambda: True)


def no_room() -> NoReturn:
    """As SQLite says it."""
    inner = sqlite3.OperationalError("database or disk is full")
    inner.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise OperationalError("database or disk is full") from inner


@pytest.fixture
def refusing(full: None) -> Iterator[None]:
    """Every statement that writes finds no room."""

    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.partition(" ")[0] in {"INSERT", "UPDATE", "DELETE"}:
            no_room()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        yield


def test_each_page_says_so(client_as: ClientAs, inventory: Inventory, full: None) -> None:
    for name in ("home", "guest_list", "task_list"):
        assert SAYS in client_as(Role.VIEWER).get(reverse(name)).content.decode()
        fragment = client_as(Role.VIEWER).get(reverse(name), headers={"HX-Request": "true"})
        assert SAYS in fragment.content.decode()


def test_with_room_none_says_so(client_as: ClientAs, inventory: Inventory) -> None:
    assert SAYS not in client_as(Role.VIEWER).get(reverse("home")).content.decode()


def test_health_says_so(db: None, full: None) -> None:
    answer = Client().get(reverse("healthz"))
    assert answer.status_code == 200
    assert answer.json() == {"status": "full"}


def test_a_page_is_read_although_the_session_cannot_be_noted(
    client_as: ClientAs, inventory: Inventory, refusing: None
) -> None:
    client = client_as_ready(client_as, Role.VIEWER)
    session = client.session
    session[SEEN] = int(time.time()) - WRITE_EVERY_SECONDS - 10
    allow(session.save)
    answer = client.get(reverse("guest_list"))
    assert answer.status_code == 200
    assert SAYS in answer.content.decode()
    assert SESSION_KEY in client.session, "nobody is signed out for it"


def allow(act: Any) -> None:
    """Do it although nothing else may be written."""
    wrappers, connection.execute_wrappers = connection.execute_wrappers, []
    try:
        act()
    finally:
        connection.execute_wrappers = wrappers


def test_a_button_is_refused_in_a_sentence(client_as: ClientAs, inventory: Inventory, refusing: None) -> None:
    guest = inventory.guests[0]
    client = client_as_ready(client_as, Role.OPERATOR)
    answer = client.post(reverse("guest_power", args=[guest.pk, "off"]))
    assert answer.status_code == 507
    assert SAYS in answer.content.decode()
    assert not Job.objects.exists()


def client_as_ready(client_as: ClientAs, role: Role) -> Client:
    """Signed in while there was room."""
    found: list[Client] = []
    allow(lambda: found.append(client_as(role)))
    return found[0]


def test_an_api_call_is_refused_in_a_sentence(client_as: ClientAs, inventory: Inventory, refusing: None) -> None:
    guest = inventory.guests[0]
    client = client_as_ready(client_as, Role.OPERATOR)
    answer = client.post(f"/api/v1/guests/{guest.pk}/power/", {"action": "off"}, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "no_room")
    assert SAYS in answer.json()["error"]["message"]


def test_nobody_signs_in_and_hears_why(client_as: ClientAs, refusing: None) -> None:
    client_as_ready(client_as, Role.VIEWER)
    words = {"username": "the-viewer", "password": PASSWORD}
    answer = Client(raise_request_exception=False).post(reverse("login"), words)
    assert answer.status_code == 507
    assert SAYS in answer.content.decode()


def test_a_failure_of_another_kind_stays_one(client_as: ClientAs, inventory: Inventory) -> None:
    client = client_as(Role.OPERATOR)
    client.raise_request_exception = False

    def broken(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("INSERT"):
            raise OperationalError("disk I/O error")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(broken):
        answer = client.post(reverse("guest_power", args=[inventory.guests[0].pk, "off"]))
    assert answer.status_code == 500
