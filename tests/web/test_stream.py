"""The stream of changes: who gets one, and what each may hear. tests/browser shows it at work."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from typing import Any
from weakref import WeakSet

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.test import AsyncClient, override_settings

from access.middleware import ABSOLUTE_SECONDS, IDLE_SECONDS, SEEN, STARTED
from access.models import User
from access.roles import ROLE_ACTIONS, Role
from console import stream
from core import events
from core.events import Batch, Change
from tests.factories import make_user
from tests.servers import private_valkey
from tests.web.conftest import ROLES


@pytest.fixture(scope="module")
def valkey_url() -> Iterator[str]:
    with private_valkey() as url:
        yield url


@pytest.fixture
def broker(valkey_url: str, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(events._Rest, "until", 0.0)
    monkeypatch.setattr(events, "BLOCK_MS", 200)
    monkeypatch.setattr(stream, "CHECK_SECONDS", 0.0)
    monkeypatch.setattr(stream, "BROKER_RETRY_SECONDS", 0.0)
    with override_settings(REDIS_URL=valkey_url):
        events._client.cache_clear()
        yield
        events._client.cache_clear()


async def _blocks(client: AsyncClient, query: str = "") -> AsyncIterator[dict[str, str]]:
    """The events of the stream as the browser parses them."""
    answer: Any = await client.get(f"/events/{query}")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/event-stream"
    assert answer["Cache-Control"] == "no-store"
    async for piece in answer.streaming_content:
        for block in piece.decode().strip().split("\n\n"):
            yield dict(line.split(": ", 1) if ": " in line else (line.rstrip(":"), "") for line in block.split("\n"))


async def _until(client: AsyncClient, wanted: str, query: str = "", act: Any = None) -> list[dict[str, str]]:
    """Events up to the wanted one; `act` is done once the stream stands."""
    got: list[dict[str, str]] = []
    async for block in _blocks(client, query):
        got.append(block)
        if block.get("event") == "hello" and act:
            await sync_to_async(act)()
        if block.get("event") == wanted:
            break
    return got


def _client(role: str) -> AsyncClient:
    client = AsyncClient()
    client.force_login(make_user(role))
    return client


@pytest.mark.parametrize("role", ROLES)
def test_every_role_hears_of_the_inventory(broker: None, role: str) -> None:
    got = async_to_sync(_until)(_client(role), "changes", act=lambda: events._send([Change("guest", "1")]))
    assert json.loads(got[-1]["data"]) == [["guest", "1", "changed"]]
    assert got[-1]["id"].split("-")[0].isdigit()


@pytest.mark.parametrize("role", ROLES)
def test_only_who_manages_users_hears_of_them(role: str) -> None:
    batch = Batch("1-0", (("user", "7", "changed"), ("guest", "1", "changed")))
    texts = stream._texts(batch, ROLE_ACTIONS[role], hello=False, missed=False)
    assert ("user" in "".join(texts)) == (role == Role.ADMIN)
    assert "guest" in "".join(texts)


def test_a_change_that_nobody_here_may_hear_of_sends_nothing() -> None:
    batch = Batch("1-0", (("user", "7", "changed"),))
    assert stream._texts(batch, ROLE_ACTIONS[Role.VIEWER], hello=False, missed=False) == []


def test_who_is_not_signed_in_gets_none(db: None) -> None:
    answer = async_to_sync(AsyncClient().get)("/events/")
    assert answer.status_code == 302
    assert answer["Location"].startswith("/login/")


def test_a_one_time_password_opens_no_stream(transactional_db: None) -> None:
    client = AsyncClient()
    client.force_login(make_user(Role.ADMIN, must_change_password=True))
    assert async_to_sync(client.get)("/events/").status_code != 200


@pytest.mark.parametrize("change", [{"is_active": False}, {"session_version": 9}, {"role": "nothing"}])
def test_the_stream_ends_when_the_user_may_no_more(broker: None, change: dict[str, Any]) -> None:
    client = _client(Role.OPERATOR)
    got = async_to_sync(_until)(client, "end", act=lambda: User.objects.update(**change))
    assert got[-1]["event"] == "end"


def test_signing_out_ends_the_stream(broker: None) -> None:
    client = _client(Role.OPERATOR)
    key = client.cookies[settings.SESSION_COOKIE_NAME].value

    def sign_out() -> None:
        from django.contrib.sessions.backends.db import SessionStore

        SessionStore(key).delete()

    assert async_to_sync(_until)(client, "end", act=sign_out)[-1]["event"] == "end"


@pytest.mark.parametrize(("clock", "limit"), [(SEEN, IDLE_SECONDS), (STARTED, ABSOLUTE_SECONDS)])
@pytest.mark.parametrize("broker_lost", [False, True])
def test_the_stream_ends_with_the_session(broker: None, clock: str, limit: int, broker_lost: bool) -> None:
    client = _client(Role.OPERATOR)

    def grow_old() -> None:
        session = client.session
        session[clock] -= limit + 1
        session.save()

    async def read() -> str:
        async for block in _blocks(client):
            if block.get("event") in ("hello", "broker-lost"):
                await sync_to_async(grow_old)()
            if block.get("event") == "end":
                return "end"
        return "cut"

    with override_settings(REDIS_URL="unix:///nonexistent/s") if broker_lost else nullcontext():
        assert async_to_sync(read)() == "end"


@pytest.mark.parametrize(("limit", "others"), [("MOST_STREAMS_OF_USER", 200), ("MOST_STREAMS", 429)])
def test_too_many_streams_are_refused(broker: None, monkeypatch: pytest.MonkeyPatch, limit: str, others: int) -> None:
    monkeypatch.setattr(stream, "_places", WeakSet())
    monkeypatch.setattr(stream, limit, 2)
    client, other = _client(Role.OPERATOR), _client(Role.VIEWER)

    async def read() -> None:
        answers: list[Any] = [await client.get("/events/") for _number in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        refused = await client.get("/events/")
        assert (refused.status_code, refused["Retry-After"]) == (429, "30")
        assert (await other.get("/events/")).status_code == others
        content: Any = aiter(answers[1])
        await anext(content)
        await content.aclose()
        assert (await client.get("/events/")).status_code == 200

    async_to_sync(read)()


def test_a_stream_goes_on_where_the_last_one_ended(broker: None) -> None:
    client = _client(Role.VIEWER)
    events._send([Change("guest", "1")])
    first = async_to_sync(_until)(client, "changes", "?since=0")
    events._send([Change("host", "2")])
    later = async_to_sync(_until)(client, "changes", f"?position={first[-1]['id']}")
    assert json.loads(later[-1]["data"]) == [["host", "2", "changed"]]


def test_an_unknown_position_asks_to_read_anew(broker: None) -> None:
    got = async_to_sync(_until)(_client(Role.VIEWER), "resync", "?position=99999999999999-0")
    assert [block.get("event") for block in got] == [None, "hello", "resync"]


@pytest.mark.parametrize("query", ["?since=x", "?since=-1", "?since=1e3", "?position=;drop", "?since=" + "9" * 30])
def test_what_makes_no_sense_is_ignored(broker: None, query: str) -> None:
    got = async_to_sync(_until)(_client(Role.VIEWER), "hello", query)
    assert got[-1]["event"] == "hello"


def test_a_lost_broker_is_said(broker: None) -> None:
    with override_settings(REDIS_URL="unix:///nonexistent/s"):
        got = async_to_sync(_until)(_client(Role.VIEWER), "broker-lost")
    assert got[-1]["event"] == "broker-lost"


def test_only_reading_is_allowed(transactional_db: None) -> None:
    assert async_to_sync(_client(Role.ADMIN).post)("/events/").status_code == 405
