"""What a source tells by itself: that something changed, never what it is now. Whoever hears it reads it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from drivers.errors import DriverError


class EventKind(StrEnum):
    GUEST = "guest"
    SWITCH = "switch"
    DATASTORE = "datastore"
    HOST = "host"


class Extent(StrEnum):
    """How much is to be read again."""

    STATE = "state"  # of a guest: whether it runs
    WHOLE = "whole"  # came, left, or is made of something else


@dataclass(frozen=True, slots=True)
class EventFact:
    kind: EventKind
    ref: str
    extent: Extent = Extent.WHOLE


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Each object once. `everything`: more than can be listed, or some events were lost."""

    events: tuple[EventFact, ...] = ()
    everything: bool = False


class EventSink(Protocol):
    """Where a driver puts what it hears, from a thread of its own. Returns at once, never raises."""

    def happened(self, event: EventFact) -> None: ...

    def missed(self) -> None:
        """Something happened, and nobody knows to what."""

    def lost(self, error: DriverError) -> None:
        """Nothing more will be told: the connection broke."""


class Pile:
    """Events of one source, coalesced: bounded, however many come. Not thread-safe."""

    MOST = 256

    __slots__ = ("_events", "everything")

    def __init__(self) -> None:
        self._events: dict[tuple[EventKind, str], Extent] = {}
        self.everything = False

    def __bool__(self) -> bool:
        return self.everything or bool(self._events)

    def add(self, event: EventFact) -> None:
        """The deeper extent of two stays, since both are still to be read."""
        key = (event.kind, event.ref)
        if self._events.get(key) is not Extent.WHOLE:
            self._events[key] = event.extent
        if len(self._events) > self.MOST:
            self.miss()

    def miss(self) -> None:
        self.everything = True
        self._events.clear()

    def extend(self, batch: EventBatch) -> None:
        if batch.everything:
            self.everything = True
        for event in batch.events:
            self.add(event)

    def take(self) -> EventBatch:
        """All of it; the pile is empty then."""
        events = tuple(EventFact(kind, ref, extent) for (kind, ref), extent in self._events.items())
        batch = EventBatch(events, self.everything)
        self._events, self.everything = {}, False
        return batch
