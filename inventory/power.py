"""Power actions: asking for one, and doing it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from access.models import may, require
from access.roles import Action
from core.db import write_transaction
from core.errors import Conflict, Invalid
from drivers.errors import DriverError, Unreachable
from drivers.isolation import RemoteSession
from drivers.types import GuestSighting, PowerAction
from drivers.types import GuestState as SightedState
from hosts.models import Host, SourceState
from hosts.sessions import open_session
from inventory.holds import exclusive_key
from inventory.models import Guest, GuestState, Placement
from inventory.services import place_guest
from operations.errors import CancelRequested
from operations.handle import JobHandle
from operations.models import Job, JobState
from operations.selectors import open_job_for
from operations.services import overrule_job, sentence_busy, submit_job

OpenSession = Callable[..., AbstractContextManager[RemoteSession]]

KIND = "power"
ASK_SECONDS = 10.0
ACT_SECONDS = 30.0
LOOK_SECONDS = 0.5
# A guest's operating system may take its time to end; then it most likely does not listen.
SHUTDOWN_SECONDS = 5 * 60.0
# A copy that says it was migrated away is started only when so many other hosts deny having the guest.
ASK_OTHERS = 50
MIGRATED = "migrated"
# Anything else is done when the call returns; a moment more until every reading says so.
SETTLE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class PowerRule:
    """When an action makes sense, and where it leads.

    `repeatable`: asking once more changes nothing, so whoever takes over just asks. The others would hit whatever the
    guest does by then.
    """

    label: Any
    allowed: frozenset[str]
    goal: SightedState
    done: Any
    repeatable: bool = True
    wait_seconds: float = SETTLE_SECONDS
    overrules_shutdown: bool = False


_ON = frozenset({GuestState.RUNNING, GuestState.PAUSED, GuestState.SUSPENDED, GuestState.CRASHED})
# Of these a person is told what to do instead.
_INSTEAD = {
    (PowerAction.START, GuestState.CRASHED): gettext_lazy("The guest has crashed. Power it off, then start it."),
    (PowerAction.RESUME, GuestState.SUSPENDED): gettext_lazy("The guest is asleep. Wake it or power it off."),
}

RULES: dict[PowerAction, PowerRule] = {
    PowerAction.START: PowerRule(
        label=gettext_lazy("Start"),
        allowed=frozenset({GuestState.OFF}),
        goal=SightedState.RUNNING,
        done=gettext_lazy("The guest runs."),
        repeatable=False,
    ),
    PowerAction.SHUTDOWN: PowerRule(
        label=gettext_lazy("Shut down"),
        allowed=frozenset({GuestState.RUNNING}),
        goal=SightedState.OFF,
        done=gettext_lazy("The guest shut itself down."),
        wait_seconds=SHUTDOWN_SECONDS,
    ),
    PowerAction.RESET: PowerRule(
        label=gettext_lazy("Reset"),
        allowed=frozenset({GuestState.RUNNING}),
        goal=SightedState.RUNNING,
        done=gettext_lazy("The guest was reset."),
        repeatable=False,
        overrules_shutdown=True,
    ),
    PowerAction.OFF: PowerRule(
        label=gettext_lazy("Power off"),
        allowed=_ON,
        goal=SightedState.OFF,
        done=gettext_lazy("The guest is powered off."),
        repeatable=False,
        overrules_shutdown=True,
    ),
    PowerAction.SUSPEND: PowerRule(
        label=gettext_lazy("Suspend"),
        allowed=frozenset({GuestState.RUNNING}),
        goal=SightedState.PAUSED,
        done=gettext_lazy("The guest is paused."),
    ),
    PowerAction.RESUME: PowerRule(
        label=pgettext_lazy("a guest", "Resume"),
        allowed=frozenset({GuestState.PAUSED}),
        goal=SightedState.RUNNING,
        done=gettext_lazy("The guest runs."),
    ),
}


def title(parameters: Mapping[str, Any]) -> str:
    """What a list of tasks shows."""
    return str(RULES[PowerAction(parameters["action"])].label)


# -- asking


@dataclass(frozen=True, slots=True)
class PowerChoice:
    """One action for one guest; `reason` is a sentence why it is not possible now, or empty."""

    action: str
    label: str
    reason: str

    @property
    def possible(self) -> bool:
        return not self.reason


def power_choices(guest: Guest, *, user: Any) -> list[PowerChoice]:
    """Every power action with whether and why not, for buttons. Needs `guest.host.source` loaded; one query."""
    if not may(user, Action.POWER):
        reason = _("Your role does not allow power actions.")
        return [PowerChoice(action.value, str(rule.label), reason) for action, rule in RULES.items()]
    holder = open_job_for(exclusive=exclusive_key(guest.pk))
    return [
        PowerChoice(action.value, str(rule.label), reason_against(guest, action, holder))
        for action, rule in RULES.items()
    ]


def reason_against(guest: Guest, action: PowerAction, holder: Job | None) -> str:
    """Why this cannot be done now, as far as the database knows; empty when it can."""
    rule, source = RULES[action], guest.host.source
    if guest.missing_since is not None:
        return _("The guest was not found at the last read of its host.")
    if source.state == SourceState.PAUSED:
        return _("The source of this guest's host is paused. Resume it first.")
    if guest.state not in rule.allowed:
        instead = _INSTEAD.get((action, GuestState(guest.state)))
        return str(instead or _("The guest is %(state)s.") % {"state": GuestState(guest.state).label})
    if holder is not None and not _may_overrule(rule, holder):
        return sentence_busy(holder)
    return ""


def _may_overrule(rule: PowerRule, holder: Job) -> bool:
    is_shutdown = holder.kind == KIND and holder.parameters.get("action") == PowerAction.SHUTDOWN
    return rule.overrules_shutdown and is_shutdown


def submit_power(*, guest: Guest, action: PowerAction | str, by: Any) -> Job:
    """Queue a power action. `off` and `reset` end an open shutdown that the guest does not follow.

    Raises: Forbidden; Invalid for an unknown action; Conflict, with a sentence, when it makes no sense now;
    AlreadyOpen, naming the open task.
    Transaction: its own.
    """
    if not isinstance(by, str):
        require(by, Action.POWER)
    wanted = _known(action)
    with write_transaction():
        fresh = Guest.objects.select_related("host__source").get(pk=guest.pk)
        holder = open_job_for(exclusive=exclusive_key(guest.pk))
        if holder is not None and _may_overrule(RULES[wanted], holder):
            who = str(getattr(by, "username", "") or by)
            words = {"action": RULES[wanted].label, "who": who}
            overrule_job(job=holder, by=by, message=_("Overruled by %(action)s, asked by %(who)s.") % words)
            holder = None
        if holder is None and (reason := reason_against(fresh, wanted, None)):
            raise Conflict(reason)
        return submit_job(
            kind=KIND,
            target_kind="guest",
            target_id=fresh.pk,
            target_name=fresh.name,
            parameters={"action": wanted.value},
            exclusive=exclusive_key(fresh.pk),
            by=by,
        )


def _known(action: PowerAction | str) -> PowerAction:
    try:
        return PowerAction(action)
    except ValueError:
        names = ", ".join(known.value for known in PowerAction)
        raise Invalid(
            _("There is no such power action; use one of: %(names)s.") % {"names": names}, field="action"
        ) from None


# -- doing


def run(handle: JobHandle) -> None:
    """The runner of the kind `power`."""
    PowerRun(handle).run()


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
        self.last: GuestSighting | None = None

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
        except (Impossible, DriverError) as error:
            self.handle.switch(JobState.FAILED, str(error))

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
            if self.action is PowerAction.START:
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
        """A guest is never started where it was left behind while it runs elsewhere: two copies ruin one disk.

        Raises: Impossible.
        """
        for host in self.hosts_to_ask(sight):
            there = self.word_of(host)
            if there is not None and there.state not in {SightedState.OFF, SightedState.CRASHED}:
                words = {"host": host.name, "state": GuestState(there.state.value).label}
                raise Impossible(_("%(host)s has this guest, too, and there it is %(state)s.") % words)

    def hosts_to_ask(self, sight: GuestSighting) -> list[Host]:
        """Where else it may run: hosts that spoke of it; any of the datacenter once it was migrated away from here."""
        others = Host.objects.select_related("source").exclude(pk=self.host.pk)
        if sight.state_reason != MIGRATED:
            spoke = Placement.objects.filter(guest=self.guest).values("host")
            return list(others.filter(pk__in=spoke))
        found = list(others.filter(datacenter=self.guest.datacenter_id, missing_since=None)[: ASK_OTHERS + 1])
        if len(found) > ASK_OTHERS:
            raise Impossible(
                _("%(host)s says that the guest was migrated away. Start it on the host that has it now.")
                % {"host": self.host.name}
            )
        return found

    def word_of(self, host: Host) -> GuestSighting | None:
        try:
            with self.sessions(host.source, deadline_s=ASK_SECONDS) as session:
                return session.sight_guest(self.guest.uuid)
        except DriverError as error:
            words = {"host": host.name, "reason": error.message}
            raise Impossible(
                _("%(host)s may have this guest and cannot be asked; starting it here could run it twice: %(reason)s")
                % words
            ) from None

    def ask(self, sight: GuestSighting) -> bool:
        """Ask the hypervisor; false when it did not answer in time, so that it may have been taken or not."""
        with self.sessions(self.host.source, deadline_s=ACT_SECONDS) as session:
            self.handle.pause(0)  # a request to cancel is followed until here
            self.handle.note(asked=self.action.value)
            self.handle.require_time()
            try:
                session.power(sight.ref, self.action)
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
        if sight is None and self.last is not None and not self.last.persistent and "asked" in self.handle.checkpoint:
            sight = replace(self.last, state=SightedState.OFF)  # a transient guest ends by vanishing
        if sight is None:
            raise Impossible(_("%(host)s does not know the guest any more.") % {"host": self.host.name})
        self.last = sight
        return sight

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
