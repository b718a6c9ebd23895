"""Doing a power action: ask the hypervisor, then wait for what the guest does. Goes on where another worker stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

from django.utils import timezone
from django.utils.translation import gettext as _

from core.db import write_transaction
from drivers.errors import DriverError, Unreachable
from drivers.isolation import RemoteSession
from drivers.types import GuestSighting, PowerAction
from drivers.types import GuestState as SightedState
from hosts.models import Host
from hosts.sessions import open_session
from hosts.words import sentence
from inventory.models import Guest, GuestState, Placement
from inventory.power import RULES
from inventory.services import place_guest
from operations.errors import CancelRequested
from operations.handle import JobHandle
from operations.models import JobState

OpenSession = Callable[..., AbstractContextManager[RemoteSession]]

ASK_SECONDS = 10.0
ACT_SECONDS = 30.0
LOOK_SECONDS = 0.5
# A copy that says it was migrated away is started only when so many other hosts deny having the guest.
ASK_OTHERS = 50
MIGRATED = "migrated"
# A move stopped the guest here; it may run where it went.
STOPPED_BY_MOVE = frozenset({MIGRATED, "migration", "post-copy", "post-copy failed"})


def run(handle: JobHandle) -> None:
    """The runner of the kind `power`."""
    PowerRun(handle).run()


_DOWN = frozenset({SightedState.OFF, SightedState.CRASHED})


class Impossible(Exception):
    """The action cannot be done; nothing was asked of the hypervisor."""


class PowerRun:
    """One power action in the hands of one worker."""

    def __init__(self, handle: JobHandle, sessions: OpenSession = open_session) -> None:
        self.handle = handle
        self.sessions = sessions
        self.action = PowerAction(handle.parameters["action"])
        self.rule = RULES[self.action]
        self.seen_at: Any = None

    def run(self) -> None:
        if self.handle.state is JobState.CANCELLING:
            self.end_cancelled()
            return
        try:
            if self.handle.state is JobState.QUEUED:
                self.handle.switch(JobState.RUNNING)
            self.load()
            self.act(self.look())
        except CancelRequested:
            self.end_cancelled()
        except Impossible as error:
            self.handle.switch(JobState.FAILED, str(error))
        except DriverError as error:
            self.handle.switch(JobState.FAILED, sentence(error))

    def load(self) -> None:
        guest = Guest.objects.select_related("host__source").filter(pk=UUID(self.handle.job.target_id)).first()
        if guest is None:
            raise Impossible(_("The guest is not in the inventory any more."))
        self.guest: Guest = guest
        self.host: Host = guest.host

    def act(self, sight: GuestSighting) -> None:
        """Ask the hypervisor, unless an earlier worker did or the guest is there already; then wait for the goal."""
        if "asked" in self.handle.checkpoint and not self.rule.repeatable:
            self.wait_uncertain()
            return
        if not self.is_reached(sight) or self.action is PowerAction.RESET:
            self.require_allowed(sight)
            resumes_moved = self.action is PowerAction.RESUME and sight.state_reason in STOPPED_BY_MOVE
            if self.action is PowerAction.START or resumes_moved:
                self.require_nowhere_else(sight)
            if not self.ask(sight):
                self.wait_uncertain()
                return
        late = self.await_goal()
        if late is not None:
            self.end(JobState.FAILED, self.sentence_late(late), late)

    def wait_uncertain(self) -> None:
        """Somebody asked, or died just before: only the state can tell, and for a reset not even that."""
        late = self.look_again() if self.action is PowerAction.RESET else self.await_goal()
        if late is not None:
            self.end_uncertain(late)
        elif self.action is PowerAction.RESET:
            self.handle.switch(JobState.NEEDS_ATTENTION, self.sentence_silent())

    def is_reached(self, sight: GuestSighting) -> bool:
        return sight.state is self.rule.goal

    def require_allowed(self, sight: GuestSighting) -> None:
        if sight.job_active:
            raise Impossible(_("%(host)s is moving or saving the guest. Wait for the end.") % {"host": self.host.name})
        if sight.state.value not in self.rule.allowed:
            label = GuestState(sight.state.value).label
            raise Impossible(_("%(host)s says that the guest is %(state)s.") % {"host": self.host.name, "state": label})

    def require_nowhere_else(self, sight: GuestSighting) -> None:
        """A guest never starts or goes on where it was left behind while it runs elsewhere: two copies ruin one disk.

        Raises: Impossible.
        """
        for host in self.hosts_to_ask(sight):
            there = self.word_of(host)
            if there is not None and there.state not in _DOWN:
                words = {"host": host.name, "state": GuestState(there.state.value).label}
                raise Impossible(_("%(host)s has this guest, too, and there it is %(state)s.") % words)

    def hosts_to_ask(self, sight: GuestSighting) -> list[Host]:
        """Where else it may run: hosts that spoke of it; any of the datacenter once a move stopped it here."""
        others = Host.objects.select_related("source").exclude(pk=self.host.pk)
        if sight.state_reason not in STOPPED_BY_MOVE:
            spoke = Placement.objects.filter(guest=self.guest).values("host")
            return list(others.filter(pk__in=spoke))
        found = list(others.filter(datacenter=self.guest.datacenter_id, missing_since=None)[: ASK_OTHERS + 1])
        if len(found) > ASK_OTHERS:
            raise Impossible(
                _("%(host)s says that a migration stopped the guest. Go on with it on the host that has it now.")
                % {"host": self.host.name}
            )
        return found

    def word_of(self, host: Host) -> GuestSighting | None:
        try:
            with self.sessions(host.source, deadline_s=ASK_SECONDS) as session:
                return session.sight_guest(self.guest.uuid)
        except DriverError as error:
            words = {"host": host.name, "reason": sentence(error)}
            raise Impossible(
                _("%(host)s may have this guest and cannot be asked; going on here could run it twice: %(reason)s")
                % words
            ) from None

    def ask(self, sight: GuestSighting) -> bool:
        """Ask the hypervisor; false when it did not answer in time, so that it may have been taken or not."""
        with self.sessions(self.host.source, deadline_s=ACT_SECONDS) as session:
            # Ahead: a far host takes seconds for it, and the lease that the call carries is counted from the note.
            session.prepare_power(sight.ref)
            self.handle.pause(0)  # a request to cancel is followed until here
            self.handle.note(asked=self.action.value, ref=sight.ref, persistent=sight.persistent)
            self.handle.require_time()
            try:
                session.power(sight.ref, self.action, self.handle.lease_ends)
            except Unreachable:
                return self.rule.repeatable
        return True

    def await_goal(self) -> GuestSighting | None:
        """End the job when the guest is where it should be; else what it was last seen as."""
        started = time.monotonic()
        while True:
            sight = self.look_again()
            if sight is not None and self.is_reached(sight):
                self.end(JobState.SUCCEEDED, str(self.rule.done), sight)
                return None
            waited = time.monotonic() - started
            if waited > self.rule.wait_seconds:
                if sight is None:
                    self.handle.switch(JobState.NEEDS_ATTENTION, self.sentence_silent())
                return sight
            self.handle.progress({"seconds_waited": int(waited)})
            self.handle.pause(LOOK_SECONDS)

    def look_again(self) -> GuestSighting | None:
        """The host's word after it was asked to act; None while it does not answer, which proves nothing."""
        try:
            return self.look()
        except DriverError:
            return None

    def sentence_silent(self) -> str:
        return _("%(host)s does not answer since it was asked, so how this ended is not known.") % {
            "host": self.host.name
        }

    def sentence_late(self, sight: GuestSighting) -> str:
        words = {"state": GuestState(sight.state.value).label, "minutes": int(self.rule.wait_seconds // 60)}
        if self.action is PowerAction.SHUTDOWN:
            return (
                _("The guest was asked to shut down and is still %(state)s after %(minutes)s minutes. Power it off.")
                % words
            )
        return _("The hypervisor took the request, but the guest is %(state)s. Look at its screen.") % words

    def look(self) -> GuestSighting:
        """The host's word now.

        Raises: Impossible when the host does not know the guest; DriverError.
        """
        self.seen_at = timezone.now()
        with self.sessions(self.host.source, deadline_s=ASK_SECONDS) as session:
            sight = session.sight_guest(self.guest.uuid)
        if sight is None and self.handle.checkpoint.get("persistent") is False:
            sight = self.vanished()
        if sight is None:
            raise Impossible(_("%(host)s does not know the guest any more.") % {"host": self.host.name})
        if self.action is not PowerAction.START and sight.state in _DOWN and sight.state_reason == MIGRATED:
            raise Impossible(
                _("%(host)s says that the guest was migrated away. Nothing was done here; see where it is now.")
                % {"host": self.host.name}
            )
        return sight

    def vanished(self) -> GuestSighting:
        """A transient guest that was asked to end: it ends by vanishing."""
        return GuestSighting(
            ref=self.handle.checkpoint["ref"],
            uuid=self.guest.uuid,
            name=self.guest.name,
            state=SightedState.OFF,
            state_reason="",
            persistent=False,
            stamp="",
            job_active=False,
        )

    # -- ends

    def end_uncertain(self, sight: GuestSighting) -> None:
        words = {"action": self.rule.label, "state": GuestState(sight.state.value).label}
        message = _(
            "Whether %(action)s reached the guest cannot be told: the worker or the host failed in that moment. The "
            "guest is %(state)s now. Ask again if that is not what you want."
        )
        self.end(JobState.NEEDS_ATTENTION, message % words, sight)

    def end_cancelled(self) -> None:
        asked = "asked" in self.handle.checkpoint
        late = _("Nobody waits any more; the guest was already asked and may still follow.")
        self.handle.switch(JobState.CANCELLED, late if asked else _("Cancelled before anything was done."))

    def end(self, to: JobState, message: str, sight: GuestSighting) -> None:
        """The end and what was seen of the guest, in one transaction."""
        with write_transaction():
            place_guest(guest=self.guest, host=self.host, ref=sight.ref, state=sight.state, evidence_at=self.seen_at)
            self.handle.switch(to, message)
