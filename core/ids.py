"""Identifiers made by us, so that rows and the links between them exist before any transaction."""

import os
import time
import uuid


def new_id() -> uuid.UUID:
    """A UUID of version 7: 48 bits of milliseconds, then random, so that new rows land at an index's end.

    Source: RFC 9562, section 5.7.
    """
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (2**48 - 1)) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)


def new_ids(count: int) -> list[str]:
    """Many ids at once, as 32 hexadecimal digits: for rows nothing points to. Both databases take that form."""
    head = f"{time.time_ns() // 1_000_000 & (2**48 - 1):012x}7"
    tail = os.urandom(10 * count).hex()
    return [
        f"{head}{tail[at : at + 3]}{'89ab'[int(tail[at + 3], 16) & 3]}{tail[at + 4 : at + 19]}"
        for at in range(0, 20 * count, 20)
    ]


def as_id(text: str) -> uuid.UUID | None:
    """The id that somebody wrote; None for what is none."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
