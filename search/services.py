"""Writing what objects are found by. Each kind's own app says what that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from operator import itemgetter
from typing import Any, Protocol
from uuid import UUID

from django.db import connection

from core import bulk
from core.search import fold
from search.models import TEXTS, Kind, SearchRow

# Who writes a book into the notes is found by its first pages.
LONGEST_TEXT = 20_000
LONGEST_NAME = 255
DIGEST_BYTES = 16
COLUMNS = ("kind", "object_id", "name_key", "digest", "text")


@dataclass(frozen=True, slots=True)
class Entry:
    """One object to be found: its id as the database has it, its name, and the text made by `text_of`."""

    object_id: str
    name: str
    text: str


def text_of(values: Iterable[str]) -> str:
    """Values as one text, each of them once. The first ones stay when there are too many."""
    lines = fold("\n".join(dict.fromkeys(value for value in values if value)))
    return f"\n{lines[:LONGEST_TEXT]}\n"


def digest_of(name: str, text: str, size: int = DIGEST_BYTES) -> str:
    return blake2b(f"{name}\n{text}".encode(), digest_size=size).hexdigest()


def load_digests(kind: Kind, ids: Iterable[str]) -> dict[str, str]:
    """What is written of these objects, by id; ids as the database has them. Runs for every guest that changed."""
    found: dict[str, str] = {}
    remaining = iter(ids)
    with connection.cursor() as cursor:
        while batch := list(islice(remaining, bulk.BATCH)):
            cursor.execute(*_digests_query(kind, batch))
            found.update(cursor.fetchall())
    return found


def _digests_query(kind: Kind, ids: list[str]) -> tuple[str, list[Any]]:
    table = SearchRow._meta.db_table
    if connection.vendor == "sqlite":
        marks = ", ".join(["%s"] * len(ids))
        query = f"SELECT object_id, digest FROM {table} WHERE kind = %s AND object_id IN ({marks})"  # noqa: S608
        return query, [kind.value, *ids]
    query = f"SELECT object_id::text, digest FROM {table} WHERE kind = %s AND object_id = ANY(%s::uuid[])"  # noqa: S608
    return query, [kind.value, ids]


def write_entries(kind: Kind, entries: Sequence[Entry]) -> None:
    """Let these objects be found by this, where it differs from what is written.

    Rows are written in the order of their objects: two who write some of the same wait for each other one way only.
    Transaction: the one that changes the objects.
    """
    digests = [digest_of(entry.name, entry.text) for entry in entries]
    known = load_digests(kind, (entry.object_id for entry in entries)) if entries else {}
    rows = [
        row_of(kind, entry, digest)
        for entry, digest in zip(entries, digests, strict=True)
        if known.get(entry.object_id) != digest
    ]
    rows.sort(key=itemgetter(COLUMNS.index("object_id")))
    with TEXTS.writes(len(rows)):
        write_rows(rows)


def row_of(kind: Kind, entry: Entry, digest: str) -> tuple[Any, ...]:
    """The values of COLUMNS."""
    return kind.value, entry.object_id, fold(entry.name)[:LONGEST_NAME], digest, entry.text


def write_rows(rows: Sequence[tuple[Any, ...]]) -> None:
    """Values of COLUMNS. Whoever has many says so to TEXTS.writes first."""
    bulk.upsert(SearchRow, COLUMNS, rows, key=("kind", "object_id"))


class TagWriter(Protocol):
    def __call__(self, kind: Kind, ids: Sequence[UUID]) -> None:
        """Write `tags` of these objects' rows anew."""


_tag_writers: list[TagWriter] = []


def register_tag_writer(writer: TagWriter) -> None:
    """The app of tags says at its start how they are written: it is above those that fill this table anew."""
    _tag_writers.append(writer)


def write_tags(kind: Kind, ids: Sequence[UUID]) -> None:
    """Let these objects be found by the tags that they have now.

    Transaction: the one that filled their rows.
    """
    for writer in _tag_writers:
        writer(kind, ids)


def forget(kind: Kind, ids: Any) -> None:
    """Find these objects no more: ids, or a query of ids.

    Transaction: the one that removes the objects.
    """
    SearchRow.objects.filter(kind=kind, object_id__in=ids).delete()
