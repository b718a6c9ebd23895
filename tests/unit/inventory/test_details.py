"""What a guest is made of beside its columns: written when it changes, and only then."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from drivers.types import (
    AgentFact,
    DisplayFact,
    FileSystemFact,
    GuestFact,
    GuestHardware,
    GuestSnapshotFact,
    ImageFact,
)
from hosts.models import Source
from inventory.models import Guest, GuestDetails
from inventory.sync import apply_snapshot
from tests.facts import disk_fact, guest_fact, make_source, nic_fact, snapshot
from tests.unit.inventory.test_sync import identity_writes

pytestmark = pytest.mark.django_db

TAKEN = datetime(2026, 3, 1, 10, tzinfo=UTC)
FIRST = GuestSnapshotFact("first", "", TAKEN, "off", "before the upgrade", current=True, memory=False, external=False)
VNC = DisplayFact("vnc", "127.0.0.1", 5901)
HARDWARE = GuestHardware(
    cpu_sockets=1, cpu_cores=4, most_vcpus=8, tpm="tpm-crb 2.0", displays=(VNC,), snapshots=(FIRST,)
)
AGENT = AgentFact("db-07", "Debian", file_systems=(FileSystemFact("/", "ext4", ("vda",), 10 << 30),))


@pytest.fixture
def source() -> Source:
    return make_source()


def read(source: Source, seconds: float, *guests: GuestFact) -> list[str]:
    with identity_writes() as writes:
        apply_snapshot(source, snapshot(seconds, *guests), 0)
    return writes


def details() -> Any:
    return GuestDetails.objects.get(guest__name="db-07")


def tables(writes: list[str]) -> set[str]:
    words = (word for sql in writes for word in sql.replace('"', "").split())
    return {word for word in words if word.startswith("inventory_") and "." not in word}


def test_they_hold_what_says_something(source: Source) -> None:
    read(source, 1, guest_fact(hardware=HARDWARE))
    facts = details().facts
    assert (facts["cpu_cores"], facts["most_vcpus"], facts["tpm"]) == (4, 8, "tpm-crb 2.0")
    assert facts["displays"] == [{"kind": "vnc", "address": "127.0.0.1", "port": 5901}]
    assert facts["snapshots"][0]["created_at"] == "2026-03-01T10:00:00Z"
    assert "os" not in facts, "what is empty is left out"
    assert details().agent is None


def test_an_unchanged_guest_writes_nothing(source: Source) -> None:
    fact = guest_fact(hardware=HARDWARE, agent=AGENT)
    read(source, 1, fact)
    assert read(source, 2, replace(fact)) == []


def test_only_they_are_written_when_only_they_change(source: Source) -> None:
    fact = guest_fact(hardware=HARDWARE)
    read(source, 1, fact)
    other = replace(fact, hardware=replace(HARDWARE, displays=(replace(VNC, port=5907),)))
    written = tables(read(source, 2, other))
    assert written == {"inventory_guest", "inventory_guestdetails", "inventory_placement"}
    assert details().facts["displays"][0]["port"] == 5907


def test_they_stay_when_something_else_changes(source: Source) -> None:
    fact = guest_fact(hardware=HARDWARE)
    read(source, 1, fact)
    written = tables(read(source, 2, replace(fact, notes="new")))
    assert "inventory_guestdetails" not in written
    assert details().facts["cpu_cores"] == 4


def test_an_agent_that_tells_nothing_once_is_no_news(source: Source) -> None:
    told, silent = guest_fact(hardware=HARDWARE, agent=AGENT), guest_fact(hardware=HARDWARE)
    read(source, 1, told)
    assert read(source, 2, silent) == []
    assert read(source, 3, told) == []
    assert details().agent["os"] == "Debian"
    read(source, 4, replace(silent, notes="new"))
    assert details().agent["os"] == "Debian", "what it told stays also when the guest changes"


def test_an_agent_that_tells_something_else_is_written(source: Source) -> None:
    fact = guest_fact(hardware=HARDWARE, agent=AGENT)
    read(source, 1, fact)
    read(source, 2, replace(fact, agent=replace(AGENT, os="Debian 13")))
    assert (details().agent["os"], details().agent["file_systems"][0]["mount"]) == ("Debian 13", "/")


def test_an_agent_installed_later_is_written(source: Source) -> None:
    read(source, 1, guest_fact(hardware=HARDWARE))
    read(source, 2, guest_fact(hardware=HARDWARE, agent=AGENT))
    assert details().agent["hostname"] == "db-07"


def test_a_hostile_source_cannot_store_what_databases_refuse(source: Source) -> None:
    bad = GuestHardware(cpu_sockets=-(2**70), os="a\x00b" * 40_000, metadata=("\ud800",), most_memory_bytes=2**70)
    read(source, 1, guest_fact(hardware=bad, agent=AgentFact(os="\x00")))
    facts = details().facts
    assert "\x00" not in facts["os"]
    assert facts["most_memory_bytes"] == 2**63 - 1


def test_disks_and_nics_keep_their_rest(source: Source) -> None:
    base = ImageFact("/srv/base.qcow2", "file", "qcow2")
    disk = disk_fact(serial="WD-1", backing=(base,), boot_order=1, discard="unmap")
    nic: Any = nic_fact(port_group="vlan10", vlans=(10,), virtual_port="openvswitch", device="vnet3")
    read(source, 1, guest_fact(disks=(disk,), nics=(nic,)))
    guest = Guest.objects.get()
    image = {"source": "/srv/base.qcow2", "source_type": "file", "format": "qcow2"}
    assert guest.disks.get().details == {"serial": "WD-1", "backing": [image], "boot_order": 1, "discard": "unmap"}
    stored = guest.nics.get()
    assert (stored.port_group, stored.vlans) == ("vlan10", [10])
    assert stored.details == {"virtual_port": "openvswitch", "device": "vnet3"}
