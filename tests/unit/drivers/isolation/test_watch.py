"""Streams of events out of child processes: bounded, apart from each other, and told of when they end."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import DriverError, NotFound, NotSupported, Unreachable
from drivers.events import EventBatch, EventFact, EventKind, Extent, Pile
from drivers.fake.world import FakeWorld
from drivers.isolation import watch as watches
from drivers.isolation.outbox import Outbox
from drivers.isolation.watch import WatchPool
from drivers.isolation.wire import Answer, unpack
from drivers.types import Endpoint, GuestState, Transport

TEST_GUEST = "6695eb01-f6a4-8304-79aa-97f2502e193f"  # libvirt's own example guest


@dataclass
class Heard:
    """A listener that keeps everything."""

    told: queue.Queue[tuple[str, str, Any]] = field(default_factory=queue.Queue)
    kept: list[tuple[str, str, Any]] = field(default_factory=list)

    def opened(self, key: str) -> None:
        self.told.put(("opened", key, None))

    def happened(self, key: str, batch: EventBatch) -> None:
        self.told.put(("happened", key, batch))

    def lost(self, key: str, error: DriverError) -> None:
        self.told.put(("lost", key, error))

    def next(self, what: str, key: str) -> Any:
        """The next of its kind; others stay. The limit only ends a broken test."""
        for number, (kind, of, value) in enumerate(self.kept):
            if (kind, of) == (what, key):
                del self.kept[number]
                return value
        while True:
            self.kept.append(self.told.get(timeout=60))
            if self.kept[-1][:2] == (what, key):
                return self.kept.pop()[2]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def pool(heard: Heard) -> Iterator[WatchPool]:
    pool = WatchPool(heard)
    yield pool
    pool.close()


@pytest.fixture
def world(tmp_path: Path) -> FakeWorld:
    return FakeWorld.create(tmp_path / "world.json", hosts=("alpha", "beta"), guests=3)


def wait_until(is_so: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < limit, "it never came true"
        time.sleep(0.01)


def first_of(world: FakeWorld, host: str) -> str:
    return next(iter(world.guests(host)))


def pause(world: FakeWorld, host: str, ref: str) -> None:
    with world.open() as state:
        state.hosts[host].guests[ref].state = GuestState.PAUSED


def test_a_change_is_told_and_then_read(pool: WatchPool, heard: Heard, world: FakeWorld) -> None:
    key = pool.watch(world.endpoint("alpha"))
    heard.next("opened", key)
    ref = first_of(world, "alpha")
    pause(world, "alpha", ref)
    batch = heard.next("happened", key)
    assert batch == EventBatch((EventFact(EventKind.GUEST, ref, Extent.STATE),))
    (fact,) = pool.read_guests(key, (ref, "nobody")).guests
    assert (fact.ref, fact.state, fact.load) == (ref, GuestState.PAUSED, None)


def test_sources_share_a_process_and_nothing_else(pool: WatchPool, heard: Heard, world: FakeWorld) -> None:
    alpha, beta = pool.watch(world.endpoint("alpha")), pool.watch(world.endpoint("beta"))
    heard.next("opened", alpha)
    heard.next("opened", beta)
    pause(world, "beta", first_of(world, "beta"))
    assert heard.next("happened", beta).events[0].ref == first_of(world, "beta")
    assert len(pool.process_ids()) == 1


def test_more_sources_than_a_process_takes_have_another(
    pool: WatchPool, heard: Heard, world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "SOURCES_PER_PROCESS", 2)
    for _ in range(3):
        heard.next("opened", pool.watch(world.endpoint("alpha")))
    assert len(pool.process_ids()) == 2


def test_an_open_that_hangs_holds_up_no_other_and_is_given_up(
    pool: WatchPool, heard: Heard, world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_fault("alpha", at="open", do="hang")
    hung, other = pool.watch(world.endpoint("alpha")), pool.watch(world.endpoint("beta"))
    heard.next("opened", other)
    wait_until(lambda: world.fired("alpha", at="open") == 1)
    monkeypatch.setattr(watches, "OPEN_LIMIT_S", 0.0)
    pool.tick()
    assert isinstance(heard.next("lost", hung), Unreachable)
    pause(world, "beta", first_of(world, "beta"))
    heard.next("happened", other)


def test_a_process_with_too_many_hanging_threads_takes_no_more_sources(
    pool: WatchPool, heard: Heard, world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "MOST_HUNG", 1)
    monkeypatch.setattr(watches, "OPEN_LIMIT_S", 0.0)
    world.add_fault("alpha", at="open", do="hang")
    hung = pool.watch(world.endpoint("alpha"))
    wait_until(lambda: world.fired("alpha", at="open") == 1)
    (first,) = pool.process_ids()
    pool.tick()
    heard.next("lost", hung)
    wait_until(lambda: not pool.process_ids())  # nobody else lived there
    monkeypatch.setattr(watches, "OPEN_LIMIT_S", 60.0)
    heard.next("opened", pool.watch(world.endpoint("alpha")))
    assert first not in pool.process_ids()


def test_a_doubtful_source_lives_apart(pool: WatchPool, heard: Heard, world: FakeWorld) -> None:
    heard.next("opened", pool.watch(world.endpoint("alpha")))
    heard.next("opened", pool.watch(world.endpoint("beta"), doubtful=True))
    assert len(pool.process_ids()) == 2


def test_a_read_that_hangs_loses_the_stream(
    pool: WatchPool, heard: Heard, world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = pool.watch(world.endpoint("alpha"))
    heard.next("opened", key)
    monkeypatch.setattr(watches, "READ_LIMIT_S", 0.2)
    world.add_fault("alpha", at="read_guests", do="hang")
    with pytest.raises(Unreachable):
        pool.read_guests(key, (first_of(world, "alpha"),))
    assert isinstance(heard.next("lost", key), Unreachable)
    assert world.fired("alpha", at="read_guests") == 1


def test_reads_that_are_answered_late_leave_nothing_behind(
    pool: WatchPool, heard: Heard, world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than a process may have hanging threads: the same process takes the source again and again."""
    monkeypatch.setattr(watches, "READ_LIMIT_S", 0.02)
    ref = first_of(world, "alpha")
    for _ in range(watches.MOST_HUNG + 2):
        key = pool.watch(world.endpoint("alpha"))
        heard.next("opened", key)
        home = pool._home_of[key]
        with world.open(), pytest.raises(Unreachable):  # nobody else reads the world meanwhile
            pool.read_guests(key, (ref,))
        assert isinstance(heard.next("lost", key), Unreachable)
        wait_until(lambda: not pool._homes[0].hung)
        wait_until(partial(_is_closed, home.child, key))
        pool.tick()
        assert pool._homes == [home]


