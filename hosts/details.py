"""What hosts are built from: facts in, rows out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from msgspec.structs import fields

from core import bulk
from drivers.types import HostHardware
from hosts.diff import DatabaseId, database_id
from hosts.facts import digest, sparse
from hosts.models import HostDetails, Source

LONGEST_TEXT = 255
APART = ("pci", "serial", "white_box")  # the host's row or a column of their own has them
FACTS = tuple(one.name for one in fields(HostHardware) if one.name not in APART)

_facts_of: Callable[[HostHardware], tuple[Any, ...]] = attrgetter(*FACTS)


@dataclass(slots=True)
class Details:
    """What differs from the rows we have, as values of HostDetails; `new` has all of them."""

    new: list[tuple[Any, ...]] = field(default_factory=list)
    facts: list[tuple[Any, ...]] = field(default_factory=list)
    pci: list[tuple[Any, ...]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.new or self.facts or self.pci)

    def hosts(self) -> set[DatabaseId]:
        return {row[0] for row in (*self.new, *self.facts, *self.pci)}


def compare_details(source: Source, hardware: Mapping[DatabaseId, HostHardware]) -> Details:
    """What to write, in one query. Runs at every full read: nothing is turned into JSON that did not change."""
    known = _load_known(source)
    details = Details()
    for host, said in hardware.items():
        before, facts_hash, pci_hash = known.get(host), digest(_facts_of(said)), digest(said.pci)
        if before is None:
            details.new.append((host, facts_json(said), facts_hash, pci_json(said), pci_hash))
            continue
        if before[0] != facts_hash:
            details.facts.append((host, facts_json(said), facts_hash))
        if before[1] != pci_hash:
            details.pci.append((host, pci_json(said), pci_hash))
    return details


def write_details(details: Details) -> None:
    """Transaction: the caller's, which has proved the lease."""
    bulk.insert(HostDetails, ("host", "facts", "facts_hash", "pci", "pci_hash"), details.new)
    bulk.update(HostDetails, ("host", "facts", "facts_hash"), details.facts)
    bulk.update(HostDetails, ("host", "pci", "pci_hash"), details.pci)


def facts_json(hardware: HostHardware) -> Any:
    """HostDetails.facts."""
    said = dict(zip(FACTS, _facts_of(hardware), strict=True))
    return sparse(said, LONGEST_TEXT)


def pci_json(hardware: HostHardware) -> Any:
    """HostDetails.pci."""
    return sparse(hardware.pci, LONGEST_TEXT)


def _load_known(source: Source) -> dict[DatabaseId, tuple[str, str]]:
    rows = HostDetails.objects.filter(host__source=source).values_list("host_id", "facts_hash", "pci_hash")
    return {database_id(host): (facts_hash, pci_hash) for host, facts_hash, pci_hash in rows}
