"""Virtual switches in history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from drivers.types import SwitchFact
from history.fields import record_of
from history.models import SwitchRevision
from history.services import record
from hosts.diff import DatabaseId
from hosts.facts import json_bytes, text

COLUMNS = ("name", "host_id", "switch_kind", "active", "facts")
_record_of_switch = record_of(SwitchFact, "name", "kind", "active")


def record_switches(
    told: Mapping[DatabaseId, tuple[DatabaseId, SwitchFact]], *, at: datetime, gone: Iterable[UUID] = ()
) -> None:
    """Write down what these switches are, each with its host, and which are there no more.

    Transaction: the one that changes them.
    """
    said = {UUID(switch): _values(host, fact) for switch, (host, fact) in told.items()}
    record(SwitchRevision, COLUMNS, said, at=at, gone=gone)


def _values(host: DatabaseId, fact: SwitchFact) -> tuple[Any, ...]:
    return (text(fact.name, 255), UUID(host), fact.kind.value, fact.active, json_bytes(_record_of_switch(fact)))
