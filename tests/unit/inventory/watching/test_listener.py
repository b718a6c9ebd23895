"""What a source tells becomes rows: once, in order, and never against what is known better."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.db import connection
from django.utils import timezone

from drivers.errors import NotSupported, Unreachable
from drivers.events import EventBatch, EventFact, EventKind, Extent
from drivers.registry import load_opener
from drivers.types import Endpoint, GuestState, MigrationPlan, StateReading
from hosts.models import Source, SourceState
from inventory import poll as polls
from inventory.models import Guest, Placement, Watch, Watcher
from inventory.watching import listener as listeners
from inventory.watching.listener import Listening
from tests.factories import make_job
from tests.facts import uuid_of
from tests.world import Fleet, make_fleet, open_here

pytestmark = pytest.mark.django_db


class Here:
    """A pool in this process: sessions of simulated hosts, streams that the test plays."""

    def __init__(self, _listener: object) -> None:
        self.sessions: dict[str, Any] = {}
        self.opened: list[tuple[str, bool]] = []
        self.dropped: list[str] = []
        self.reads: list[tuple[str, ...]] = []
        self.after_read: Callable[[], object] = lambda: None

    def watch(self, endpoint: Endpoint, *, doubtful: bool = False) -> str:
        key = f"{len(self.opened) + 1}"
        self.sessions[key] = load_opener(endpoint)(endpoint)
        self.opened.append((endpoint.uri, doubtful))
        return key

    def unwatch(self, key: str) -> None:
        self.dropped.append(key)

    def read_guests(self, key: str, guest_refs: tuple[str, ...]) -> StateReading:
        self.reads.append(guest_refs)
        states: StateReading = self.sessions[key].read_guests(guest_refs)
        self.after_read()
        return states

    def tick(self) -> None:
        pass

    def close(self) -> None:
        for session in self.sessions.values():
            session.close()


class Asked:
    """Full and quick reads that were asked for."""

    def __init__(self) -> None:
        self.reads: list[tuple[UUID, bool]] = []

    def __call__(self, source_id: UUID, *, inventory: bool) -> None:
        self.reads.append((source_id, inventory))


class Scene:
    def __init__(self, fleet: Fleet, listening: Listening, pool: Here, asked: Asked) -> None:
        self.fleet, self.listening, self.pool, self.asked = fleet, listening, pool, asked
        self.source = fleet.hosts["alpha"].source

    def start(self) -> None:
        """Every source's stream is open."""
        self.turn(3)
        for key in self.pool.sessions:
            self.listening.opened(key)
        self.turn(2)
        self.asked.reads.clear()
        for watched in self.listening._ours.values():
            watched.look_due = watched.read_due = 0.0

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.listening._beat_due = self.listening._turn_due = 0.0
            self.listening.tick()

    def hears(self, key: str, *events: EventFact, everything: bool = False) -> None:
        self.listening.happened(key, EventBatch(events, everything))
        for watched in self.listening._ours.values():
            watched.look_due = watched.read_due = 0.0
        self.turn(4)

    def key_of(self, host: str) -> str:
        uri = self.fleet.world.uri(host)
        return str(1 + [opened for opened, _doubtful in self.pool.opened].index(uri))

    def set_state(self, guest: Guest, state: GuestState, reason: str = "", host: str = "alpha") -> None:
        with self.fleet.world.open() as world:
            one = world.hosts[host].guests[guest.uuid]
            one.state, one.state_reason = state, reason


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    asked = Asked()
    monkeypatch.setattr(listeners, "read_now", asked)
    fleet = make_fleet(tmp_path / "world.json", "alpha", "beta")
    pools: list[Here] = []

    def make_pool(listener: object) -> Here:
        pools.append(Here(listener))
        return pools[-1]

    listening = Listening(make_pool, submit=lambda act: act())
    made = Scene(fleet, listening, pools[0], asked)
    made.start()
    yield made
    listening.close()


def told(guest: Guest, extent: Extent = Extent.STATE) -> EventFact:
    return EventFact(EventKind.GUEST, guest.ref, extent)


def test_a_state_somebody_else_changed_is_written_at_once(scene: Scene) -> None:
    guest = scene.fleet.guest("alpha")
    scene.set_state(guest, GuestState.OFF, "destroyed")
    scene.hears(scene.key_of("alpha"), told(guest))
    guest.refresh_from_db()
    assert (guest.state, guest.state_reason) == ("off", "destroyed")
    assert scene.asked.reads == []


