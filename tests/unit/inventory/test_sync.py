"""Facts in, rows out, on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from msgspec.structs import replace

from drivers.types import GuestState, Technology
from hosts.lease import LeaseLost
from hosts.models import Host, HostState, Source
from inventory.models import Disk, Guest, Nic, Placement
from inventory.sync import apply_snapshot, apply_states
from networks.models import VirtualSwitch
from storage.models import Datastore, DatastoreMount
from tests.facts import (
    GIB,
    at,
    datastore_fact,
    disk_fact,
    guest_fact,
    host_fact,
    make_source,
    nic_fact,
    snapshot,
    state_fact,
    states,
    switch_fact,
    uuid_of,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def source() -> Source:
    return make_source()


def full(seconds: float, *guests: Any, **values: Any) -> Any:
    usual = {"datastores": (datastore_fact(),), "switches": (switch_fact(),)}
    return snapshot(seconds, *guests, **(usual | values))


@contextmanager
def identity_writes() -> Iterator[list[str]]:
    """Statements that write to the tables of the inventory."""
    writes: list[str] = []
    tables = ("inventory_", "hosts_host", "storage_", "networks_")

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        verb, _, rest = sql.replace('"', "").strip().partition(" ")
        if verb in {"INSERT", "UPDATE", "DELETE"} and any(
            rest.removeprefix("INTO ").removeprefix("FROM ").startswith(table) for table in tables
        ):
            writes.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield writes


def test_a_first_read_fills_the_inventory(source: Source) -> None:
    apply_snapshot(source, full(1, guest_fact()), 0)
    guest = Guest.objects.get()
    assert (guest.name, guest.state, guest.vcpus, guest.memory_bytes) == ("db-07", "running", 2, 2 * GIB)
    assert (guest.host.name, guest.host.state, guest.addresses) == ("alpha", HostState.CONNECTED, "10.0.0.7")
    assert guest.disks.get().datastore == Datastore.objects.get()
    assert guest.nics.get().switch == VirtualSwitch.objects.get()
    source.refresh_from_db()
    assert source.inventory_read_at == at(1)
    assert guest.seen_at == at(1)


def test_the_second_read_writes_nothing(source: Source) -> None:
    apply_snapshot(source, full(1, guest_fact(), guest_fact("web-1")), 0)
    with identity_writes() as writes:
        apply_snapshot(source, full(2, guest_fact(), guest_fact("web-1")), 0)
        apply_states(source, states(3, state_fact(), state_fact("web-1")), 0)
    assert writes == []
    assert Guest.objects.select_related("host__source").first().seen_at == at(3)  # type: ignore[union-attr]


def test_the_writes_are_seen_by_this_test_at_all(source: Source) -> None:
    with identity_writes() as writes:
        apply_snapshot(source, full(1, guest_fact()), 0)
    assert len(writes) > 5


def test_the_number_of_queries_does_not_grow_with_the_guests(source: Source) -> None:
    def queries(count: int, seconds: float, notes: str) -> int:
        seen = []

        def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            seen.append(sql)
            return execute(sql, params, many, context)

        facts = [guest_fact(f"g-{number}", notes=notes if number < count else "") for number in range(300)]
        with connection.execute_wrapper(watch):
            apply_snapshot(source, full(seconds, *facts), 0)
        return len(seen)

    queries(0, 1, "")
    assert queries(3, 2, "a few changed") == queries(300, 3, "all changed")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "db-08"},
        {"state": GuestState.OFF, "state_reason": "shutdown"},
        {"memory_bytes": 3 * GIB},
        {"notes": "new"},
        {"vcpus": 9, "cpu_mode": "host-passthrough", "passthrough": ("0000:01:00.0",)},
    ],
)
def test_a_change_is_written(source: Source, change: dict[str, Any]) -> None:
    apply_snapshot(source, full(1, guest_fact()), 0)
    before = Guest.objects.get()
    apply_snapshot(source, full(2, replace(guest_fact(), **change)), 0)
    guest = Guest.objects.get()
    assert guest.pk == before.pk
    for name, value in change.items():
        stored = getattr(guest, name)
        assert (tuple(stored) if name == "passthrough" else stored) == value
    assert guest.evidence_at == at(2)


def test_disks_and_nics_follow_the_fact(source: Source) -> None:
    two = guest_fact(disks=(disk_fact(), disk_fact("vdb")), nics=(nic_fact(), nic_fact("52:54:00:00:00:02")))
    apply_snapshot(source, full(1, two), 0)
    assert (Disk.objects.count(), Nic.objects.count()) == (2, 2)
    grown = replace(two, disks=(disk_fact(capacity_bytes=20 * GIB),), nics=())
    apply_snapshot(source, full(2, grown), 0)
    assert [disk.capacity_bytes for disk in Disk.objects.all()] == [20 * GIB]
    assert not Nic.objects.exists()
    apply_snapshot(source, full(3, replace(two, notes="back")), 0)
    assert [disk.target for disk in Disk.objects.all()] == ["vda", "vdb"]
    assert Nic.objects.count() == 2


def test_disks_are_linked_once_their_datastore_appears(source: Source) -> None:
    apply_snapshot(source, full(1, guest_fact(), datastores=(), switches=()), 0)
    assert Disk.objects.get().datastore is None
    apply_snapshot(source, full(2, guest_fact()), 0)
    assert Disk.objects.get().datastore == Datastore.objects.get()
    assert Nic.objects.get().switch == VirtualSwitch.objects.get()


def test_a_deeper_mount_wins_and_a_neighbor_does_not(source: Source) -> None:
    stores = (
        datastore_fact("srv", path="/srv"),
        datastore_fact("deep", path="/srv/deep"),
        datastore_fact("dee", path="/srv/dee"),
    )
    fact = guest_fact(disks=(disk_fact(source="/srv/deep/a.img"),))
    apply_snapshot(source, full(1, fact, datastores=stores), 0)
    assert Disk.objects.get().datastore.name == "deep"  # type: ignore[union-attr]


def test_only_a_complete_read_misses_a_guest(source: Source) -> None:
    apply_snapshot(source, full(1, guest_fact()), 0)
    apply_snapshot(source, full(2, complete=False), 0)
    assert Guest.objects.get().missing_since is None
    apply_snapshot(source, full(3), 0)
    guest = Guest.objects.get()
    assert guest.missing_since == at(3)
    assert guest.state == "running"  # the last known, never "off"
    apply_snapshot(source, full(4, guest_fact()), 0)
    assert Guest.objects.get().missing_since is None


def test_hosts_switches_and_datastores_are_missed_and_come_back(source: Source) -> None:
    apply_snapshot(source, full(1), 0)
    apply_snapshot(source, snapshot(2, hosts=()), 0)
    assert Host.objects.get().state == HostState.MISSING
    assert VirtualSwitch.objects.get().missing_since == at(2)
    assert DatastoreMount.objects.get().missing_since == at(2)
    assert Datastore.objects.get().missing_since == at(2)
    apply_snapshot(source, full(3), 0)
    assert Host.objects.get().state == HostState.CONNECTED
    assert VirtualSwitch.objects.get().missing_since is None
    assert Datastore.objects.get().missing_since is None


def test_an_older_read_changes_nothing(source: Source) -> None:
    apply_snapshot(source, full(10, guest_fact()), 0)
    apply_snapshot(source, full(5, guest_fact(name="old"), guest_fact("gone")), 0)
    apply_snapshot(source, full(5), 0)
    guest = Guest.objects.get()
    assert (guest.name, guest.missing_since) == ("db-07", None)


def test_a_row_with_newer_evidence_is_left_alone(source: Source) -> None:
    apply_snapshot(source, full(1, guest_fact()), 0)
    Guest.objects.update(evidence_at=at(10))
    Placement.objects.update(evidence_at=at(10))
    Host.objects.update(evidence_at=at(10))
    apply_snapshot(source, full(5, replace(guest_fact(), name="old"), hosts=(host_fact(model="old"),)), 0)
    assert (Guest.objects.get().name, Host.objects.get().model) == ("db-07", "R1")
    apply_snapshot(source, full(6, hosts=()), 0)
    assert (Guest.objects.get().missing_since, Host.objects.get().missing_since) == (None, None)


def test_a_lost_lease_writes_nothing(source: Source) -> None:
    Source.objects.update(lease_token=2)
    with pytest.raises(LeaseLost):
        apply_snapshot(source, full(1, guest_fact()), 1)
    assert not Host.objects.exists()
    with pytest.raises(LeaseLost):
        apply_states(source, states(1), 1)


def test_states_are_taken_from_the_quick_read(source: Source) -> None:
    apply_snapshot(source, full(1, guest_fact()), 0)
    outcome = apply_states(source, states(2, state_fact(state=GuestState.PAUSED, state_reason="user")), 0)
    assert not outcome.mismatch
    assert (Guest.objects.get().state, Guest.objects.get().state_reason) == ("paused", "user")
    with identity_writes() as writes:
        apply_snapshot(source, full(3, replace(guest_fact(), state=GuestState.PAUSED, state_reason="user")), 0)
    assert writes == []


def test_an_unknown_or_vanished_guest_asks_for_a_full_read(source: Source) -> None:
    apply_snapshot(source, full(1, guest_fact()), 0)
    assert apply_states(source, states(2, state_fact(), state_fact("new")), 0).mismatch
    assert apply_states(source, states(3), 0).mismatch
    guest = Guest.objects.get()
    assert (guest.state, guest.missing_since) == ("running", None)  # until the full read says so
    assert not apply_states(source, states(4, state_fact()), 0).mismatch
    assert not apply_states(source, states(5, complete=False), 0).mismatch


def test_a_state_older_than_the_inventory_is_not_taken(source: Source) -> None:
    apply_snapshot(source, full(5, guest_fact()), 0)
    apply_states(source, states(4, state_fact(state=GuestState.OFF)), 0)
    assert Guest.objects.get().state == "running"


def test_two_sources_see_one_shared_datastore() -> None:
    alpha, beta = make_source("alpha"), make_source("beta")
    nfs = {"technology": Technology.NFS, "source": "filer:/export", "uuid": "", "path": "/mnt"}
    apply_snapshot(alpha, snapshot(1, datastores=(datastore_fact(**nfs),)), 0)
    assert not Datastore.objects.get().shared
    other = snapshot(2, host="beta", datastores=(datastore_fact(host="beta", **nfs),))
    apply_snapshot(beta, other, 0)
    assert Datastore.objects.get().shared
    apply_snapshot(beta, snapshot(3, host="beta"), 0)
    store = Datastore.objects.get()
    assert (store.shared, store.missing_since) == (False, None)


def test_a_host_of_another_source_is_left_out_with_a_finding() -> None:
    first, second = make_source("first"), make_source("second")
    apply_snapshot(first, full(1, guest_fact()), 0)
    apply_snapshot(second, full(2, guest_fact()), 0)
    assert (Host.objects.count(), Guest.objects.count(), Placement.objects.count()) == (1, 1, 1)
    second.refresh_from_db()
    (finding,) = second.findings
    assert "first" in finding["message"]


def test_hostile_content_is_cut_and_told(source: Source) -> None:
    odd = "a\x00\ud800" + "x" * 300
    fact = replace(
        guest_fact(),
        name=odd,
        notes="n" * 10_000_000,
        vcpus=-1,
        memory_bytes=2**80,
        machine="m" * 500,
        disks=tuple(disk_fact(odd, odd * 10, capacity_bytes=-5) for _ in range(300)),
        nics=(nic_fact(mac=odd, network=odd, addresses=("\x00" * 100,)),),
    )
    worse = full(
        1,
        fact,
        guest_fact("web-1"),
        hosts=(host_fact(vendor=odd, memory_bytes=-1, cpu_mhz=2**40),),
        datastores=(datastore_fact(source=odd * 3, capacity_bytes=-1, available_bytes=2**70),),
        switches=(switch_fact(bridge=odd, uplinks=(odd,) * 100),),
    )
    apply_snapshot(source, worse, 0)
    assert Guest.objects.count() == 2
    guest = Guest.objects.get(uuid=fact.uuid)
    assert (guest.vcpus, guest.memory_bytes, len(guest.name)) == (0, 2**63 - 1, 255)
    assert guest.disks.count() == 255
    source.refresh_from_db()
    assert len(source.findings) == 4
    with identity_writes() as writes:
        apply_snapshot(source, replace(worse, read_started_at=at(2)), 0)
    assert writes == []
    apply_snapshot(source, full(3, guest_fact(), guest_fact("web-1")), 0)
    source.refresh_from_db()
    assert source.findings == []


@pytest.mark.parametrize("odd", ["", "no uuid", "00000000-0000-0000-0000-000000000000", "{" + "9" * 400])
def test_guests_without_a_usable_uuid_are_told_apart_by_place(source: Source, odd: str) -> None:
    facts = [guest_fact(f"g-{number}", uuid=odd) for number in range(3)]
    apply_snapshot(source, full(1, *facts), 0)
    assert Guest.objects.count() == 3
    assert {guest.conflict for guest in Guest.objects.all()} == {""}
    with identity_writes() as writes:
        apply_snapshot(source, full(2, *facts), 0)
    assert writes == []


def test_one_host_with_a_uuid_twice_has_two_guests(source: Source) -> None:
    one = guest_fact("one")
    clone = replace(one, ref="clone", name="clone", state=GuestState.OFF)
    apply_snapshot(source, full(1, one, clone), 0)
    assert sorted(Guest.objects.values_list("name", "state", "twin")) == [("clone", "off", 1), ("one", "running", 0)]
    assert all(guest.conflict for guest in Guest.objects.all())
    with identity_writes() as writes:
        apply_snapshot(source, full(2, one, clone), 0)
    assert writes == []
    apply_snapshot(source, full(3, one), 0)
    guest = Guest.objects.get()
    assert (guest.name, guest.conflict) == ("one", "")


def test_one_reference_listed_twice_is_one_guest(source: Source) -> None:
    apply_snapshot(source, full(1, guest_fact(), replace(guest_fact(), name="again")), 0)
    assert Guest.objects.get().name == "db-07"
    source.refresh_from_db()
    assert len(source.findings) == 1


def test_a_reference_may_name_another_guest(source: Source) -> None:
    apply_snapshot(source, full(1, guest_fact("old", ref="7")), 0)
    apply_snapshot(source, full(2, guest_fact("new", ref="7")), 0)
    assert Guest.objects.get(name="old").missing_since == at(2)
    assert Guest.objects.get(name="new").missing_since is None
    assert Placement.objects.get().guest.name == "new"


def test_very_long_references_stay_apart(source: Source) -> None:
    facts = [guest_fact(f"g-{number}", ref="r" * 400 + str(number)) for number in range(2)]
    apply_snapshot(source, full(1, *facts), 0)
    apply_snapshot(source, full(2, *facts), 0)
    assert Guest.objects.filter(missing_since=None).count() == 2


def test_equal_uuids_in_two_trust_domains_are_two_guests() -> None:
    alpha, other = make_source("alpha"), make_source("other", "elsewhere")
    apply_snapshot(alpha, snapshot(1, guest_fact()), 0)
    apply_snapshot(other, snapshot(2, guest_fact(host="other"), host="other"), 0)
    assert Guest.objects.filter(uuid=uuid_of("db-07"), conflict="").count() == 2


def test_findings_go_with_what_they_are_about(source: Source) -> None:
    apply_snapshot(source, full(1, replace(guest_fact(), vcpus=-1)), 0)
    source.refresh_from_db()
    assert len(source.findings) == 1
    apply_snapshot(source, full(2), 0)
    source.refresh_from_db()
    assert source.findings == []


def test_a_clock_set_back_shuts_no_read_out(source: Source) -> None:
    now = timezone.now()
    ahead = replace(full(0, guest_fact()), read_started_at=now + timedelta(hours=1))
    apply_snapshot(source, ahead, 0)
    later = replace(full(0, replace(guest_fact(), notes="new")), read_started_at=timezone.now() + timedelta(seconds=2))
    apply_snapshot(source, later, 0)
    assert Guest.objects.get().notes == "new"
    assert Guest.objects.get().evidence_at == later.read_started_at
