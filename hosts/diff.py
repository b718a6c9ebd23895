"""Comparing what a source says with the rows we have, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db.models import QuerySet

K = TypeVar("K")
F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class Known:
    """What a row remembers of its fact."""

    id: UUID
    fact_hash: str
    evidence_at: datetime
    missing: bool


@dataclass(slots=True)
class Diff(Generic[K, F]):
    """`new` and `changed` hold the fact with its digest; `gone` are ids a complete read did not find."""

    new: list[tuple[K, F, str]] = field(default_factory=list)
    changed: list[tuple[Known, K, F, str]] = field(default_factory=list)
    gone: list[UUID] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.gone)


def load_known(rows: QuerySet[Any], *key: str) -> dict[Any, Known]:
    """The rows by key, in one query."""
    width = len(key)
    found = rows.values_list(*key, "pk", "fact_hash", "evidence_at", "missing_since")
    return {
        row[:width] if width > 1 else row[0]: Known(*row[width : width + 3], row[width + 3] is not None)
        for row in found
    }


def compare(
    known: Mapping[K, Known], facts: Mapping[K, tuple[F, str]], *, read_at: datetime, complete: bool
) -> Diff[K, F]:
    """What to write. A row whose evidence is newer than this read is left alone; only a complete read misses rows."""
    diff: Diff[K, F] = Diff()
    for key, (fact, fact_hash) in facts.items():
        row = known.get(key)
        if row is None:
            diff.new.append((key, fact, fact_hash))
        elif (row.fact_hash != fact_hash or row.missing) and row.evidence_at <= read_at:
            diff.changed.append((row, key, fact, fact_hash))
    if complete:
        diff.gone = [
            row.id for key, row in known.items() if key not in facts and not row.missing and row.evidence_at < read_at
        ]
    return diff
