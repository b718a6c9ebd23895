"""Changes on their way to browsers, over a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.test import override_settings
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from core import events
from core.events import ANY, Batch, Change, EventsUnavailable, coalesce, follow, publish
from tests.servers import private_valkey


@pytest.fixture(scope="module")
def valkey_url() -> Iterator[str]:
    with private_valkey() as url:
        yield url


@pytest.fixture
def broker(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """An empty stream."""
    with override_settings(REDIS_URL=valkey_url):
        events._client.cache_clear()
        monkeypatch.setattr(events._Rest, "until", 0.0)
        client = Redis.from_url(valkey_url)
        client.flushall()
        yield client
        events._client.cache_clear()


def _first(count: int, position: str = "", since_ms: int | None = None) -> list[Batch | None]:
    """The first batches somebody who follows gets."""

    async def read() -> list[Batch | None]:
        got: list[Batch | None] = []
        stream: AsyncGenerator[Batch | None] = follow(position, since_ms)
        async with aclosing(stream):
            async for batch in stream:
                got.append(batch)
                if len(got) == count:
                    break
        return got

    return async_to_sync(read)()


def _publish_now(*changes: Change) -> str:
    """Publish and tell the position reached."""
    events._send(list(changes))
    newest: list[tuple[bytes, object]] = events._client().xrevrange(events.STREAM, count=1)  # type: ignore[assignment]
    return newest[0][0].decode()


class TestCoalesce:
    def test_each_object_once_with_its_last_word(self) -> None:
        changes = [Change("guest", "1", "added"), Change("host", "2"), Change("guest", "1", "removed")]
        assert coalesce(changes) == [Change("guest", "1", "removed"), Change("host", "2")]

    def test_many_of_a_kind_become_any(self) -> None:
        changes = [Change("guest", str(number)) for number in range(events.MANY + 1)]
        assert coalesce([*changes, Change("host", "1")]) == [Change("guest", ANY), Change("host", "1")]

    def test_any_swallows_its_kind(self) -> None:
        assert coalesce([Change("guest", "1"), Change("guest", ANY), Change("guest", "2")]) == [Change("guest", ANY)]


class TestPublish:
    def test_sent_when_the_transaction_commits(
        self, broker: Redis, db: None, django_capture_on_commit_callbacks: Callable[..., Any]
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            with transaction.atomic():
                publish(Change("guest", "1"))
            assert broker.xlen(events.STREAM) == 0
        assert broker.xlen(events.STREAM) == 1

    def test_nothing_is_sent_for_nothing(
        self, broker: Redis, db: None, django_capture_on_commit_callbacks: Callable[..., Any]
    ) -> None:
        with django_capture_on_commit_callbacks() as callbacks:
            publish()
        assert callbacks == []

    def test_a_broker_that_is_gone_breaks_no_write_and_is_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(events._Rest, "until", 0.0)
        events._client.cache_clear()
        with override_settings(REDIS_URL="unix:///nonexistent/s"):
            events._send([Change("guest", "1")])
            assert events._Rest.until > 0
            monkeypatch.setattr(events, "_client", lambda: pytest.fail("asked again at once"))
            events._send([Change("guest", "1")])
        events._Rest.until = 0.0

    def test_the_stream_is_capped(self, broker: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(events, "KEPT", 100)
        for number in range(500):
            events._send([Change("guest", str(number))])
        assert int(str(broker.xlen(events.STREAM))) < 300


class TestFollow:
    def test_what_comes_after_a_position(self, broker: Redis) -> None:
        position = _publish_now(Change("guest", "1"))
        _publish_now(Change("guest", "2"), Change("host", "3", "added"))
        _publish_now(Change("guest", "2", "removed"))
        hello, batch = _first(2, position)
        assert hello == Batch(position)
        assert batch is not None
        assert batch.changes == (("guest", "2", "removed"), ("host", "3", "added"))

    def test_what_came_since_a_moment(self, broker: Redis) -> None:
        position = _publish_now(Change("guest", "1"))
        _hello, batch = _first(2, since_ms=int(position.split("-")[0]) - 1)
        assert batch is not None
        assert batch.changes == (("guest", "1", "changed"),)

    def test_without_either_only_what_is_new(self, broker: Redis) -> None:
        position = _publish_now(Change("guest", "1"))
        assert _first(1) == [Batch(position)]

    @pytest.mark.parametrize("unknown", ["99999999999999-0", "garbage"])
    def test_an_unknown_position_asks_to_read_anew(self, broker: Redis, unknown: str) -> None:
        position = _publish_now(Change("guest", "1"))
        assert _first(1, unknown) == [Batch(position, resync=True)]

    def test_a_broker_that_lost_its_memory_asks_to_read_anew(self, broker: Redis) -> None:
        assert _first(1, "1700000000000-0") == [Batch("0-0", resync=True)]

    def test_what_was_trimmed_asks_to_read_anew(self, broker: Redis) -> None:
        position = _publish_now(Change("guest", "1"))
        for number in range(20):
            newest = _publish_now(Change("guest", str(number)))
        broker.xtrim(events.STREAM, maxlen=5, approximate=False)
        assert _first(1, position) == [Batch(newest, resync=True)]

    def test_an_older_redis_that_does_not_count_is_followed(
        self, broker: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Redis before 7.0: what lies before the oldest may be lost, what lies after it is not."""
        position = _publish_now(Change("guest", "1"))
        newest = _publish_now(Change("guest", "2"))
        ask: Any = AsyncRedis.xinfo_stream

        async def answer(client: AsyncRedis, name: str) -> dict[str, Any]:
            info = await ask(client, name)
            del info["entries-added"], info["max-deleted-entry-id"], info["recorded-first-entry-id"]
            return dict(info)

        monkeypatch.setattr(AsyncRedis, "xinfo_stream", answer)
        assert _first(1, position) == [Batch(position)]
        assert _first(1, since_ms=1) == [Batch(newest, resync=True)]

    def test_a_broker_that_is_gone_is_said(self) -> None:
        with override_settings(REDIS_URL="unix:///nonexistent/s"), pytest.raises(EventsUnavailable):
            _first(1)
