"""Comparing what a source says with the rows we have, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import Model

from core.bulk import text_of_time
from hosts.models import Source

K = TypeVar("K")
F = TypeVar("F")

# Ids as raw queries give and take them: text, without an object for each of 50,000 rows.
DatabaseId = str


def database_id(value: UUID) -> DatabaseId:
    """An id as `id_column` selects it."""
    return value.hex if connection.vendor == "sqlite" else str(value)


def id_column(name: str) -> str:
    """SQL that selects an id column as text."""
    return name if connection.vendor == "sqlite" else f"{name}::text"


def time_value(value: datetime) -> str | datetime:
    """A time as a raw query's parameter; SQLite compares texts."""
    return text_of_time(value) if connection.vendor == "sqlite" else value


@dataclass(frozen=True, slots=True)
class Known:
    """What a row remembers of its fact. `newer`: its evidence is newer than the read that is being applied."""

    id: DatabaseId
    fact_hash: str
    missing: bool
    newer: bool


@dataclass(slots=True)
class Diff(Generic[K, F]):
    """`new` and `changed` hold the fact with its digest; `gone` are rows a complete read did not find."""

    new: list[tuple[K, F, str]] = field(default_factory=list)
    changed: list[tuple[DatabaseId, K, F, str]] = field(default_factory=list)
    gone: list[tuple[DatabaseId, K]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.gone)


def load_known_hosts(source: Source, table: type[Model], read_at: datetime) -> dict[str, Known]:
    """A source's rows of hosts by reference, in one query."""
    where = "r.source_id = %s"
    return {row[0]: Known(*row[1:]) for row in _rows(source, table, "r.ref", where, read_at)}


def load_known_parts(source: Source, table: type[Model], read_at: datetime) -> dict[tuple[DatabaseId, str], Known]:
    """Rows that belong to a source's hosts, by host and reference, in one query."""
    where = "r.host_id IN (SELECT h.id FROM hosts_host h WHERE h.source_id = %s)"
    keys = f"{id_column('r.host_id')}, r.ref"
    return {(row[0], row[1]): Known(*row[2:]) for row in _rows(source, table, keys, where, read_at)}


def _rows(source: Source, table: type[Model], keys: str, where: str, read_at: datetime) -> list[tuple[Any, ...]]:
    statement = (
        f"SELECT {keys}, {id_column('r.id')}, r.fact_hash, r.missing_since IS NOT NULL, r.evidence_at > %s "  # noqa: S608
        f"FROM {table._meta.db_table} r WHERE {where}"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [time_value(read_at), database_id(source.pk)])
        return list(cursor.fetchall())


def compare(known: Mapping[K, Known], facts: Mapping[K, tuple[F, str]], *, complete: bool) -> Diff[K, F]:
    """What to write. A row whose evidence is newer than this read is left alone; only a complete read misses rows."""
    diff: Diff[K, F] = Diff()
    for key, (fact, fact_hash) in facts.items():
        row = known.get(key)
        if row is None:
            diff.new.append((key, fact, fact_hash))
        elif (row.fact_hash != fact_hash or row.missing) and not row.newer:
            diff.changed.append((row.id, key, fact, fact_hash))
    if complete:
        gone = ((row.id, key) for key, row in known.items() if key not in facts and not row.missing and not row.newer)
        diff.gone = list(gone)
    return diff
