"""What the contract suite runs on: a simulated world, a generated host, libvirt's test driver, real libvirt hosts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from drivers.types import Capability, Endpoint, MigrationPhase, MigrationPlan, MigrationProgress

WAIT_S = 120.0  # only ends a broken test
DEADLINE_S = 60.0
POWER = frozenset({Capability.POWER})
TEST_DRIVER = frozenset(Capability) - {Capability.LIVE_MIGRATION, Capability.DEVICES, Capability.CONTENT}
EVERYTHING = frozenset(Capability)
CONTAINERS = frozenset({Capability.POWER, Capability.EDIT, Capability.STORAGE, Capability.NETWORKS, Capability.EVENTS})


def wait_until(find: Callable[[], Any], what: str) -> Any:
    """Wait for something true and return it."""
    limit = time.monotonic() + WAIT_S
    while not (found := find()):
        assert time.monotonic() < limit, f"{what}: it never came true"
        time.sleep(0.02)
    return found


def soon() -> float:
    """Until when a start is allowed: more than any test needs."""
    return time.monotonic() + WAIT_S


class Session(Protocol):
    """What the tests here use of a session."""

    def poll_migration(self, guest_uuid: str, stamp: str) -> MigrationProgress: ...


@dataclass(frozen=True)
class Movable:
    """Two hosts and a guest that runs on the first. `slow` makes its next moves last seconds, `fast` undoes that."""

    source: Endpoint
    target: Endpoint
    guest_uuid: str
    other_host: Endpoint  # where a guest is that may be switched off
    other_uuid: str
    slow: Callable[[], None]
    fast: Callable[[], None]
    refuse: Callable[[], Endpoint]  # makes the next move be refused at once; returns the target to use
    running_on: Callable[[], list[str]]

    def plan(self, target: Endpoint | None = None) -> MigrationPlan:
        return MigrationPlan(self.guest_uuid, self.guest_uuid, target or self.target)


@dataclass(frozen=True)
class Subject:
    """One thing under test. `power_guest` may be switched as the tests like; it runs at first."""

    name: str
    endpoint: Endpoint
    capabilities: frozenset[Capability]
    power_guest: str
    movable: Movable | None = None
    can_reset: bool = True


def wait_for_end(session: Session, uuid: str, stamp: str) -> list[MigrationProgress]:
    """All readings up to the one that says ended."""
    readings: list[MigrationProgress] = []

    def ended() -> bool:
        readings.append(session.poll_migration(uuid, stamp))
        return readings[-1].phase is MigrationPhase.ENDED

    wait_until(ended, "the end of the move")
    return readings


def wait_for_copying(session: Session, uuid: str, stamp: str) -> MigrationProgress:
    """A reading in the middle of the copy: some bytes are over, most are not."""

    def middle() -> MigrationProgress | None:
        reading = session.poll_migration(uuid, stamp)
        assert reading.phase is not MigrationPhase.ENDED, reading
        return reading if reading.phase is MigrationPhase.COPYING and reading.bytes_processed else None

    found: MigrationProgress = wait_until(middle, "the middle of the copy")
    return found
