"""What single events write into history."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone
from msgspec.structs import replace

from drivers.types import AgentFact, GuestState
from history.models import AgentRevision, GuestMove, GuestRevision, GuestStay, HostRevision, How, SwitchRevision
from history.services import record
from hosts.models import Host, Source
from inventory.models import Guest
from inventory.recording import Arrival
from inventory.services import place_guest
from inventory.sync import apply_snapshot, apply_states
from tests.facts import at, guest_fact, make_source, snapshot, state_fact, states, switch_fact, uuid_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def source() -> Source:
    return make_source()


def test_a_power_switch_is_a_stay_and_no_revision(source: Source) -> None:
    apply_snapshot(source, snapshot(1, guest_fact()), 0)
    apply_states(source, states(2, state_fact(state=GuestState.OFF)), 0)
    stays = GuestStay.objects.order_by("valid_from").values_list("valid_from", "state", "addresses")
    assert list(stays) == [(at(1), "running", "10.0.0.7"), (at(2), "off", "10.0.0.7")]
    assert GuestRevision.objects.count() == 1


def test_a_clock_set_back_leaves_nothing_in_the_future(source: Source) -> None:
    now = timezone.now()
    for hours, notes in ((1, "first"), (2, "second")):
        apply_snapshot(
            source, replace(snapshot(0, guest_fact(notes=notes)), read_started_at=now + timedelta(hours=hours)), 0
        )
    apply_snapshot(source, replace(snapshot(0, guest_fact(notes="second")), read_started_at=timezone.now()), 0)
    rows = list(GuestRevision.objects.order_by("valid_from"))
    assert [row.facts["notes"] for row in rows] == ["first", "second"]
    assert now <= rows[0].valid_from < rows[1].valid_from <= timezone.now()
    assert not HostRevision.objects.filter(valid_from__gt=timezone.now()).exists()


def test_moves_say_how_they_are_known(source: Source) -> None:
    beta = make_source("beta")
    apply_snapshot(source, snapshot(1, guest_fact()), 0)
    apply_snapshot(beta, snapshot(2, host="beta"), 0)
    guest, target, job = Guest.objects.get(), Host.objects.get(name="beta"), make_source("any").pk
    arrival = Arrival(job, downtime_ms=21, bytes_moved=7)
    place_guest(
        guest=guest, host=target, ref=uuid_of("db-07"), state=GuestState.RUNNING, evidence_at=at(3), arrival=arrival
    )
    move = GuestMove.objects.get()
    assert (move.from_host_name, move.to_host_name, move.how, move.migration_id) == (
        "alpha",
        "beta",
        How.MIGRATION,
        job,
    )
    assert (move.at, move.downtime_ms, move.bytes_moved) == (at(3), 21, 7)
    apply_snapshot(beta, snapshot(4, host="beta"), 0)
    apply_snapshot(source, snapshot(5, guest_fact()), 0)
    back = GuestMove.objects.order_by("at").last()
    assert back is not None
    assert (back.from_host_name, back.to_host_name, back.how) == ("beta", "alpha", How.POLL)


def test_a_silent_agent_takes_nothing_back(source: Source) -> None:
    told = guest_fact(agent=AgentFact(hostname="db", os="Debian 12"))
    apply_snapshot(source, snapshot(1, told), 0)
    apply_snapshot(source, snapshot(2, replace(told, agent=None, notes="new")), 0)
    apply_snapshot(source, snapshot(3, replace(told, notes="new", agent=AgentFact(hostname="db", os="Debian 13"))), 0)
    rows = AgentRevision.objects.order_by("valid_from").values_list("valid_from", "facts")
    assert [(moment, facts["os"]) for moment, facts in rows] == [(at(1), "Debian 12"), (at(3), "Debian 13")]


def test_what_went_and_came_back(source: Source) -> None:
    apply_snapshot(source, snapshot(1, switches=(switch_fact(),)), 0)
    apply_snapshot(source, snapshot(2), 0)
    apply_snapshot(source, snapshot(3, switches=(switch_fact(),)), 0)
    assert list(SwitchRevision.objects.order_by("valid_from").values_list("gone", flat=True)) == [False, True, False]


def test_hostile_texts_are_kept_as_far_as_they_fit(source: Source) -> None:
    odd = guest_fact(notes="\x00" * 100_000, machine="\ud800", memory_bytes=2**70)
    apply_snapshot(source, snapshot(1, odd), 0)
    row = GuestRevision.objects.get()
    assert row.memory_bytes == 2**63 - 1
    assert "\x00" not in row.facts["notes"]
    assert len(row.facts["notes"]) < 100_000


def test_what_an_older_version_recorded_with_another_digest_is_not_recorded_again() -> None:
    one, facts = uuid4(), b'{"hostname":"web-01","os":"linux"}'
    record(AgentRevision, ("facts",), {one: (facts,)}, at=at(0))
    AgentRevision.objects.update(digest="by another rule")
    record(AgentRevision, ("facts",), {one: (facts,)}, at=at(1))
    assert AgentRevision.objects.count() == 1
    record(AgentRevision, ("facts",), {one: (b"{}",)}, at=at(2))
    assert AgentRevision.objects.count() == 2
