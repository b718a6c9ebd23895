"""Generated hosts: what they do by themselves follows from the clock, so that every process sees the same."""

from __future__ import annotations

import threading

import pytest

from drivers.errors import DriverError, Rejected, Unreachable
from drivers.events import EventFact, EventKind, Extent
from drivers.fake import fleet as fleets
from drivers.fake.fleet import find_fleet, make_fleet_host
from drivers.fake.session import open_session
from drivers.fake.watch import FleetWatchCalls
from drivers.types import Capability, Endpoint, GuestState, Transport

FLAPPING = {"flap": "10"}


def endpoint(uri: str) -> Endpoint:
    return Endpoint(kind="fake", transport=Transport.FAKE, uri=uri)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time is in its first item."""
    now = [1_000_000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


class Sink:
    def __init__(self) -> None:
        self.events: list[EventFact] = []
        self.heard = threading.Event()
        self.error: DriverError | None = None

    def happened(self, event: EventFact) -> None:
        self.events.append(event)
        self.heard.set()

    def missed(self) -> None:
        raise AssertionError

    def lost(self, error: DriverError) -> None:
        self.error = error
        self.heard.set()


def test_a_flapping_host_answers_half_of_the_time(clock: list[float]) -> None:
    answers = []
    for _ in range(8):
        clock[0] += 5
        try:
            open_session(endpoint("fake://fleet/flap-1?guests=1&flap=10")).read_states()
            answers.append(True)
        except Unreachable:
            answers.append(False)
    assert answers[:4] == [not answer for answer in answers[2:6]]
    assert answers.count(True) == 4


def test_hosts_do_not_flap_at_the_same_moment() -> None:
    phases = {fleets.phase_of(make_fleet_host(str(number), FLAPPING)) % 20 for number in range(20)}
    assert len(phases) > 5


def test_a_guest_is_paused_and_resumed_in_turn(clock: list[float]) -> None:
    uri = "fake://fleet/tells-1?guests=6&events=10"
    fleet, _name = find_fleet(uri, "tells-1", {"guests": "6", "events": "10"})
    session = open_session(endpoint(uri))
    before = {guest.ref: guest.state for guest in session.read_states().guests}
    changed = []
    for _ in range(4):
        clock[0] += 10
        now = {guest.ref: guest.state for guest in session.read_states().guests}
        changed.append({ref for ref in now if now[ref] is not before[ref]})
        assert list(now.values()).count(GuestState.PAUSED) <= 1
        assert fleet.toggled(fleet.turn(clock[0])) in changed[-1]
        before = now
    assert all(changed)


def test_it_tells_what_it_changed() -> None:
    session = open_session(endpoint("fake://fleet/tells-2?guests=6&events=0.05"))
    assert isinstance(session, FleetWatchCalls)
    assert Capability.EVENTS in session.capabilities
    sink = Sink()
    session.watch(sink)
    assert sink.heard.wait(10)
    session.close()
    first = sink.events[0]
    assert (first.kind, first.extent) == (EventKind.GUEST, Extent.STATE)
    assert [guest.ref for guest in session.read_guests((first.ref, "none")).guests] == [first.ref]


def test_the_stream_of_a_flapping_host_breaks() -> None:
    session = open_session(endpoint("fake://fleet/tells-3?guests=1&events=0"))
    assert isinstance(session, FleetWatchCalls)
    assert isinstance(session._world, fleets.Fleet)
    session._world._host.flapping_s = 0.05
    sink = Sink()
    session.watch(sink)
    assert sink.heard.wait(10)
    assert isinstance(sink.error, Unreachable)


def test_a_silent_one_that_tells_takes_no_thread() -> None:
    session = open_session(endpoint("fake://fleet/tells-4?guests=1&events=0"))
    assert isinstance(session, FleetWatchCalls)
    before = threading.active_count()
    session.watch(Sink())
    assert threading.active_count() == before


def test_one_that_does_not_tell_says_so() -> None:
    assert Capability.EVENTS not in open_session(endpoint("fake://fleet/tells-5?guests=1")).capabilities


def test_storage_is_shared_within_a_cluster() -> None:
    sources = {}
    for name, cluster in (("1", "1"), ("2", "1"), ("3", "2"), ("4", "")):
        host = make_fleet_host(name, {"cluster": cluster} if cluster else {})
        sources[name] = next(store.source for store in host.datastores if store.servers)
    assert sources["1"] == sources["2"] == "filer-1:/shared"
    assert len(set(sources.values())) == 3


def test_an_idle_fleet_tells_the_same_of_what_it_shares() -> None:
    """Or each host would take back what the other said."""
    one, two = (open_session(endpoint(f"fake://fleet/s{n}?guests=4&cluster=1")).snapshot() for n in (1, 2))
    shared = [store for read in (one, two) for store in read.datastores if store.servers]
    assert [(store.volumes, store.volumes_cut) for store in shared] == [((), True)] * 2
    local = [store for store in one.datastores if not store.servers]
    assert sum(volume.format == "qcow2" for store in local for volume in store.volumes) > 0


@pytest.mark.parametrize("options", [{"flap": "x"}, {"events": ""}, {"guests": "many"}])
def test_what_is_no_number_is_rejected(options: dict[str, str]) -> None:
    with pytest.raises(Rejected):
        make_fleet_host("1", options)
