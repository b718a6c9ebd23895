"""Where an object is: what it stands on, or the trust domain it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from search.models import Kind
from storage.selectors import only_host


@dataclass(frozen=True, slots=True)
class Place:
    """Another object by kind, id and name."""

    kind: str
    id: UUID
    name: str


def place_of(kind: Kind, row: Any) -> Place | None:
    """Nothing is around a datacenter. Needs the row as its kind's selector gives it."""
    if kind is Kind.DATACENTER:
        return None
    if kind in (Kind.GUEST, Kind.SWITCH):
        return _place("host", row.host)
    if kind is Kind.HOST:
        return _place("source", row.source)
    host = only_host(row) if kind is Kind.DATASTORE else None
    return _place("host", host) if host else _place("datacenter", row.datacenter)


def _place(kind: str, row: Any) -> Place:
    return Place(kind, row.pk, row.name)
