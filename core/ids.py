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
