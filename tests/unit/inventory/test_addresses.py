"""What a NIC was seen with stays until it is seen with something else, or the guest stops."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from drivers.types import GuestState, NicFact
from hosts.models import Source
from inventory.addresses import keep_addresses
from inventory.models import Guest
from inventory.sync import apply_snapshot
from tests.facts import guest_fact, make_source, nic_fact, snapshot

MAC = "52:54:00:00:00:01"
FOUR, OTHER, SIX = "10.0.0.7", "10.0.0.9", "fe80::1"


def seen(told_by: str, *addresses: str) -> NicFact:
    return nic_fact(MAC, addresses=addresses, addresses_from=told_by)


@pytest.mark.parametrize(
    ("before", "now", "kept"),
    [
        (("arp", (FOUR,)), seen(""), (FOUR,)),
        (("arp", (FOUR,)), seen("arp", OTHER), (OTHER,)),
        (("arp", (FOUR,)), seen("arp", FOUR, OTHER), (FOUR, OTHER)),
        (("arp", (FOUR, OTHER)), seen("arp", OTHER), (FOUR, OTHER)),
        (("agent", (FOUR, SIX)), seen("lease", FOUR), (FOUR, SIX)),
        (("agent", (FOUR, SIX)), seen("arp", OTHER), (OTHER, SIX)),
        (("lease", (FOUR,)), seen("arp", SIX), (FOUR, SIX)),
        (("agent", (FOUR, OTHER)), seen("agent", FOUR), (FOUR,)),
        (("arp", (FOUR, OTHER)), seen("agent", OTHER), (OTHER,)),
        (("", ()), seen("arp", FOUR), (FOUR,)),
    ],
)
def test_what_counts(before: tuple[str, tuple[str, ...]], now: NicFact, kept: tuple[str, ...]) -> None:
    (nic,) = keep_addresses(guest_fact(nics=(now,)), {MAC: before}).nics
    assert nic.addresses == kept


@pytest.mark.parametrize("state", [GuestState.OFF, GuestState.CRASHED])
def test_a_guest_that_stands_still_has_none(state: GuestState) -> None:
    fact = guest_fact(state=state, nics=(seen(""),))
    assert keep_addresses(fact, {MAC: ("arp", (FOUR,))}) is fact


def test_an_agent_that_answers_knows_all() -> None:
    other = nic_fact("52:54:00:00:00:02", addresses=(OTHER,), addresses_from="agent")
    fact = guest_fact(nics=(seen(""), other))
    assert keep_addresses(fact, {MAC: ("arp", (FOUR,))}) is fact


def test_another_nic_is_another_matter() -> None:
    other = nic_fact("52:54:00:00:00:02", addresses=())
    assert keep_addresses(guest_fact(nics=(other,)), {MAC: ("arp", (FOUR,))}).nics == (other,)


@pytest.fixture
def source(db: None) -> Source:
    return make_source()


def test_an_address_that_a_host_forgot_is_still_shown(source: Source) -> None:
    apply_snapshot(source, snapshot(1, guest_fact(nics=(seen("arp", FOUR),))), 0)
    apply_snapshot(source, snapshot(2, guest_fact(nics=(seen(""),), notes="new")), 0)
    guest = Guest.objects.get()
    assert (guest.addresses, guest.notes, guest.nics.get().addresses) == (FOUR, "new", [FOUR])
    apply_snapshot(source, snapshot(3, guest_fact(nics=(seen("arp", OTHER),), notes="new")), 0)
    assert Guest.objects.get().addresses == OTHER


def test_it_goes_when_the_guest_stops(source: Source) -> None:
    running = guest_fact(nics=(seen("arp", FOUR),))
    apply_snapshot(source, snapshot(1, running), 0)
    stopped = replace(running, state=GuestState.OFF, nics=(seen(""),))
    apply_snapshot(source, snapshot(2, stopped), 0)
    assert Guest.objects.get().addresses == ""
    apply_snapshot(source, snapshot(3, replace(stopped, state=GuestState.RUNNING)), 0)
    assert Guest.objects.get().addresses == ""


def test_it_moves_with_the_guest(source: Source) -> None:
    apply_snapshot(source, snapshot(1, guest_fact(nics=(seen("arp", FOUR),))), 0)
    beta = make_source("beta")
    apply_snapshot(source, snapshot(2), 0)
    apply_snapshot(beta, snapshot(3, guest_fact(host="beta", nics=(seen(""),)), host="beta"), 0)
    guest = Guest.objects.get()
    assert (guest.host.name, guest.addresses) == ("beta", FOUR)
