"""Letting objects be found by their tags: the column `tags` of search's rows, written from the tables that say which.

Each statement is one for all of them: a tag may be on 50,000 guests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection

from core.bulk import BATCH
from hosts.diff import DatabaseId, database_id
from labels.models import ENTRIES, Tag, Tagged
from search.models import TEXTS, Kind, SearchRow

KINDS = {Kind[tagged.name]: tagged for tagged in Tagged}


def index_tags(kind: Kind, ids: Sequence[UUID]) -> None:
    """Let these objects be found by the tags they have.

    Transaction: the one that changed their tags.
    """
    if kind not in KINDS:
        return
    for start in range(0, len(ids), BATCH):
        batch = [database_id(pk) for pk in ids[start : start + BATCH]]
        _write(kind, *_among(batch), count=len(batch))


def index_tag(tag: Tag, *, is_going: bool = False) -> None:
    """Let everything that has this tag be found by its name of now, or by it no more.

    Transaction: the one that renamed it, or is about to delete it.
    """
    for kind, tagged in KINDS.items():
        count = ENTRIES[tagged].objects.filter(tag=tag).count()
        if count:
            entries = ENTRIES[tagged]._meta.db_table
            among = f"IN (SELECT {tagged}_id FROM {entries} WHERE tag_id = %s)"  # noqa: S608 - our own names
            _write(kind, among, [database_id(tag.pk)], count=count, going=tag if is_going else None)


def _write(kind: Kind, among: str, parameters: list[Any], *, count: int, going: Tag | None = None) -> None:
    """Rows without tags that had none are left alone."""
    tagged = KINDS[kind]
    entries, rows = ENTRIES[tagged]._meta.db_table, SearchRow._meta.db_table
    had = f"EXISTS (SELECT 1 FROM {entries} e WHERE e.{tagged}_id = {rows}.object_id)"  # noqa: S608
    tags = _TAGS.format(entries=entries, kind=tagged, rows=rows, **_WORDS[connection.vendor])
    statement = (
        f"UPDATE {rows} SET tags = COALESCE(({tags}), '') "  # noqa: S608
        f"WHERE kind = %s AND object_id {among} AND (tags <> '' OR {had})"
    )
    nothing = database_id(going.pk if going else UUID(int=0))
    with TEXTS.writes(count), connection.cursor() as cursor:
        _lock(kind, among, parameters)
        cursor.execute(statement, [nothing, kind.value, *parameters])


# SQLite's group_concat takes rows as they come, so they come in order.
_TAGS = """
    SELECT {line_end} || {joined}(name_key, {line_end}) || {line_end} FROM (
        SELECT t.name_key FROM {entries} e JOIN labels_tag t ON t.id = e.tag_id
        WHERE e.{kind}_id = {rows}.object_id AND e.tag_id <> %s ORDER BY t.name_key
    ) named
"""
_WORDS = {
    "sqlite": {"line_end": "char(10)", "joined": "group_concat"},
    "postgresql": {"line_end": "chr(10)", "joined": "string_agg"},
}


def _lock(kind: Kind, among: str, parameters: list[Any]) -> None:
    """In the order in which reads write them (search.services.write_entries), so that both wait one way only."""
    if connection.vendor == "postgresql":
        statement = (
            f"SELECT count(*) FROM (SELECT 1 FROM {SearchRow._meta.db_table} "  # noqa: S608
            f"WHERE kind = %s AND object_id {among} ORDER BY object_id FOR NO KEY UPDATE) locked"
        )
        with connection.cursor() as cursor:
            cursor.execute(statement, [kind.value, *parameters])


def _among(ids: list[DatabaseId]) -> tuple[str, list[Any]]:
    if connection.vendor == "sqlite":
        return f"IN ({', '.join(['%s'] * len(ids))})", list(ids)
    return "= ANY(%s::uuid[])", [ids]
