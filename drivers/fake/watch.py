"""Events of a simulated host: told by comparing its world before and after, since several processes change the file."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from msgspec.structs import replace

from drivers.errors import NotFound, Unreachable
from drivers.events import EventFact, EventKind, EventSink, Extent
from drivers.fake import faults
from drivers.fake.facts import reading_of
from drivers.fake.fleet import Fleet
from drivers.fake.model import FakeGuest, FakeHost
from drivers.fake.world import FakeWorld, World
from drivers.types import StateReading
from drivers.words import gettext_noop as _

LOOK_S = 0.02
STORM_EVENTS = 10_000
_STATE = ("state", "state_reason")
_SILENT = ("stamp", "claim", "started_at")  # no hypervisor tells of these
_BROKEN = Unreachable(_("The connection to the host was lost; it is opened again."))


class LookCalls:
    """The second half of WatchOps: what the states are of what was told about."""

    _world: World
    _name: str
    _closed: bool

    def read_guests(self, guest_refs: tuple[str, ...]) -> StateReading:
        started_at = datetime.now(UTC)
        with self.acting("read_guests") as (_state, host, _fault):  # type: ignore[attr-defined]
            wanted = {ref: host.guests[ref] for ref in guest_refs if ref in host.guests}
            facts = reading_of(host, wanted, time.time()).guests
        guests = tuple(replace(fact, load=None) for fact in facts)
        return StateReading(started_at, complete=False, guests=guests, hosts=())


class FleetWatchCalls(LookCalls):
    """WatchOps of a generated host: it sleeps until its next change is due, and without any it takes no thread."""

    def watch(self, sink: EventSink) -> None:
        assert isinstance(self._world, Fleet)  # noqa: S101 (only those have this class)
        if self._world.steps():
            threading.Thread(target=self._tell, args=(sink, self._world), daemon=True, name="fleet-events").start()

    def _tell(self, sink: EventSink, fleet: Fleet) -> None:
        turn = fleet.turn(time.time())
        while not self._closed:
            time.sleep(fleet.next_turn_s(time.time()) + 0.001)
            if fleet.is_down(time.time()):
                sink.lost(_BROKEN.copy())
                return
            before, turn = turn, fleet.turn(time.time())
            if turn != before and (ref := fleet.toggled(turn)):
                sink.happened(EventFact(EventKind.GUEST, ref, Extent.STATE))


class WatchCalls(LookCalls):
    """WatchOps of a host of a world in a file."""

    def watch(self, sink: EventSink) -> None:
        with self._world.open() as state:
            before = _picture(state.hosts[self._name])
        threading.Thread(target=self._tell, args=(sink, before), daemon=True, name="fake-events").start()

    def _tell(self, sink: EventSink, before: dict[str, FakeGuest]) -> None:
        assert isinstance(self._world, FakeWorld)  # noqa: S101 (only those declare events)
        seen = 0
        while not self._closed:
            try:
                changed = self._world.path.stat().st_mtime_ns
                if changed == seen and not _moves(before):
                    time.sleep(LOOK_S)
                    continue
                seen = changed
                with self._world.open() as state:
                    host = state.hosts[self._name]
                    fault = faults.take_fault(host, "watch")
                    after = _picture(host)
            except (NotFound, KeyError, OSError):
                sink.lost(_BROKEN.copy())
                return
            for event in _differences(before, after):
                sink.happened(event)
            before = after
            if fault is not None and not _strike(sink, fault.do, after):
                return


def _moves(guests: dict[str, FakeGuest]) -> bool:
    return any(not guest.persistent for guest in guests.values())


def _picture(host: FakeHost) -> dict[str, FakeGuest]:
    return {uuid: replace(guest) for uuid, guest in host.guests.items()}


def _differences(before: dict[str, FakeGuest], after: dict[str, FakeGuest]) -> list[EventFact]:
    found = [EventFact(EventKind.GUEST, ref) for ref in before.keys() ^ after.keys()]
    for ref in before.keys() & after.keys():
        names = {name for name in FakeGuest.__struct_fields__ if _value(before[ref], name) != _value(after[ref], name)}
        if names - set(_SILENT):
            extent = Extent.STATE if names <= {*_STATE, *_SILENT} else Extent.WHOLE
            found.append(EventFact(EventKind.GUEST, ref, extent))
    return found


def _value(guest: FakeGuest, name: str) -> object:
    return getattr(guest, name)


def _strike(sink: EventSink, effect: str, guests: dict[str, FakeGuest]) -> bool:
    """Whether the stream goes on."""
    if effect == faults.STORM:
        refs = sorted(guests)
        for number in range(STORM_EVENTS):
            sink.happened(EventFact(EventKind.GUEST, refs[number % len(refs)], Extent.STATE))
    if effect == faults.MISS:
        sink.missed()
    if effect == faults.BREAK:
        sink.lost(_BROKEN.copy())
    return effect != faults.BREAK
