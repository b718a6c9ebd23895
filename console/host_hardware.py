"""What a host is built from, as its page shows it. Facts come as hosts.models.HostDetails holds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from core.units import format_bytes
from hosts.models import HostDetails

Facts = dict[str, Any]
MOST_ROWS = 500  # of one table; the API has all
FEW_WORDS = 24  # are shown unfolded
WWN_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a table, and how many there are in all."""

    shown: Sequence[Facts]
    total: int

    @classmethod
    def of(cls, rows: Sequence[Facts]) -> Rows:
        return cls(rows[:MOST_ROWS], len(rows))

    @property
    def are_cut(self) -> bool:
        return len(self.shown) < self.total


def host_hardware(details: HostDetails) -> Facts:
    """What the tab of a host's hardware shows."""
    facts, cards = details.facts, {card["address"]: card for card in details.pci}
    nics = [{**nic, "card": _name(cards.get(nic.get("pci_address", "")))} for nic in facts.get("nics", [])]
    adapters = facts.get("adapters", [])
    return {
        "facts": facts,
        "is_read": bool(details.facts_hash),
        "few_words": FEW_WORDS,
        "hugepages": [_hugepages(one) for one in facts.get("hugepages", [])],
        "cells": [_cell(cell) for cell in facts.get("numa", [])],
        "nics": Rows.of(_with_owners([nic for nic in nics if not _is_function(nic)])),
        "adapters": Rows.of([_adapter(one, cards.get(one.get("pci_address", ""))) for one in adapters]),
        "cards": Rows.of([card for card in details.pci if not _is_function(card)]),
        "functions": Rows.of(_functions(nics, cards)),
    }


def cpu_ranges(numbers: Iterable[int]) -> str:
    """As Linux writes a list of CPUs: 0-15, 32-47."""
    runs = [list(run) for _key, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    ends = [(run[0][1], run[-1][1]) for run in runs]
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ends)


def wwn(digits: str) -> str:
    """A world wide name as switches print it: 21:00:f4:e9:d4:eb:02:c9."""
    return ":".join(digits[at : at + 2] for at in range(0, WWN_DIGITS, 2)) if len(digits) == WWN_DIGITS else digits


def _is_function(device: Facts) -> bool:
    """Whether it is a virtual function of another device: there may be hundreds."""
    return bool(device.get("physical_function"))


def _name(card: Facts | None) -> str:
    return f"{card.get('vendor', '')} {card.get('product', '')}".strip() if card else ""


def _hugepages(one: Facts) -> Facts:
    return {
        "size": format_bytes(one["page_bytes"]),
        "count": one["count"],
        "whole": format_bytes(one["page_bytes"] * one["count"]),
    }


def _cell(cell: Facts) -> Facts:
    return {
        "number": cell["number"],
        "memory": format_bytes(cell["memory_bytes"]),
        "cpus": cpu_ranges(cell.get("cpus", [])),
        "threads": len(cell.get("cpus", [])),
        "distances": ", ".join(f"{other}: {distance}" for other, distance in cell.get("distances", [])),
    }


def _with_owners(nics: list[Facts]) -> list[Facts]:
    """Each with the bond or bridge it is a port of."""
    owners = {port: nic["name"] for nic in nics if nic["kind"] in {"bond", "bridge"} for port in nic.get("ports", [])}
    return [{**nic, "owner": owners.get(nic["name"], "")} for nic in nics]


def _adapter(one: Facts, card: Facts | None) -> Facts:
    names = {name: wwn(one.get(name, "")) for name in ("wwnn", "wwpn", "fabric_wwn")}
    return {**one, **names, "card": _name(card)}


def _functions(nics: list[Facts], cards: dict[str, Facts]) -> list[Facts]:
    """Virtual functions by address, with the network interface that the host itself has of one."""
    named = {nic.get("pci_address", ""): nic for nic in nics if _is_function(nic)}
    found = {address: card for address, card in cards.items() if _is_function(card)}
    addresses = sorted(named.keys() | found.keys())
    return [{**named.get(address, {}), **found.get(address, {}), "address": address} for address in addresses]
