"""Power actions on guests: what each means, when it makes sense, and asking for one. `power_runner` does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, gettext_lazy, pgettext_lazy
from django.utils.translation import gettext as _

from access.models import may, require
from access.roles import Action
from core.db import write_transaction
from core.errors import Conflict, Invalid
from drivers.registry import powerless_reason
from drivers.types import GuestState as SightedState
from drivers.types import PowerAction
from hosts.models import SourceState
from inventory.holds import exclusive_key
from inventory.models import Guest, GuestState
from operations.models import Job
from operations.selectors import open_job_for
from operations.services import overrule_job, sentence_busy, submit_job

KIND = "power"
# A guest's operating system may take its time to end; then it most likely does not listen.
SHUTDOWN_SECONDS = 5 * 60.0
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
    if reason := powerless_reason(source.kind, source.hypervisor, action):
        return gettext(reason)
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
