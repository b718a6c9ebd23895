"""The driver contract. Small protocols: a driver implements what it declares in `capabilities`, no more."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

from drivers.events import EventSink
from drivers.types import (
    Capability,
    Endpoint,
    Finding,
    GuestSighting,
    MigrationPlan,
    MigrationProgress,
    PowerAction,
    Snapshot,
    StateReading,
)


class Session(Protocol):
    """One open connection to one source. Every method raises only DriverError."""

    capabilities: frozenset[Capability]

    def snapshot(self) -> Snapshot:
        """Read everything: the full inventory of the source."""

    def read_states(self) -> StateReading:
        """Read state and load in a constant number of round trips a host."""

    def sight_guest(self, guest_uuid: str) -> GuestSighting | None:
        """Say what this source knows of one guest now; None when it does not know it."""

    def is_alive(self) -> bool:
        """Whether the connection still works, without blocking."""

    def is_busy(self) -> bool:
        """Whether something started here still runs by itself, such as a migration, without blocking.

        A busy session is neither closed for idleness nor is its process killed because of another's hang.
        """

    def close(self) -> None:
        """Close; never raises."""


@runtime_checkable
class PowerOps(Protocol):
    def prepare_power(self, guest_ref: str) -> None:
        """Have ready what one call of `power` for this guest needs and takes time, such as a connection of its own.

        The right to act does not last: it is counted from after this. Harmless when no call follows.
        """

    def power(self, guest_ref: str, action: PowerAction, not_after: float = math.inf) -> None:
        """Ask for a power change; returns when the hypervisor took it (a shutdown then takes the guest's own time).

        Works without `prepare_power`, too. `not_after` is as for `start_migration`. A call that lasts must not hold up
        the session's others.

        Raises: Busy while another job of the guest runs, or past `not_after`: nothing was asked; Rejected when the
        guest's state does not allow it.
        """


@runtime_checkable
class MigrationOps(Protocol):
    """Called on the session of the host that has the guest now."""

    def check_migration(self, plan: MigrationPlan) -> tuple[Finding, ...]:
        """Named checks only the hypervisor can answer, just before the start."""

    def start_migration(self, plan: MigrationPlan, stamp: str, not_after: float) -> None:
        """Write the stamp into the guest, then start the move; returns while it runs.

        An attempt is one shot: asked for again while it runs, nothing happens. `not_after`, in seconds of this
        machine's monotonic clock, is when the caller's right to start it ends: look at it last.

        Raises: Busy when the guest carries another attempt's running job, or past `not_after`: nothing was begun and
        no stamp written; Rejected when refused at once, or when the guest already carries this stamp and nothing runs.
        """

    def find_migration(self, guest_uuid: str, stamp: str) -> bool:
        """Whether the attempt with this stamp is under way on this host."""

    def poll_migration(self, guest_uuid: str, stamp: str) -> MigrationProgress:
        """Read the attempt. ENDED says only that nothing runs here any more: ask both hosts for the outcome.

        Asked of the host where the guest arrived, before the stamp is cleared, it tells what the whole move came to,
        the measured downtime too.
        """

    def cancel_migration(self, guest_uuid: str, stamp: str) -> None:
        """Ask to abort. Raises: Rejected when it is too late; NotFound when nothing runs."""

    def clear_stamp(self, guest_uuid: str, stamp: str) -> None:
        """Remove the stamp if it is this one; harmless when it is not there."""


@runtime_checkable
class WatchOps(Protocol):
    """Capability.EVENTS."""

    def watch(self, sink: EventSink) -> None:
        """Tell the sink of every change from now on, until the session is closed or its connection breaks.

        Once for a session. What changed before it returned may be told or not: read once after that.
        """

    def read_guests(self, guest_refs: tuple[str, ...]) -> StateReading:
        """The states of these guests now, without load. One that is not listed is not here."""


class OpenSession(Protocol):
    """A driver's `session.open_session`."""

    def __call__(self, endpoint: Endpoint, /) -> Session: ...
