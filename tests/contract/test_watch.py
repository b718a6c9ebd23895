"""Events: who changes something elsewhere is heard of, and what is named can be read."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import pytest

from drivers.errors import DriverError, NotSupported
from drivers.events import EventBatch, EventFact, EventKind
from drivers.isolation.watch import WatchPool
from drivers.types import Capability, GuestState, PowerAction, StateReading
from tests.contract.subjects import DEADLINE_S, WAIT_S, Movable, Subject, wait_until
from tests.contract.test_reads import UNKNOWN


class Heard:
    def __init__(self) -> None:
        self.told: queue.Queue[tuple[str, str, Any]] = queue.Queue()

    def opened(self, key: str) -> None:
        self.told.put(("opened", key, None))

    def happened(self, key: str, batch: EventBatch) -> None:
        self.told.put(("happened", key, batch))

    def lost(self, key: str, error: DriverError) -> None:
        self.told.put(("lost", key, error))

    def await_opened(self, *keys: str) -> None:
        waiting = set(keys)
        while waiting:
            kind, key, value = self.told.get(timeout=WAIT_S)
            assert kind != "lost", value
            waiting -= {key} if kind == "opened" else set()

    def await_guest(self, key: str, ref: str) -> EventFact:
        """The next event about this guest from this source."""
        while True:
            kind, of, batch = self.told.get(timeout=WAIT_S)
            assert kind != "lost", batch
            for event in batch.events if (kind, of) == ("happened", key) else ():
                if (event.kind, event.ref) == (EventKind.GUEST, ref):
                    found: EventFact = event
                    return found


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def watches(heard: Heard) -> Iterator[WatchPool]:
    pool = WatchPool(heard)
    yield pool
    pool.close()


def act(pool: WatchPool, key: str, *actions: tuple[str, PowerAction]) -> None:
    """In the process that listens: the test driver's guests live in theirs."""
    for ref, action in actions:
        pool._home_of[key].child.call("power", key, (ref, action, float("inf")), None, DEADLINE_S)


def test_a_state_that_changes_is_told_and_then_reads_as_it_is(
    operable: Subject, watches: WatchPool, heard: Heard
) -> None:
    assert Capability.EVENTS in operable.capabilities
    ref, key = operable.power_guest, watches.watch(operable.endpoint)
    heard.await_opened(key)
    for action, state in (
        (PowerAction.SUSPEND, GuestState.PAUSED),
        (PowerAction.RESUME, GuestState.RUNNING),
        (PowerAction.OFF, GuestState.OFF),
        (PowerAction.START, GuestState.RUNNING),
    ):
        act(watches, key, (ref, action))
        heard.await_guest(key, ref)
        (fact,) = watches.read_guests(key, (ref,)).guests
        assert (fact.ref, fact.uuid, fact.state, fact.load) == (ref, ref, state, None)


def test_two_that_listen_both_hear(operable: Subject, watches: WatchPool, heard: Heard) -> None:
    ref = operable.power_guest
    first, second = watches.watch(operable.endpoint), watches.watch(operable.endpoint)
    heard.await_opened(first, second)
    act(watches, first, (ref, PowerAction.SUSPEND), (ref, PowerAction.RESUME))
    heard.await_guest(second, ref)


def test_guests_are_read_as_the_quick_read_has_them(operable: Subject, watches: WatchPool, heard: Heard) -> None:
    key = watches.watch(operable.endpoint)
    heard.await_opened(key)
    states = watches._home_of[key].child.call("read_states", key, (), StateReading, DEADLINE_S)
    every = {fact.ref: (fact.host_ref, fact.name, fact.state, fact.state_reason) for fact in states.guests}
    few, many = tuple(every)[:2], (*every, *(f"{n:08d}-0000-4000-8000-000000000000" for n in range(40)))
    for refs in (few, many):
        reading = watches.read_guests(key, refs)
        assert not reading.complete
        found = {fact.ref: (fact.host_ref, fact.name, fact.state, fact.state_reason) for fact in reading.guests}
        assert found == {ref: every[ref] for ref in refs if ref in every}


def test_what_is_not_there_is_left_out(operable: Subject, watches: WatchPool, heard: Heard) -> None:
    key = watches.watch(operable.endpoint)
    heard.await_opened(key)
    assert watches.read_guests(key, (UNKNOWN, "no-uuid", "")).guests == ()


def test_what_declares_no_events_says_so(subject: Subject, watches: WatchPool, heard: Heard) -> None:
    watches.watch(subject.endpoint)
    kind, _key, error = heard.told.get(timeout=WAIT_S)
    if Capability.EVENTS in subject.capabilities:
        assert kind == "opened"
    else:
        assert isinstance(error, NotSupported)


def test_a_move_is_told_by_both_hosts(movable: Movable, watches: WatchPool, heard: Heard) -> None:
    source, target = watches.watch(movable.source), watches.watch(movable.target)
    heard.await_opened(source, target)
    child, before = watches._home_of[source].child, movable.running_on()
    child.call("start_migration", source, (movable.plan(), "watched", float("inf")), None, DEADLINE_S)
    heard.await_guest(target, movable.guest_uuid)
    heard.await_guest(source, movable.guest_uuid)
    # Both are told before the move has ended; nobody may look for the guest until then.
    wait_until(lambda: movable.running_on() not in ([], before), "the guest runs on the other host")