def test_an_open_that_nobody_waits_for_and_that_ends_frees_no_other_thread(
    pool: WatchPool, heard: Heard, world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_fault("alpha", at="open", do="hang")
    hung = pool.watch(world.endpoint("alpha"))
    home = pool._home_of[hung]
    wait_until(lambda: world.fired("alpha", at="open") == 1)
    monkeypatch.setattr(watches, "OPEN_LIMIT_S", 0.0)
    pool.tick()
    heard.next("lost", hung)
    with world.open():  # the next one cannot open meanwhile
        unwanted = pool.watch(world.endpoint("beta"))
        assert pool._home_of[unwanted] is home
        pool.unwatch(unwanted)
    wait_until(lambda: home.child.calls_in_flight == 1)  # the one that hangs
    wait_until(partial(_is_closed, home.child, unwanted))  # answers are read one after the other
    assert home.hung == {hung}


def test_a_listener_that_fails_leaves_nobody_waiting(
    pool: WatchPool, heard: Heard, world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = pool.watch(world.endpoint("alpha"))
    heard.next("opened", key)

    def fail(_key: str, _batch: EventBatch) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(heard, "happened", fail)
    monkeypatch.setattr(threading, "excepthook", lambda _args: None)
    pause(world, "alpha", first_of(world, "alpha"))
    assert isinstance(heard.next("lost", key), Unreachable)


def _is_closed(child: Any, key: str) -> bool:
    try:
        child.call("is_alive", key, (), bool, 60)
    except NotFound:
        return True
    return False


def test_a_storm_arrives_as_few_messages(pool: WatchPool, heard: Heard, world: FakeWorld) -> None:
    key = pool.watch(world.endpoint("alpha"))
    heard.next("opened", key)
    world.add_fault("alpha", at="watch", do="storm")
    refs, messages = {event.ref for event in heard.next("happened", key).events}, 1
    wait_until(lambda: world.fired("alpha", at="watch") == 1)
    while refs != set(world.guests("alpha")) or not heard.told.empty():  # the last ones may be on their way
        refs |= {event.ref for event in heard.next("happened", key).events}
        messages += 1
    assert messages < 100  # of ten thousand events


def test_a_broken_connection_ends_the_stream(pool: WatchPool, heard: Heard, world: FakeWorld) -> None:
    key = pool.watch(world.endpoint("alpha"))
    heard.next("opened", key)
    world.add_fault("alpha", at="watch", do="break")
    assert isinstance(heard.next("lost", key), Unreachable)
    with pytest.raises(Unreachable):
        pool.read_guests(key, (first_of(world, "alpha"),))


def test_events_that_were_missed_are_told_as_everything(pool: WatchPool, heard: Heard, world: FakeWorld) -> None:
    key = pool.watch(world.endpoint("alpha"))
    heard.next("opened", key)
    world.add_fault("alpha", at="watch", do="miss")
    assert heard.next("happened", key).everything


def test_a_killed_process_loses_each_of_its_streams(pool: WatchPool, heard: Heard, world: FakeWorld) -> None:
    keys = [pool.watch(world.endpoint(name)) for name in ("alpha", "beta")]
    for key in keys:
        heard.next("opened", key)
    os.kill(pool.process_ids()[0], signal.SIGKILL)
    assert all(isinstance(heard.next("lost", key), Unreachable) for key in keys)
    heard.next("opened", pool.watch(world.endpoint("alpha")))


def test_a_source_that_cannot_tell_says_so(pool: WatchPool, heard: Heard) -> None:
    key = pool.watch(Endpoint(kind="fake", transport=Transport.FAKE, uri="fake://fleet/1?guests=2"))
    assert isinstance(heard.next("lost", key), NotSupported)


def test_a_source_that_refuses_says_why(pool: WatchPool, heard: Heard, world: FakeWorld) -> None:
    world.add_fault("alpha", at="open", do="auth_failed")
    assert heard.next("lost", pool.watch(world.endpoint("alpha"))).code == "auth_failed"


def test_after_unwatch_nothing_is_told(pool: WatchPool, heard: Heard, world: FakeWorld) -> None:
    alpha, again = pool.watch(world.endpoint("alpha")), pool.watch(world.endpoint("alpha"))
    for key in (alpha, again):
        heard.next("opened", key)
    pool.unwatch(alpha)
    pause(world, "alpha", first_of(world, "alpha"))
    heard.next("happened", again)
    assert ("happened", alpha) not in {entry[:2] for entry in [*heard.kept, *heard.told.queue]}


def _add(event: EventFact, pile: Pile) -> None:
    pile.add(event)


def test_a_parent_that_does_not_read_costs_no_memory() -> None:
    """While one message cannot be sent, the rest is piled up by object, and beyond a limit as a single mark."""
    sent: list[Answer] = []
    gate = threading.Event()

    def send(answer: Answer) -> None:
        gate.wait()
        sent.append(answer)

    outbox = Outbox(send)
    outbox.put("a", lambda pile: pile.add(EventFact(EventKind.GUEST, "first")))
    wait_until(lambda: not outbox._piles)
    same = EventFact(EventKind.GUEST, "same", Extent.STATE)
    for number in range(10_000):
        event = EventFact(EventKind.GUEST, f"guest {number % 1000}")
        outbox.put("a", partial(_add, event))
        outbox.put("b", partial(_add, same))
    gate.set()
    wait_until(lambda: len(sent) == 3)
    batches = dict(unpack(answer.body, tuple[str, EventBatch]) for answer in sent[1:])
    assert batches["a"].everything
    assert len(batches["a"].events) <= Pile.MOST
    assert batches["b"] == EventBatch((same,))


@pytest.mark.parametrize("order", [(Extent.STATE, Extent.WHOLE), (Extent.WHOLE, Extent.STATE)])
def test_of_two_extents_the_deeper_stays(order: tuple[Extent, Extent]) -> None:
    pile = Pile()
    for extent in order:
        pile.add(EventFact(EventKind.GUEST, "one", extent))
    assert pile.take() == EventBatch((EventFact(EventKind.GUEST, "one", Extent.WHOLE),))
    assert not pile


def test_libvirts_own_events_come_through(pool: WatchPool, heard: Heard) -> None:
    from drivers.types import PowerAction

    key = pool.watch(Endpoint(kind="libvirt", transport=Transport.TEST, uri="test:///default"))
    heard.next("opened", key)
    home = pool._home_of[key]
    home.child.call("power", key, (TEST_GUEST, PowerAction.SUSPEND, 1e18), None, 60)
    assert heard.next("happened", key).events == (EventFact(EventKind.GUEST, TEST_GUEST, Extent.STATE),)
    assert pool.read_guests(key, (TEST_GUEST,)).guests[0].state is GuestState.PAUSED
