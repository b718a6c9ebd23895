"""Telling browsers what changed: `publish` when a transaction commits, read by the event stream.

Changes go to one capped Redis stream. They carry kind and id only; a page that shows the object asks for it again,
with its own user's permissions. A lost change loses nothing but promptness.

Kinds: guest, host, cluster, datacenter, folder, datastore, switch, source, tag, task (every job, migrations too, under
the job's id), user; and `load` with a source's id after each reading of load and states, so that ages and load figures
move without a change of any object.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from django.conf import settings
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from core.db import after_commit

log = logging.getLogger(__name__)

STREAM = "guesthouse:events"
# Enough to bridge a reconnect; older pages reload what they show.
KEPT = 10_000
# Beyond this a page reloads its list anyway; one "any of this kind" says as much as a thousand ids.
MANY = 100
ANY = "*"
# A hung broker must not hang a writer at every commit.
TIMEOUT_SECONDS = 2.0
REST_AFTER_FAILURE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Change:
    """One object changed. `what` is added, changed or removed; `id` may be `*` for any of the kind."""

    kind: str
    id: str
    what: str = "changed"


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes that committed together. `resync`: what is shown may be older than what was missed."""

    position: str
    changes: tuple[tuple[str, str, str], ...] = ()
    resync: bool = False


class EventsUnavailable(Exception):
    """The message broker does not answer."""


def publish(*changes: Change) -> None:
    """Tell browsers about these changes when the open transaction commits. Never raises for the broker's sake.

    Transaction: call it inside the one that makes the change.
    """
    if changes:
        after_commit(_send, coalesce(changes))


def coalesce(changes: Iterable[Change]) -> list[Change]:
    """Each object once, with its last word; too many of one kind become "any of this kind"."""
    by_kind: dict[str, dict[str, Change]] = {}
    for change in changes:
        by_kind.setdefault(change.kind, {})[change.id] = change
    result: list[Change] = []
    for kind, ones in by_kind.items():
        many = len(ones) > MANY or ANY in ones
        result.extend([Change(kind, ANY)] if many else ones.values())
    return result


class _Rest:
    """After a failure the broker is left alone for a while."""

    until = 0.0


def _send(changes: list[Change]) -> None:
    if time.monotonic() < _Rest.until:
        return
    body = msgspec.json.encode([(change.kind, change.id, change.what) for change in changes])
    try:
        _client().xadd(STREAM, {"c": body}, maxlen=KEPT, approximate=True)
    except (RedisError, OSError):
        _Rest.until = time.monotonic() + REST_AFTER_FAILURE_SECONDS
        log.warning("The message broker does not answer; open pages will not move by themselves.")


def _options() -> dict[str, Any]:
    return {
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "socket_timeout": TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }


def _url() -> str:
    """The client knows `redis` and `unix` addresses; `valkey` means the same."""
    return (
        settings.REDIS_URL.replace("valkey", "redis", 1)
        if settings.REDIS_URL.startswith("valkey")
        else settings.REDIS_URL
    )


@cache
def _client() -> Redis:
    return Redis.from_url(_url(), **_options())


BLOCK_MS = 10_000
READ_AT_ONCE = 500
_POSITION = re.compile(r"[0-9]{1,16}-[0-9]{1,16}")


async def follow(position: str = "", since_ms: int | None = None) -> AsyncGenerator[Batch | None]:
    """Batches of changes after a position or a moment, for as long as the caller listens.

    None is given when nothing happened for a while. The first item always tells the position reached.
    Raises: EventsUnavailable.
    """
    options = _options() | {"socket_timeout": BLOCK_MS / 1000 + TIMEOUT_SECONDS}
    client = AsyncRedis.from_url(_url(), **options)
    try:
        start, resync = await _start(client, position, since_ms)
        yield Batch(start, resync=resync)
        while True:
            batch = await _read(client, start)
            start = batch.position if batch else start
            yield batch
    except (RedisError, OSError) as error:
        raise EventsUnavailable from error
    finally:
        with suppress(RedisError, OSError):
            await client.aclose()


async def _read(client: AsyncRedis, start: str) -> Batch | None:
    answer: Any = await client.xread({STREAM: start}, count=READ_AT_ONCE, block=BLOCK_MS)
    if not answer:
        return None
    entries = answer[0][1] if isinstance(answer, list) else next(iter(answer.values()))[0]
    merged = coalesce(Change(*item) for _id, fields in entries for item in msgspec.json.decode(fields[b"c"]))
    last: bytes = entries[-1][0]
    return Batch(last.decode(), tuple((one.kind, one.id, one.what) for one in merged))


async def _start(client: AsyncRedis, position: str, since_ms: int | None) -> tuple[str, bool]:
    """Where to read from, and whether something in between may be lost."""
    if not await client.exists(STREAM):
        return "0-0", bool(position) and position != "0-0"
    info: Any = await client.xinfo_stream(STREAM)
    newest = info["last-generated-id"].decode()
    wanted = position if _POSITION.fullmatch(position) else ""
    if not wanted and since_ms is not None:
        wanted = f"{since_ms}-0"
    if not wanted:
        return newest, bool(position)
    if position and _order(wanted) > _order(newest):
        return newest, True  # the broker lost its memory
    oldest = info["first-entry"][0].decode() if info["first-entry"] else newest
    added = info.get("entries-added")  # Redis says so since 7.0; unknown counts as trimmed
    trimmed = added is None or added > info["length"]
    return (newest, True) if trimmed and _order(wanted) < _order(oldest) else (wanted, False)


def _order(position: str) -> tuple[int, int]:
    milliseconds, _dash, number = position.partition("-")
    return int(milliseconds), int(number)
