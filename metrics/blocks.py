"""Blocks in the database: read by object, written so that writing twice is writing once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db import connection

from metrics.levels import RAW, Grain
from metrics.models import LoadBlock
from metrics.packing import Points, pack, unpack

AT_ONCE = 500

Key = tuple[UUID, int]  # object, start
# Group in hexadecimal, second, whether exact, objects and values: as LoadPoll has them.
Poll = tuple[str, int, bool, bytes, bytes]
_INSERT = """
    INSERT INTO metrics_loadpoll (group_id, at, exact, objects_packed, values_packed) VALUES (%s, %s, %s, %s, %s)
"""


def make_block(grain: Grain, key: Key, points: Points, *, exact: bool) -> LoadBlock:
    packed = pack(points, key[1], grain.step, exact=exact, spread=grain is not RAW)
    return LoadBlock(object_id=key[0], level=grain.level, start=key[1], packed=packed)


def put_blocks(blocks: Sequence[LoadBlock]) -> None:
    """Insert them; one that exists is replaced.

    Transaction: call it inside one.
    """
    LoadBlock.objects.bulk_create(
        blocks,
        batch_size=AT_ONCE,
        update_conflicts=True,
        unique_fields=["object_id", "level", "start"],
        update_fields=["packed"],
    )


def put_polls(polls: Sequence[Poll]) -> None:
    """Append polls. No row is asked back, so that PostgreSQL need not be waited for.

    Transaction: call it inside one.
    """
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT, polls)


def points_of(rows: Iterable[tuple[int, Any]]) -> list[Points]:
    """Of (start, packed)."""
    return [unpack(bytes(packed), start) for start, packed in rows]
