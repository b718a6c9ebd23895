"""No request fills the disk before anybody asked who sends it."""

import asyncio
from typing import Any

import pytest

from config.body_limit import limit_bodies

LARGEST = 100


async def read_everything(scope: Any, receive: Any, send: Any) -> None:
    """An application that, like Django, takes in the whole body first."""
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def status_of(headers: list[tuple[bytes, bytes]], parts: list[bytes]) -> int:
    sent: list[Any] = []
    left = list(parts)

    async def receive() -> dict[str, Any]:
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": headers}
    asyncio.run(limit_bodies(read_everything, LARGEST)(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    ("headers", "parts", "status"),
    [
        ([], [b"x" * LARGEST], 200),
        ([(b"content-length", b"100")], [b"x" * 100], 200),
        ([(b"content-length", b"101")], [b""], 413),
        ([], [b"x" * 60, b"x" * 60, b"never read"], 413),
        ([(b"content-length", b"5")], [b"x" * 60, b"x" * 60], 413),
        ([(b"content-length", b"many")], [b"x"], 200),
    ],
)
def test_bodies_are_counted(headers: list[tuple[bytes, bytes]], parts: list[bytes], status: int) -> None:
    assert status_of(headers, parts) == status