def test_an_event_about_one_guest_says_nothing_of_the_others(scene: Scene) -> None:
    guest, other = scene.fleet.guest("alpha"), scene.fleet.guest("alpha", 1)
    scene.set_state(guest, GuestState.PAUSED)
    scene.set_state(other, GuestState.OFF)
    scene.hears(scene.key_of("alpha"), told(guest))
    assert sorted(Guest.objects.filter(missing_since=None).values_list("state", flat=True)).count("running") == 5


def test_a_storm_of_events_is_few_reads_and_the_newest_state_wins(scene: Scene) -> None:
    guest = scene.fleet.guest("alpha")
    key = scene.key_of("alpha")
    for number in range(10_000):
        scene.listening.happened(key, EventBatch((told(guest),)))
        if number == 9_000:
            scene.set_state(guest, GuestState.OFF, "shutdown")
    scene.turn(5)
    guest.refresh_from_db()
    assert (len(scene.pool.reads), guest.state) == (1, "off")


def test_more_events_than_can_be_listed_are_one_full_read(scene: Scene) -> None:
    key = scene.key_of("alpha")
    events = [EventFact(EventKind.GUEST, uuid_of(f"guest {number}"), Extent.STATE) for number in range(5_000)]
    scene.listening.happened(key, EventBatch(tuple(events[:2_500])))
    scene.listening.happened(key, EventBatch(tuple(events[2_500:])))
    scene.turn(4)
    assert scene.asked.reads == [(scene.source.pk, True)]
    assert len(scene.pool.reads) <= 1


def test_full_reads_are_asked_for_once_in_a_while(scene: Scene) -> None:
    key = scene.key_of("alpha")
    for _ in range(20):
        scene.listening.happened(key, EventBatch((EventFact(EventKind.DATASTORE, "images"),)))
        scene.listening._ours[scene.source.pk].look_due = 0.0
        scene.turn()
    assert scene.asked.reads == [(scene.source.pk, True)]
    scene.listening._ours[scene.source.pk].read_due = 0.0
    scene.turn()
    assert len(scene.asked.reads) == 2  # what came meanwhile is not forgotten


def test_a_state_older_than_the_rows_evidence_is_not_written(scene: Scene) -> None:
    guest = scene.fleet.guest("alpha")
    scene.set_state(guest, GuestState.OFF)

    def know_better() -> None:
        later = timezone.now() + timedelta(seconds=5)
        Guest.objects.filter(pk=guest.pk).update(evidence_at=later)
        Placement.objects.filter(guest=guest).update(evidence_at=later)

    scene.pool.after_read = know_better
    scene.hears(scene.key_of("alpha"), told(guest))
    guest.refresh_from_db()
    assert (len(scene.pool.reads), guest.state) == (1, "running")


def test_a_state_from_before_the_last_complete_read_is_not_written(scene: Scene) -> None:
    """That read confirmed the row without writing it."""
    guest = scene.fleet.guest("alpha")
    scene.set_state(guest, GuestState.OFF)
    later = timezone.now() + timedelta(seconds=5)
    scene.pool.after_read = lambda: Source.objects.filter(pk=scene.source.pk).update(states_read_at=later)
    scene.hears(scene.key_of("alpha"), told(guest))
    guest.refresh_from_db()
    assert guest.state == "running"


def test_while_a_job_moves_a_guest_events_change_nothing(scene: Scene) -> None:
    guest = scene.fleet.guest("alpha")
    make_job(guest, kind="migration", state="copying", exclusive=f"guest:{guest.pk}")
    scene.set_state(guest, GuestState.PAUSED, "migration")
    scene.hears(scene.key_of("alpha"), told(guest))
    guest.refresh_from_db()
    assert (len(scene.pool.reads), guest.state, guest.host_id) == (1, "running", scene.fleet.hosts["alpha"].pk)


def test_a_guest_that_came_asks_for_a_full_read(scene: Scene) -> None:
    with scene.fleet.world.open() as world:
        guests = world.hosts["alpha"].guests
        one = next(iter(guests.values()))
        uuid = uuid_of("newcomer")
        guests[uuid] = msgspec.structs.replace(one, uuid=uuid, name="newcomer")
    scene.hears(scene.key_of("alpha"), EventFact(EventKind.GUEST, uuid, Extent.STATE))
    assert scene.asked.reads == [(scene.source.pk, True)]


