"""The list of what history keeps knows every field of every fact, and nothing else."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
import pytest

from drivers import types
from drivers.types import AgentFact, DiskFact, Fact, GuestFact, NicFact, Snapshot, StateReading
from history.fields import KEPT, Keep, record_of, revisioned
from tests.facts import guest_fact, nic_fact

# One read of a source: what is in it is a fact of its own.
READS = {Snapshot, StateReading}
FACTS = [
    kind for _name, kind in inspect.getmembers(types, inspect.isclass) if issubclass(kind, Fact) and kind is not Fact
]


@pytest.mark.parametrize("kind", [kind for kind in FACTS if kind not in READS], ids=lambda kind: kind.__name__)
def test_every_field_is_in_the_list(kind: Any) -> None:
    assert set(KEPT[kind]) == set(kind.__struct_fields__)


def test_there_are_facts_and_no_others_in_the_list() -> None:
    assert len(FACTS) > 20
    assert set(KEPT) == set(FACTS) - READS


def test_a_record_has_what_is_revisioned_and_not_empty() -> None:
    nic = record_of(NicFact)(nic_fact(device="vnet3", addresses_from="arp", mtu=9000))
    assert msgspec.to_builtins(nic) == {
        "mac": "52:54:00:00:00:01",
        "model": "virtio",
        "kind": "network",
        "network": "default",
        "link_up": True,
        "mtu": 9000,
    }


def test_facts_inside_are_records_too() -> None:
    fact = guest_fact(nics=(nic_fact(device="vnet3"),), agent=AgentFact(hostname="db", file_systems=()))
    made = msgspec.to_builtins(record_of(GuestFact)(fact))
    assert set(made) <= set(revisioned(GuestFact))
    assert "addresses" not in made["nics"][0]
    assert "device" not in made["nics"][0]
    assert made["agent"] == {"hostname": "db"}
    assert "agent" not in msgspec.to_builtins(record_of(GuestFact, "agent")(fact))


def test_a_fact_of_which_all_is_revisioned_is_its_own_record() -> None:
    assert set(KEPT[DiskFact].values()) == {Keep.REVISIONED}
    disk = guest_fact().disks[0]
    assert record_of(DiskFact)(disk) is disk
