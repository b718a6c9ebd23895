"""Power actions on one guest: what each needs, and what libvirt is asked to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from drivers.errors import Busy, Rejected
from drivers.libvirt.connection import Connection
from drivers.libvirt.jobs import has_active_job
from drivers.libvirt.states import state_of
from drivers.types import GuestState, PowerAction
from drivers.words import gettext_noop as _


@dataclass(frozen=True, slots=True)
class _Action:
    needs: frozenset[GuestState]
    ask: Callable[[Any], Callable[..., Any]]
    arguments: tuple[int, ...] = ()


_UP = frozenset({GuestState.RUNNING, GuestState.PAUSED, GuestState.SUSPENDED, GuestState.CRASHED})
_ACTIONS: dict[PowerAction, _Action] = {
    PowerAction.START: _Action(frozenset({GuestState.OFF}), lambda domain: domain.create),
    PowerAction.SHUTDOWN: _Action(frozenset({GuestState.RUNNING}), lambda domain: domain.shutdown),
    PowerAction.RESET: _Action(_UP, lambda domain: domain.reset, (0,)),
    PowerAction.OFF: _Action(_UP, lambda domain: domain.destroy),
    PowerAction.SUSPEND: _Action(frozenset({GuestState.RUNNING}), lambda domain: domain.suspend),
    PowerAction.RESUME: _Action(frozenset({GuestState.PAUSED}), lambda domain: domain.resume),
}
_STATE_SENTENCES = {
    GuestState.RUNNING: _("The guest is already running."),
    GuestState.PAUSED: _("The guest is paused; resume it first."),
    GuestState.SUSPENDED: _("The guest is asleep; wake it or power it off."),
    GuestState.OFF: _("The guest is off; start it first."),
    GuestState.CRASHED: _("The guest has crashed; power it off, then start it."),
    GuestState.UNKNOWN: _("The state of the guest is unknown; refresh, then try again."),
}
_SPECIAL_SENTENCES = {
    (PowerAction.OFF, GuestState.OFF): _("The guest is already off."),
    (PowerAction.SUSPEND, GuestState.PAUSED): _("The guest is already paused."),
    (PowerAction.SHUTDOWN, GuestState.PAUSED): _("A paused guest cannot hear a shutdown; resume it first."),
    (PowerAction.RESUME, GuestState.RUNNING): _("The guest is not paused."),
}


def change_power(connection: Connection, guest_uuid: str, action: PowerAction, not_after: float) -> None:
    """Ask for it, on a connection that nobody else waits for: starting or ending a QEMU takes seconds, and with hanging
    storage much longer.

    Raises: Rejected when the state does not allow it; Busy while the guest migrates or is saved, or past `not_after`.
    """
    domain = connection.call(connection.raw.lookupByUUIDString, guest_uuid)
    wanted = _ACTIONS[action]
    state = state_of(connection.call(domain.state)[0])
    if state not in wanted.needs:
        raise Rejected(_SPECIAL_SENTENCES.get((action, state)) or _STATE_SENTENCES[state])
    # libvirt would let the call wait for the end of a migration, however long.
    if has_active_job(connection, domain):
        raise Busy(_("Another operation of this guest is under way, such as a migration; wait for its end."))
    # Nothing comes between this look and the call: who sleeps here and wakes up late has lost the right to it.
    if time.monotonic() >= not_after:
        raise Busy(_("The host took too long to answer, so that nothing was done. Try again."))
    connection.call(wanted.ask(domain), *wanted.arguments)