def test_a_guest_that_left_is_not_missing_until_a_full_read_says_so(scene: Scene) -> None:
    guest = scene.fleet.guest("alpha")
    with scene.fleet.world.open() as world:
        del world.hosts["alpha"].guests[guest.uuid]
    scene.hears(scene.key_of("alpha"), told(guest, Extent.WHOLE))
    guest.refresh_from_db()
    assert guest.missing_since is None
    assert Placement.objects.get(guest=guest).state == "unknown"
    assert scene.asked.reads == [(scene.source.pk, True)]


def test_a_move_somebody_else_made_shows_when_both_hosts_told(scene: Scene) -> None:
    """The target knows the guest as a copy that is off; its word was there before."""
    guest = scene.fleet.guest("alpha")
    beta = scene.fleet.hosts["beta"]
    Placement.objects.create(guest=guest, host=beta, ref=guest.ref, state="off", evidence_at=timezone.now())
    with scene.fleet.world.open() as world:
        moved = world.hosts["alpha"].guests.pop(guest.uuid)
        world.hosts["beta"].guests[guest.uuid] = moved
    scene.hears(scene.key_of("beta"), told(guest))
    scene.hears(scene.key_of("alpha"), told(guest))
    guest.refresh_from_db()
    assert (guest.state, guest.host_id) == ("running", beta.pk)


def test_a_move_somebody_else_makes_is_followed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """No job of ours, and the target never heard of the guest: events, and the reads they ask for, in any order."""
    guest, beta = scene.fleet.guest("alpha"), scene.fleet.hosts["beta"]
    monkeypatch.setattr(polls, "open_session", without_deadlines)

    def read(source_id: UUID, *, inventory: bool) -> None:
        Source.objects.filter(pk=source_id).update(next_inventory_at=timezone.now(), next_states_at=timezone.now())
        polls.poll(str(source_id))

    monkeypatch.setattr(listeners, "read_now", read)
    seen: list[tuple[str | None, str]] = []

    def look() -> None:
        guest.refresh_from_db()
        seen.append((guest.host.source.name if guest.missing_since is None else None, guest.state))

    source = scene.fleet.world.endpoint("alpha")
    opened: Any = load_opener(source)(source)
    with closing(opened) as session:
        session.start_migration(
            MigrationPlan(guest.ref, guest.uuid, scene.fleet.world.endpoint("beta")), "theirs", float("inf")
        )
    for host in ("beta", "alpha", "beta", "alpha"):
        scene.hears(scene.key_of(host), told(guest, Extent.WHOLE))
        look()
    assert seen[-1] == ("beta", "running")
    assert None not in {where for where, _state in seen}
    assert Placement.objects.filter(guest=guest).values_list("host_id", flat=True).get() == beta.pk


def without_deadlines(source: Source, *, deadline_s: float) -> Any:
    here = open_here(source)
    session = here.__enter__()
    read_states, snapshot = session.read_states, session.snapshot
    session.read_states = lambda deadline_s: read_states()
    session.snapshot = lambda deadline_s: snapshot()
    return here


def test_a_lost_stream_is_opened_again_later_and_then_all_is_read(scene: Scene) -> None:
    key = scene.key_of("alpha")
    watched = scene.listening._ours[scene.source.pk]
    scene.listening.lost(key, Unreachable("gone"))
    scene.turn(2)
    assert scene.asked.reads == [(scene.source.pk, False)]  # the poll says at once whether the host is there
    assert len(scene.pool.opened) == 2  # not yet
    assert Watch.objects.get(pk=scene.source.pk).since is None
    watched.open_due = watched.read_due = 0.0
    scene.turn(2)
    scene.listening.opened("3")
    scene.turn(2)
    assert scene.asked.reads[-1] == (scene.source.pk, True)
    assert Watch.objects.get(pk=scene.source.pk).since is not None


def test_back_off_grows_while_a_stream_does_not_last(scene: Scene) -> None:
    watched = scene.listening._ours[scene.source.pk]
    key, waits = scene.key_of("alpha"), []
    for _ in range(3):
        scene.listening.lost(key, Unreachable("gone"))
        scene.turn()
        waits.append(watched.open_due)
        watched.open_due = 0.0
        scene.turn(2)
        key = watched.key
        scene.listening.opened(key)
        scene.turn()
    assert watched.failures == 3
    assert waits[2] - waits[0] > 20


def test_what_hung_while_it_opened_is_opened_apart(scene: Scene) -> None:
    watched = scene.listening._ours[scene.source.pk]
    for error in (Unreachable("gone"), Unreachable("did not answer")):
        scene.listening.lost(watched.key, error)
        scene.turn()
        watched.open_due = 0.0
        scene.turn(2)
    assert [doubtful for _uri, doubtful in scene.pool.opened[2:]] == [False, True]


