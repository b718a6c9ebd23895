"""A source on which nobody does anything is polled again and again, and not one row is written for it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.db import connection
from msgspec.structs import replace

from drivers.fake.build import make_host
from drivers.fake.facts import reading_of, snapshot_of
from drivers.libvirt import parse
from drivers.types import AgentFact, DatastoreFact, GuestFact, NicFact, Snapshot, StateReading
from history.models import GuestRevision, GuestStay
from hosts.models import Source
from inventory.sync import apply_snapshot, apply_states
from search.models import SearchRow
from tests.facts import make_source
from tests.unit.drivers.record import Recording

POLLS = 1000
EVERY = 10  # so many quick polls to a full one, as with 30 s and 5 min
RECORDINGS = sorted((Path(__file__).parents[1] / "drivers/fixtures/recordings").glob("*.json"))
# Of identity, history and search; a source's own row says when it was read.
TABLES = ("inventory_", "hosts_host", "hosts_datacenter", "storage_", "networks_", "history_", "search_")


class Flicker:
    """Tells what a host tells, as hosts do: what is known of addresses and agents comes and goes, figures move."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def snapshot(self, snapshot: Snapshot, at: datetime) -> Snapshot:
        guests, stores = map(self.guest, snapshot.guests), map(self.store, snapshot.datastores)
        return replace(
            snapshot,
            read_started_at=at,
            guests=tuple(self.dice.sample(list(guests), len(snapshot.guests))),
            datastores=tuple(self.dice.sample(list(stores), len(snapshot.datastores))),
        )

    def guest(self, fact: GuestFact) -> GuestFact:
        if self.dice.random() < 1 / 4:
            nics = (replace(nic, addresses_from="agent") if nic.addresses else nic for nic in fact.nics)
            return replace(fact, nics=tuple(nics))
        return replace(fact, agent=None, nics=tuple(map(self.nic, fact.nics)))

    def nic(self, fact: NicFact) -> NicFact:
        if not fact.addresses:
            return fact
        told_by = self.dice.choice(("lease", "arp", ""))
        some = fact.addresses if told_by == "lease" else fact.addresses[: self.dice.randint(1, len(fact.addresses))]
        return replace(fact, addresses_from=told_by, addresses=some if told_by else ())

    def store(self, fact: DatastoreFact) -> DatastoreFact:
        noise = self.dice.randrange(min(fact.capacity_bytes // 1000, 1 << 29) + 1)
        return replace(fact, available_bytes=max(0, fact.available_bytes - noise))


@contextmanager
def written() -> Iterator[list[str]]:
    writes: list[str] = []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        verb, _, rest = sql.replace('"', "").strip().partition(" ")
        table = rest.removeprefix("INTO ").removeprefix("FROM ")
        if verb in {"INSERT", "UPDATE", "DELETE"} and table.startswith(TABLES):
            writes.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield writes


def poll(source: Source, told: Snapshot, states: StateReading, *, polls: int) -> list[str]:
    """What was written after the first full read and one more, which may still learn addresses."""
    flicker, at = Flicker(polls), datetime(2026, 3, 1, tzinfo=UTC)
    apply_snapshot(source, replace(told, read_started_at=at), 0)
    with written() as writes:
        for number in range(1, polls + 1):
            at += timedelta(seconds=30)
            if number % EVERY == 0:
                apply_snapshot(source, flicker.snapshot(told, at), 0)
            apply_states(source, replace(states, read_started_at=at + timedelta(seconds=1)), 0)
    return writes


@pytest.mark.django_db
def test_a_thousand_polls_of_an_idle_host_write_nothing() -> None:
    host = make_host("alpha", guests=6)
    told = snapshot_of(host, host.guests, 1_700_000_000)
    agent = AgentFact(hostname="db", os="Debian GNU/Linux 12 (bookworm)")
    seen = ("10.0.0.7", "10.0.0.8")
    nics = {fact.ref: tuple(replace(nic, addresses=seen) for nic in fact.nics) for fact in told.guests}
    told = replace(told, guests=tuple(replace(fact, agent=agent, nics=nics[fact.ref]) for fact in told.guests))
    source = make_source()
    assert poll(source, told, reading_of(host, host.guests, 1_700_000_000), polls=POLLS) == []
    assert GuestRevision.objects.count() == GuestStay.objects.count() == len(told.guests)
    assert SearchRow.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_recorded_hosts_are_as_quiet(path: Path) -> None:
    recording = msgspec.json.decode(path.read_bytes(), type=Recording)
    told = parse.snapshot_of(recording.inventory)
    states = parse.reading_of(recording.reading, told.hosts[0].ref)
    assert poll(make_source(), told, states, polls=20 * EVERY) == []


def test_there_are_recordings() -> None:
    assert RECORDINGS


@pytest.mark.django_db
def test_a_change_is_seen_by_this_test_at_all() -> None:
    host = make_host("alpha", guests=2)
    source = make_source()
    told = snapshot_of(host, host.guests, 1_700_000_000)
    apply_snapshot(source, told, 0)
    changed = replace(told.guests[0], notes="new")
    with written() as writes:
        later = told.read_started_at + timedelta(seconds=9)
        apply_snapshot(source, replace(told, read_started_at=later, guests=(changed, *told.guests[1:])), 0)
    tables = ("inventory_guest", "history_guestrevision", "search_searchrow")
    assert all(any(table in sql for sql in writes) for table in tables)
