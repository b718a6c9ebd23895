"""Events of one libvirt connection: one registration for each kind of event, for every object of the host.

The callbacks run in the event loop's thread: they note what changed and ask nothing.
Source: https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainEventID
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import libvirt
from msgspec.structs import replace

from drivers.errors import DriverError, NotFound, NotSupported, Rejected, Unreachable
from drivers.events import EventFact, EventKind, EventSink, Extent
from drivers.libvirt.connection import Connection
from drivers.libvirt.parse.common import LONGEST_NAME, clean_uuid
from drivers.libvirt.parse.guest import state_fact
from drivers.libvirt.raw import RawGuest
from drivers.libvirt.tasks import known_uuid
from drivers.libvirt.text import clean
from drivers.types import StateReading
from drivers.words import gettext_noop as _

# Beyond this one call for all guests of the host is cheaper than two for each.
MOST_ONE_BY_ONE = 16
NO_WAIT = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT

# After these a guest is made of something else: it came or left, or has other displays and consoles than before.
_WHOLE = frozenset(
    {
        libvirt.VIR_DOMAIN_EVENT_DEFINED,
        libvirt.VIR_DOMAIN_EVENT_UNDEFINED,
        libvirt.VIR_DOMAIN_EVENT_STARTED,
    }
)
_CHANGES = (
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
    libvirt.VIR_DOMAIN_EVENT_ID_DISK_CHANGE,
    libvirt.VIR_DOMAIN_EVENT_ID_TRAY_CHANGE,
    libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE,
    libvirt.VIR_DOMAIN_EVENT_ID_TUNABLE,
    libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2,
)
# A move's end shows at its source in this one, and nowhere else when the guest stays there.
_STATE_ONLY = (libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR, libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED)
_NOTES = (libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, libvirt.VIR_DOMAIN_METADATA_TITLE)
_BROKEN = _("The connection to the host was lost; it is opened again.")


class Events:
    """The registrations of one connection. As long as one stands, libvirt keeps the connection open: close them."""

    def __init__(self, connection: Connection, sink: EventSink) -> None:
        self._connection = connection
        self._sink = sink
        self._undo: list[Callable[[], Any]] = []

    def start(self) -> None:
        """Raises: NotSupported where the driver tells nothing of guests; DriverError."""
        raw = self._connection.raw
        with suppress(NotSupported):
            self._connection.call(raw.registerCloseCallback, self._on_close, None)
            self._undo.append(raw.unregisterCloseCallback)
        self._guests(libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle)
        with suppress(NotSupported, Rejected):
            self._guests(libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, self._on_metadata)
        for number in _CHANGES:
            self._optional(number, Extent.WHOLE)
        for number in _STATE_ONLY:
            self._optional(number, Extent.STATE)
        self._others()

    def _guests(self, number: int, callback: Callable[..., None]) -> None:
        raw = self._connection.raw
        self._add(raw.domainEventRegisterAny, raw.domainEventDeregisterAny, number, callback)

    def _optional(self, number: int, extent: Extent) -> None:
        def changed(_connection: Any, domain: Any, *_details: Any) -> None:
            self._tell_guest(domain, extent)

        with suppress(NotSupported, Rejected):  # an older host knows fewer
            self._guests(number, changed)

    def _others(self) -> None:
        raw, lifecycle = self._connection.raw, libvirt.VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE
        refresh = libvirt.VIR_STORAGE_POOL_EVENT_ID_REFRESH
        networks = (raw.networkEventRegisterAny, raw.networkEventDeregisterAny)
        pools = (raw.storagePoolEventRegisterAny, raw.storagePoolEventDeregisterAny)
        devices = (raw.nodeDeviceEventRegisterAny, raw.nodeDeviceEventDeregisterAny)
        for (register, deregister), number, kind in (
            (networks, libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE, EventKind.SWITCH),
            (pools, lifecycle, EventKind.DATASTORE),
            (pools, refresh, EventKind.DATASTORE),
            (devices, libvirt.VIR_NODE_DEVICE_EVENT_ID_LIFECYCLE, EventKind.HOST),
        ):
            with suppress(NotSupported, Rejected):
                self._add(register, deregister, number, self._teller(kind))

    def _add(self, register: Any, deregister: Any, number: int, callback: Callable[..., None]) -> None:
        ticket = self._connection.call(register, None, number, callback, None)
        self._undo.append(lambda: deregister(ticket))

    def _teller(self, kind: EventKind) -> Callable[..., None]:
        def changed(_connection: Any, thing: Any, *_details: Any) -> None:
            ref = "" if kind is EventKind.HOST else clean(str(thing.name()), LONGEST_NAME)
            self._sink.happened(EventFact(kind, ref))

        return changed

    def _on_lifecycle(self, _connection: Any, domain: Any, event: int, _detail: int, _data: object) -> None:
        self._tell_guest(domain, Extent.WHOLE if event in _WHOLE else Extent.STATE)

    def _on_metadata(self, _connection: Any, domain: Any, kind: int, _namespace: str, _data: object) -> None:
        if kind in _NOTES:  # elements are others' business, and the stamps of our own moves
            self._tell_guest(domain, Extent.WHOLE)

    def _tell_guest(self, domain: Any, extent: Extent) -> None:
        self._sink.happened(EventFact(EventKind.GUEST, clean_uuid(domain.UUIDString()), extent))

    def _on_close(self, _connection: Any, _reason: int, _data: object) -> None:
        self._sink.lost(Unreachable(_BROKEN))

    def close(self) -> None:
        """Never raises."""
        while self._undo:
            with suppress(libvirt.libvirtError, DriverError):
                self._undo.pop()()


class WatchCalls:
    """WatchOps of a libvirt session."""

    _connection: Connection
    _events: Events | None = None

    def _ref(self) -> str:
        raise NotImplementedError

    def watch(self, sink: EventSink) -> None:
        self._events = Events(self._connection, sink)
        try:
            self._events.start()
        except BaseException:
            self._close_events()
            raise

    def _close_events(self) -> None:
        if self._events is not None:
            self._events.close()

    def read_guests(self, guest_refs: tuple[str, ...]) -> StateReading:
        started_at, wanted, host_ref = datetime.now(UTC), set(guest_refs), self._ref()
        found = self._each(wanted) if len(wanted) <= MOST_ONE_BY_ONE else self._all()
        facts = (state_fact(guest, host_ref) for guest in found)
        guests = tuple(replace(fact, load=None) for fact in facts if fact.ref in wanted)
        return StateReading(started_at, complete=False, guests=guests, hosts=())

    def _each(self, refs: set[str]) -> list[RawGuest]:
        call, found = self._connection.call, []
        for ref in sorted(refs):
            with suppress(NotFound):
                domain = call(self._connection.raw.lookupByUUIDString, known_uuid(ref))
                found.append(_raw(ref, domain, *call(domain.state)))
        return found

    def _all(self) -> list[RawGuest]:
        raw, call = self._connection.raw, self._connection.call
        try:
            records = call(raw.getAllDomainStats, libvirt.VIR_DOMAIN_STATS_STATE, NO_WAIT)
        except NotSupported:  # Xen's and LXC's drivers
            return self._each({str(domain.UUIDString()) for domain in call(raw.listAllDomains, 0)})
        return [RawGuest(uuid=domain.UUIDString(), name=domain.name(), stats=stats) for domain, stats in records]


def _raw(uuid: str, domain: Any, state: int, reason: int) -> RawGuest:
    return RawGuest(uuid=uuid, name=domain.name(), stats={"state.state": state, "state.reason": reason})
