"""One poll against a simulated host, in this process."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone
from msgspec.structs import replace

from drivers.fake.world import FakeWorld
from drivers.types import Snapshot
from hosts.models import Host, HostState, Source, SourceState
from hosts.polling import hurry, hurry_datacenter
from inventory import poll as polls
from inventory.models import Guest
from inventory.sync import apply_snapshot
from metrics.models import GuestLoad, HostLoad
from tests.facts import make_source, uuid_of
from tests.world import open_here

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeWorld:
    monkeypatch.setattr(polls, "open_session", open_session)
    return FakeWorld.create(tmp_path / "world.json", hosts=("alpha",), guests=5)


def open_session(source: Source, *, deadline_s: float) -> object:
    """The simulated session takes no deadlines of its own."""
    here = open_here(source)
    session = here.__enter__()
    read_states, snapshot = session.read_states, session.snapshot
    session.read_states = lambda deadline_s: read_states()
    session.snapshot = lambda deadline_s: snapshot()
    return here


def make_due(source: Source) -> None:
    Source.objects.filter(pk=source.pk).update(next_states_at=timezone.now())


def test_a_new_source_is_read_whole(world: FakeWorld) -> None:
    source = make_source(state=SourceState.NEW, uri=world.uri("alpha"))
    polls.poll(str(source.pk))
    source.refresh_from_db()
    assert (source.state, source.findings) == (SourceState.OK, [])
    assert (Guest.objects.count(), HostLoad.objects.count()) == (5, 1)
    assert GuestLoad.objects.count() == Guest.objects.filter(state="running").count()


def test_a_poll_that_is_not_due_reads_nothing(world: FakeWorld) -> None:
    source = make_source(uri=world.uri("alpha"))
    polls.poll(str(source.pk))
    world.add_fault("alpha", at="open", do="unreachable", times=-1)
    polls.poll(str(source.pk))
    source.refresh_from_db()
    assert (source.state, world.fired("alpha", at="open")) == (SourceState.OK, 0)


def test_what_a_full_read_cannot_settle_asks_for_no_other_one(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One guest's definition cannot be read, so its state names a guest nobody knows, for ever."""
    source = make_source(uri=world.uri("alpha"))
    first = next(iter(world.guests("alpha")))
    reads: list[str] = []
    really = apply_snapshot

    def without_one(source: Source, snapshot: Snapshot, token: int) -> None:
        reads.append("full")
        guests = tuple(fact for fact in snapshot.guests if fact.uuid != first)
        really(source, replace(snapshot, guests=guests, complete=False), token)

    monkeypatch.setattr(polls, "apply_snapshot", without_one)
    for _ in range(3):
        make_due(source)
        polls.poll(str(source.pk))
    assert (len(reads), Guest.objects.count()) == (1, 4)
    with world.open() as state:  # something else is new: that may be settled
        hosts = state.hosts["alpha"]
        hosts.guests["added"] = msgspec.structs.replace(hosts.guests[first], uuid=uuid_of("added"), name="added")
        hosts.guests[uuid_of("added")] = hosts.guests.pop("added")
    make_due(source)
    polls.poll(str(source.pk))
    assert (len(reads), Guest.objects.count()) == (2, 5)


def test_a_read_asked_for_during_a_read_is_done(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A move ended, or somebody pressed the button, while the full read went on."""
    source = make_source(uri=world.uri("alpha"))
    asked = timezone.now() + timedelta(seconds=1)
    really = apply_snapshot

    def meanwhile(source: Source, snapshot: Snapshot, token: int) -> None:
        Source.objects.filter(pk=source.pk).update(next_inventory_at=asked)
        really(source, snapshot, token)

    monkeypatch.setattr(polls, "apply_snapshot", meanwhile)
    polls.poll(str(source.pk))
    source.refresh_from_db()
    assert (source.state, source.next_inventory_at) == (SourceState.OK, asked)


def test_a_new_guest_is_there_after_the_next_quick_read(world: FakeWorld) -> None:
    source = make_source(uri=world.uri("alpha"))
    polls.poll(str(source.pk))
    with world.open() as state:
        one = next(iter(state.hosts["alpha"].guests.values()))
        one.uuid, one.name = "5d9d2b5e-6c1f-4a55-9a07-8f6d7f3a5b11", "newcomer"
        state.hosts["alpha"].guests[one.uuid] = one
    make_due(source)
    polls.poll(str(source.pk))
    assert Guest.objects.filter(name="newcomer").exists()


@pytest.mark.parametrize(
    ("effect", "state"),
    [
        ("unreachable", SourceState.UNREACHABLE),
        ("auth_failed", SourceState.AUTH_FAILED),
        ("broken", SourceState.FAILING),
    ],
)
@pytest.mark.parametrize("at", ["open", "read_states", "snapshot"])
def test_whatever_fails_is_said_and_the_rows_stay(world: FakeWorld, at: str, effect: str, state: SourceState) -> None:
    source = make_source(uri=world.uri("alpha"))
    polls.poll(str(source.pk))
    before = sorted(Guest.objects.values_list("name", "state", "missing_since"))
    world.add_fault("alpha", at=at, do=effect)
    Source.objects.update(next_states_at=timezone.now(), next_inventory_at=timezone.now())
    polls.poll(str(source.pk))
    assert world.fired("alpha", at=at) == 1
    source.refresh_from_db()
    assert source.state == state
    assert source.state_message.endswith(".")
    assert "RuntimeError" not in source.state_message
    assert Host.objects.get().state == HostState.NOT_RESPONDING
    assert sorted(Guest.objects.values_list("name", "state", "missing_since")) == before


def test_a_source_that_fails_and_recovers_is_connected_again(world: FakeWorld) -> None:
    source = make_source(uri=world.uri("alpha"))
    world.add_fault("alpha", at="open", do="unreachable")
    polls.poll(str(source.pk))
    assert Source.objects.get().suspect
    make_due(source)
    polls.poll(str(source.pk))
    source.refresh_from_db()
    assert (source.state, source.suspect, source.failures) == (SourceState.OK, False, 0)


@pytest.mark.parametrize("place", ["claim", "_read"])
@pytest.mark.parametrize("error", [OperationalError("database is locked"), InterfaceError("connection already closed")])
def test_a_failure_of_our_own_database_is_not_the_sources(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch, error: Exception, place: str
) -> None:
    source = make_source(uri=world.uri("alpha"))
    polls.poll(str(source.pk))
    make_due(source)

    def fail(*_args: object) -> bool:
        raise error

    monkeypatch.setattr(polls, place, fail)
    polls.poll(str(source.pk))
    source.refresh_from_db()
    assert (source.state, source.failures, source.suspect) == (SourceState.OK, 0, False)
    assert set(Host.objects.values_list("state", flat=True)) == {HostState.CONNECTED}


@pytest.mark.django_db(transaction=True)
def test_every_write_of_a_read_is_in_a_transaction(world: FakeWorld) -> None:
    """On SQLite only those take turns; see `core.db.write_transaction`."""
    source, other = make_source(uri=world.uri("alpha")), make_source(name="other")
    bare: list[str] = []
    written: list[str] = []

    def watch(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith(("INSERT", "UPDATE", "DELETE")):
            (written if connection.in_atomic_block else bare).append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(watch):
        polls.poll(str(source.pk))
        hurry([other.pk])
        hurry_datacenter(source)
    assert Guest.objects.count() == 5
    assert written
    assert bare == []