def test_a_source_that_tells_nothing_is_left_alone(scene: Scene) -> None:
    watched = scene.listening._ours[scene.source.pk]
    scene.listening.lost(watched.key, NotSupported("no events"))
    scene.turn(3)
    assert watched.key == ""
    assert watched.open_due - time.monotonic() > 500


def test_events_of_a_stream_that_is_gone_are_not_heard(scene: Scene) -> None:
    guest, key = scene.fleet.guest("alpha"), scene.key_of("alpha")
    scene.listening.lost(key, Unreachable("gone"))
    scene.turn()
    scene.set_state(guest, GuestState.OFF)
    scene.hears(key, told(guest))
    assert scene.pool.reads == []


@pytest.mark.parametrize("how", ["removed", "paused"])
def test_a_source_that_is_removed_or_paused_is_watched_no_more(scene: Scene, how: str) -> None:
    guest, key = scene.fleet.guest("alpha"), scene.key_of("alpha")
    scene.set_state(guest, GuestState.OFF)
    scene.listening.happened(key, EventBatch((told(guest),)))  # told, and not yet written

    def end() -> None:
        if how == "paused":
            Source.objects.filter(pk=scene.source.pk).update(state=SourceState.PAUSED)
        else:
            scene.source.delete()

    scene.pool.after_read = end
    scene.turn(3)
    assert scene.pool.dropped == [key]
    assert not Guest.objects.filter(pk=guest.pk, state="off").exists()


def test_a_source_taken_over_by_another_watcher_is_not_written(scene: Scene) -> None:
    guest = scene.fleet.guest("alpha")
    scene.set_state(guest, GuestState.OFF)
    scene.pool.after_read = lambda: Watch.objects.filter(pk=scene.source.pk).update(token=99)
    scene.hears(scene.key_of("alpha"), told(guest))
    guest.refresh_from_db()
    assert guest.state == "running"


def test_a_source_that_does_not_answer_its_polls_is_not_opened(scene: Scene) -> None:
    Source.objects.filter(pk=scene.source.pk).update(state=SourceState.UNREACHABLE)
    watched = scene.listening._ours[scene.source.pk]
    scene.listening.lost(watched.key, Unreachable("gone"))
    scene.turn()
    watched.open_due = 0.0
    scene.turn(3)
    assert watched.key == ""
    Source.objects.filter(pk=scene.source.pk).update(state=SourceState.OK)
    scene.turn(3)
    assert watched.key == "3"


@pytest.mark.parametrize("what", [{"username": "other"}, {"host_key": "new"}, {"port": 2222}])
def test_a_source_that_is_reached_otherwise_is_opened_anew(scene: Scene, what: dict[str, Any]) -> None:
    key = scene.key_of("alpha")
    Source.objects.filter(pk=scene.source.pk).update(**what)
    scene.turn(3)
    assert scene.pool.dropped == [key]
    assert scene.listening._ours[scene.source.pk].key == "3"


def test_a_guest_that_stopped_has_no_load_any_more(scene: Scene) -> None:
    from metrics.models import GuestLoad
    from tests.factories import set_load

    guest, other = scene.fleet.guest("alpha"), scene.fleet.guest("alpha", 1)
    set_load(guest)
    set_load(other)
    scene.set_state(guest, GuestState.OFF)
    scene.hears(scene.key_of("alpha"), told(guest), told(other))
    assert list(GuestLoad.objects.values_list("guest_id", flat=True)) == [other.pk]


def test_nothing_new_writes_nothing(scene: Scene) -> None:
    """Events of our own changes arrive after those were written."""
    guest, written = scene.fleet.guest("alpha"), []
    scene.hears(scene.key_of("alpha"), told(guest))

    def look(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith(("INSERT", "UPDATE", "DELETE")) and "inventory_watcher" not in sql:
            written.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(look):
        scene.hears(scene.key_of("alpha"), told(guest))
    assert len(scene.pool.reads) == 2
    assert written == []


def test_a_forgotten_watcher_registers_again(scene: Scene) -> None:
    before = scene.listening.watcher_id
    Watcher.objects.all().delete()
    scene.turn(3)
    assert scene.listening.watcher_id != before
    assert Watch.objects.filter(watcher=scene.listening.watcher_id).count() == 2
