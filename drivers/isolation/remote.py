"""A session as its user sees it: the methods of the contract, each run in a child process under a deadline."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from drivers.errors import Unreachable
from drivers.isolation.process import Child, Late, NotSent
from drivers.isolation.remote_ops import RemoteOperations
from drivers.isolation.wire import METHODS, RELEASE
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

if TYPE_CHECKING:
    from drivers.isolation.pool import SessionPool


class RemoteSession(RemoteOperations):
    """Has every method of Session, PowerOps, MigrationOps and of `drivers.ops`.

    Each takes `deadline_s` to override its session's.

    Raises: Unreachable past a deadline, at once; NotSupported for what the source's driver does not have.
    """

    def __init__(self, pool: SessionPool, endpoint: Endpoint, key: str, deadline_s: float) -> None:
        self._pool = pool
        self._endpoint = endpoint
        self._key = key
        self._deadline_s = deadline_s
        self._child: Child | None = None
        self._broken = False
        self.capabilities: frozenset[Capability] = frozenset()

    def open(self) -> Child:
        """Open the session in a child, or take the one that is open there."""
        self._child, self.capabilities = child, _can = self._pool.hold(self._endpoint, self._key, self._deadline_s)
        self._broken = False
        return child

    def close(self) -> None:
        """Give the session back; it stays open for the next user."""
        child, self._child = self._child, None
        if child is not None and not child.dead:
            child.post(RELEASE, self._key)

    def snapshot(self, *, deadline_s: float | None = None) -> Snapshot:
        return self._call("snapshot", (), deadline_s)  # type: ignore[no-any-return]

    def read_states(self, *, deadline_s: float | None = None) -> StateReading:
        return self._call("read_states", (), deadline_s)  # type: ignore[no-any-return]

    def sight_guest(self, guest_uuid: str, *, deadline_s: float | None = None) -> GuestSighting | None:
        return self._call("sight_guest", (guest_uuid,), deadline_s)  # type: ignore[no-any-return]

    def read_guests(self, guest_refs: tuple[str, ...], *, deadline_s: float | None = None) -> StateReading:
        return self._call("read_guests", (guest_refs,), deadline_s)  # type: ignore[no-any-return]

    def is_alive(self, *, deadline_s: float | None = None) -> bool:
        return self._call("is_alive", (), deadline_s)  # type: ignore[no-any-return]

    def is_busy(self, *, deadline_s: float | None = None) -> bool:
        return self._call("is_busy", (), deadline_s)  # type: ignore[no-any-return]

    def prepare_power(self, guest_ref: str, *, deadline_s: float | None = None) -> None:
        self._call("prepare_power", (guest_ref,), deadline_s)

    def power(
        self, guest_ref: str, action: PowerAction, not_after: float = math.inf, *, deadline_s: float | None = None
    ) -> None:
        self._call("power", (guest_ref, action, not_after), deadline_s)

    def check_migration(self, plan: MigrationPlan, *, deadline_s: float | None = None) -> tuple[Finding, ...]:
        return self._call("check_migration", (plan,), deadline_s)  # type: ignore[no-any-return]

    def start_migration(
        self, plan: MigrationPlan, stamp: str, not_after: float, *, deadline_s: float | None = None
    ) -> None:
        self._call("start_migration", (plan, stamp, not_after), deadline_s)

    def find_migration(self, guest_uuid: str, stamp: str, *, deadline_s: float | None = None) -> bool:
        return self._call("find_migration", (guest_uuid, stamp), deadline_s)  # type: ignore[no-any-return]

    def poll_migration(self, guest_uuid: str, stamp: str, *, deadline_s: float | None = None) -> MigrationProgress:
        return self._call("poll_migration", (guest_uuid, stamp), deadline_s)  # type: ignore[no-any-return]

    def cancel_migration(self, guest_uuid: str, stamp: str, *, deadline_s: float | None = None) -> None:
        self._call("cancel_migration", (guest_uuid, stamp), deadline_s)

    def clear_stamp(self, guest_uuid: str, stamp: str, *, deadline_s: float | None = None) -> None:
        self._call("clear_stamp", (guest_uuid, stamp), deadline_s)

    def _call(self, op: str, args: tuple[object, ...], deadline_s: float | None) -> Any:
        limit = self._deadline_s if deadline_s is None else deadline_s
        while True:
            child = self._ensure_child()
            try:
                return child.call(op, self._key, args, METHODS[op].result, limit)
            except NotSent:
                continue  # the child was taken out of service meanwhile; opening anew has its own end
            except Late:
                raise self._pool.give_up(child, self._key, self._endpoint, limit) from None
            except Unreachable:
                self._broken = True
                raise

    def _ensure_child(self) -> Child:
        """Our child, with the session open in it.

        After a lost connection it is opened anew; when another source's hang has closed our child to new calls, we go
        on in a fresh one.
        """
        if self._child is not None and self._child.accepting and not self._broken:
            return self._child
        self.close()
        return self.open()
