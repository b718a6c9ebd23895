"""The stream of changes: server-sent events, one per browser.

It carries kinds and ids only. What a page then asks for again is answered with its own user's permissions.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from importlib import import_module
from typing import Any
from weakref import WeakSet

import msgspec
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_GET

from access.middleware import is_expired
from access.models import may
from access.roles import Action
from core.events import Batch, EventsUnavailable, follow

# Kinds that only some may hear of; all others go to whoever may see the inventory.
KIND_ACTIONS = {"user": Action.USERS}
CHECK_SECONDS = 15.0
# A page that merges changes is not faster than this; what happens in between goes out together.
GAP_SECONDS = 0.1
BROKER_RETRY_SECONDS = 3.0
RETRY_MS = 2000
# A person has a few browsers, each with one stream; a page without one still shows everything when it is loaded.
MOST_STREAMS_OF_USER = 32
MOST_STREAMS = 400
RETRY_AFTER_SECONDS = 30
MILLISECONDS = re.compile(r"[0-9]{1,16}")


class _Place:
    """One open stream of this process."""

    def __init__(self, user: str) -> None:
        self.user = user


# Weak, so that a stream which ended before it began frees its place too.
_places: WeakSet[_Place] = WeakSet()


@require_GET
async def events(request: HttpRequest) -> HttpResponseBase:
    """The stream, from the last event the browser got."""
    session_key = request.session.session_key or ""
    actions = await sync_to_async(_actions)(session_key)
    if Action.VIEW not in actions:
        return HttpResponse(status=403)
    place = _take_place(str(request.user.pk))
    if place is None:
        return HttpResponse(status=429, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
    position = request.headers.get("Last-Event-ID") or request.GET.get("position", "")
    since = request.GET.get("since", "")
    since_ms = int(since) if MILLISECONDS.fullmatch(since) else None
    response = _EventStream(place, _stream(session_key, actions, position, since_ms))
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"  # a proxy in front must not collect events
    return response


def _take_place(user: str) -> _Place | None:
    """A place, or None when this user or this process has too many streams open."""
    if len(_places) >= MOST_STREAMS or sum(place.user == user for place in _places) >= MOST_STREAMS_OF_USER:
        return None
    place = _Place(user)
    _places.add(place)
    return place


class _EventStream(StreamingHttpResponse):
    """Frees its place as soon as it ends, or the browser goes away."""

    def __init__(self, place: _Place, stream: AsyncGenerator[str]) -> None:
        super().__init__(stream, content_type="text/event-stream")
        self.place, self.stream = place, stream

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        content: Any = self.streaming_content
        try:
            async with aclosing(self.stream):
                async for piece in content:
                    yield piece
        finally:
            _places.discard(self.place)


def _actions(session_key: str) -> frozenset[Action]:
    """What the session's user may do now. Leaves no database connection open behind a stream that waits."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    try:
        if is_expired(request.session):
            return frozenset()
        user = get_user(request)
        changing = getattr(user, "must_change_password", False)
        return frozenset() if changing else frozenset(action for action in Action if may(user, action))
    finally:
        if not connection.in_atomic_block:
            connection.close()


async def _stream(
    session_key: str, actions: frozenset[Action], position: str, since_ms: int | None
) -> AsyncGenerator[str]:
    yield f"retry: {RETRY_MS}\n\n"
    checked, missed = time.monotonic(), False
    while True:
        try:
            async with aclosing(follow(position, since_ms)) as batches:
                hello = True
                async for batch in batches:
                    if time.monotonic() - checked > CHECK_SECONDS:
                        actions, checked = await sync_to_async(_actions)(session_key), time.monotonic()
                    if Action.VIEW not in actions:
                        yield _event("end", "signed out")
                        return
                    for text in _texts(batch, actions, hello=hello, missed=missed):
                        yield text
                    hello = missed = False
                    await asyncio.sleep(GAP_SECONDS)
        except EventsUnavailable:
            # What is published meanwhile may be lost: whoever comes back reads everything anew.
            position, since_ms, missed = "", None, True
            yield _event("broker-lost", "")
            await asyncio.sleep(BROKER_RETRY_SECONDS)
            actions = await sync_to_async(_actions)(session_key)
            if Action.VIEW not in actions:
                yield _event("end", "signed out")
                return


def _texts(batch: Batch | None, actions: frozenset[Action], *, hello: bool, missed: bool) -> list[str]:
    if batch is None:
        return [_event("beat", "")]
    texts = [_event("hello", "", batch.position)] if hello else []
    if batch.resync or missed:
        texts.append(_event("resync", "", batch.position))
    changes = [one for one in batch.changes if KIND_ACTIONS.get(one[0], Action.VIEW) in actions]
    if changes:
        texts.append(_event("changes", msgspec.json.encode(changes).decode(), batch.position))
    return texts


def _event(name: str, data: Any, position: str = "") -> str:
    number = f"id: {position}\n" if position else ""
    return f"event: {name}\n{number}data: {data}\n\n"
