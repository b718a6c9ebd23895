"""A limit on request bodies, ahead of everything else.

Django's ASGI handler takes in a whole body before any middleware or sign-in is asked; without this, a stranger fills
the disk with one request. Source: django/core/handlers/asgi.py, ASGIHandler.read_body.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]

# The largest form here is a source with a private key: some kilobytes.
LARGEST_BODY_BYTES = 1024 * 1024
TOO_LARGE = 413


class TooLarge(Exception):
    """The body went past the limit while it was read."""


def limit_bodies(application: Application, largest: int = LARGEST_BODY_BYTES) -> Application:
    """Answer 413 to a request whose body is, or turns out to be, larger."""

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        if announced_bytes(scope) > largest:
            await refuse(send)
            return
        try:
            await application(scope, counting(receive, largest), send)
        except TooLarge:
            await refuse(send)

    return limited


def announced_bytes(scope: Scope) -> int:
    """The Content-Length, or 0 when there is none that can be read."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def counting(receive: Receive, largest: int) -> Receive:
    taken = 0

    async def count() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > largest:
            raise TooLarge
        return message

    return count


async def refuse(send: Send) -> None:
    body = b"The request is too large."
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": TOO_LARGE, "headers": headers})
    await send({"type": "http.response.body", "body": body})
