"""Which of libvirt's events mean what, and that a connection can be closed after listening."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import libvirt
import pytest

from drivers.errors import DriverError, NotSupported, Unreachable
from drivers.events import EventFact, EventKind, Extent
from drivers.libvirt.watch import Events

UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
DOMAIN = SimpleNamespace(UUIDString=lambda: UUID)
LIFECYCLE = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
METADATA = libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE


class Raw:
    """A libvirt connection's registrations, by (what, event id)."""

    def __init__(self, *lacks: int) -> None:
        self.callbacks: dict[tuple[str, int], Any] = {}
        self.close_callback: Any = None
        self.lacks = lacks
        for what in ("domain", "network", "storagePool", "nodeDevice"):
            setattr(self, f"{what}EventRegisterAny", self._register(what))
            setattr(self, f"{what}EventDeregisterAny", self._deregister(what))

    def _register(self, what: str) -> Any:
        def register(thing: object, number: int, callback: Any, _data: object) -> int:
            assert thing is None, "one registration for everything"
            if what == "domain" and number in self.lacks:
                raise NotSupported("an older host")
            assert (what, number) not in self.callbacks, "libvirt refuses a second one"
            self.callbacks[what, number] = callback
            return number

        return register

    def _deregister(self, what: str) -> Any:
        return lambda ticket: self.callbacks.pop((what, ticket))

    def registerCloseCallback(self, callback: Any, _data: object) -> None:
        self.close_callback = callback

    def unregisterCloseCallback(self) -> None:
        self.close_callback = None


class Sink:
    def __init__(self) -> None:
        self.told: list[EventFact] = []
        self.ends: list[DriverError] = []

    def happened(self, event: EventFact) -> None:
        self.told.append(event)

    def missed(self) -> None:
        raise AssertionError

    def lost(self, error: DriverError) -> None:
        self.ends.append(error)


def listening(*lacks: int) -> tuple[Raw, Sink, Events]:
    raw, sink = Raw(*lacks), Sink()
    connection: Any = SimpleNamespace(raw=raw, call=lambda method, *args: method(*args))
    events = Events(connection, sink)
    return raw, sink, events


@pytest.mark.parametrize(
    ("event", "extent"),
    [
        (libvirt.VIR_DOMAIN_EVENT_DEFINED, Extent.WHOLE),
        (libvirt.VIR_DOMAIN_EVENT_UNDEFINED, Extent.WHOLE),
        (libvirt.VIR_DOMAIN_EVENT_STARTED, Extent.WHOLE),
        (libvirt.VIR_DOMAIN_EVENT_STOPPED, Extent.STATE),
        (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, Extent.STATE),
        (libvirt.VIR_DOMAIN_EVENT_RESUMED, Extent.STATE),
        (libvirt.VIR_DOMAIN_EVENT_CRASHED, Extent.STATE),
        (99, Extent.STATE),
    ],
)
def test_what_a_guests_life_asks_for(event: int, extent: Extent) -> None:
    raw, sink, events = listening()
    events.start()
    raw.callbacks["domain", LIFECYCLE](None, DOMAIN, event, 0, None)
    assert sink.told == [EventFact(EventKind.GUEST, UUID, extent)]


def test_notes_are_told_and_stamps_are_not() -> None:
    raw, sink, events = listening()
    events.start()
    tell = raw.callbacks["domain", METADATA]
    tell(None, DOMAIN, libvirt.VIR_DOMAIN_METADATA_ELEMENT, "https://example.org/stamp", None)
    assert sink.told == []
    tell(None, DOMAIN, libvirt.VIR_DOMAIN_METADATA_TITLE, None, None)
    assert sink.told == [EventFact(EventKind.GUEST, UUID)]


def test_networks_and_datastores_are_told_by_name() -> None:
    raw, sink, events = listening()
    events.start()
    thing = SimpleNamespace(name=lambda: "images\x07")
    raw.callbacks["storagePool", libvirt.VIR_STORAGE_POOL_EVENT_ID_REFRESH](None, thing, None)
    raw.callbacks["network", libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE](None, thing, 0, 0, None)
    assert [event.kind for event in sink.told] == [EventKind.DATASTORE, EventKind.SWITCH]
    assert all("\x07" not in event.ref for event in sink.told)


def test_an_older_host_tells_what_it_can() -> None:
    raw, _sink, events = listening(METADATA, libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE)
    events.start()
    assert ("domain", LIFECYCLE) in raw.callbacks
    assert ("domain", libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED) in raw.callbacks


def test_a_host_without_events_of_guests_tells_nothing() -> None:
    _raw, _sink, events = listening(LIFECYCLE)
    with pytest.raises(NotSupported):
        events.start()


def test_a_connection_that_closes_ends_the_stream() -> None:
    raw, sink, events = listening()
    events.start()
    raw.close_callback(None, libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE, None)
    assert [type(error) for error in sink.ends] == [Unreachable]


def test_after_closing_no_registration_holds_the_connection() -> None:
    raw, _sink, events = listening()
    events.start()
    assert len(raw.callbacks) > 10
    events.close()
    assert (raw.callbacks, raw.close_callback) == ({}, None)


def test_closing_a_broken_connection_tries_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    raw, _sink, events = listening()
    events.start()
    really = raw.callbacks.pop

    def broken(key: tuple[str, int]) -> None:
        really(key)
        raise libvirt.libvirtError("broken")

    monkeypatch.setattr(raw, "callbacks", SimpleNamespace(pop=broken))
    events.close()
    assert raw.close_callback is None
