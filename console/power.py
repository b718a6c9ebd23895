"""What a person may do with a guest: the power menu, the Migrate button, and the acts behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_safe

from access.models import may, require
from access.roles import Action
from core.errors import Forbidden, Refused
from drivers.types import PowerAction
from inventory.acts.rules import SETTINGS, reason_for
from inventory.models import Guest
from inventory.power import KIND, PowerChoice, power_choices, submit_power
from operations.errors import AlreadyOpen
from operations.models import Job

ICONS = {
    PowerAction.START: "player-play",
    PowerAction.SHUTDOWN: "power",
    PowerAction.RESET: "rotate",
    PowerAction.OFF: "plug-connected-x",
    PowerAction.SUSPEND: "player-pause",
    PowerAction.RESUME: "player-play",
}
# What an action that may cost data means, in words: these are confirmed first.
RISKY = {
    PowerAction.RESET: gettext_lazy(
        "Reset is like pressing the reset button: the guest starts again at once. Whatever it has not yet written to "
        "disk is lost, and its file systems may need a check."
    ),
    PowerAction.OFF: gettext_lazy(
        "Power off is like pulling the plug: the guest stops at once. Whatever it has not yet written to disk is lost, "
        "and its file systems may need a check. Shut down asks its operating system to stop by itself."
    ),
}


@dataclass(frozen=True, slots=True)
class PowerItem:
    """One line of the power menu. A risky one leads to a question first."""

    choice: PowerChoice
    icon: str
    url: str
    risky: bool


@dataclass(frozen=True, slots=True)
class GuestActs:
    """The buttons of one guest. `migrate_reason` is the sentence why its button is grey, or empty."""

    power: list[PowerItem]
    power_reason: str
    migrate_url: str
    migrate_reason: str
    edit_reason: str


def guest_acts(guest: Guest, *, user: Any) -> GuestActs:
    """Every button of this guest, whether it can be pressed, and why not. One query; needs `guest.host.source`."""
    refused = _("Your role does not allow this: %(action)s.")
    return GuestActs(
        power=[power_item(guest, choice) for choice in power_choices(guest, user=user)],
        power_reason="" if may(user, Action.POWER) else refused % {"action": Action.POWER.label},
        migrate_url=reverse("guest_migrate", args=[guest.pk]),
        migrate_reason="" if may(user, Action.MIGRATE) else refused % {"action": Action.MIGRATE.label},
        edit_reason=reason_for(guest, SETTINGS, user=user),
    )


def power_item(guest: Guest, choice: PowerChoice) -> PowerItem:
    action = PowerAction(choice.action)
    return PowerItem(choice, ICONS[action], reverse("guest_power", args=[guest.pk, action.value]), action in RISKY)


def visible_guest(user: Any, guest_id: UUID) -> Guest:
    """A guest this user sees, with what buttons need.

    Raises: Http404.
    """
    return get_object_or_404(Guest.objects.restrict(user, Action.VIEW).select_related("host__source"), pk=guest_id)


@require_safe
def guest_actions(request: HttpRequest, guest_id: UUID) -> HttpResponseBase:
    """The buttons of one guest as they are now."""
    return render(request, "console/_guest_actions.html", {"guest": visible_guest(request.user, guest_id)})


@require_http_methods(["GET", "HEAD", "POST"])
def guest_power(request: HttpRequest, guest_id: UUID, action: str) -> HttpResponseBase:
    """Ask whether to do it; by POST, do it."""
    if action not in set(PowerAction):
        raise Http404
    guest = visible_guest(request.user, guest_id)
    require(request.user, Action.POWER)
    wanted = PowerAction(action)
    if request.method != "POST":
        return _ask(request, guest, wanted)
    _submit(request, guest, wanted)
    return redirect(_back(request, guest))


def _submit(request: HttpRequest, guest: Guest, action: PowerAction) -> None:
    try:
        submit_power(guest=guest, action=action, by=request.user)
    except AlreadyOpen as error:
        if not is_same_act(error.job, action, request.user):
            messages.error(request, error.message)
            return
    except Forbidden:
        raise
    except Refused as error:
        messages.error(request, _("%(guest)s: %(reason)s") % {"guest": guest.name, "reason": error.message})
        return
    choice = next(one for one in power_choices(guest, user=request.user) if one.action == action)
    messages.success(
        request, _("%(action)s of %(guest)s was asked for.") % {"action": choice.label, "guest": guest.name}
    )


def is_same_act(job: Job | None, action: PowerAction, user: Any) -> bool:
    """The second click of one person is no conflict: what was asked is being done."""
    if job is None or job.kind != KIND or job.submitted_by_id != str(user.pk):
        return False
    return bool(job.parameters.get("action") == action.value)


def _back(request: HttpRequest, guest: Guest) -> str:
    """Where the button was pressed: the guest's page, or the list that offered it."""
    wanted = request.POST.get("next", "")
    if wanted and url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
        return wanted
    return reverse("guest_page", args=[guest.pk])


def _ask(request: HttpRequest, guest: Guest, action: PowerAction) -> HttpResponse:
    choice = next(one for one in power_choices(guest, user=request.user) if one.action == action)
    context = {
        "guest": guest,
        "choice": choice,
        "item": power_item(guest, choice),
        "consequence": RISKY.get(action, ""),
        "state_label": guest.get_state_display(),
    }
    return render(request, "console/guest_power.html", context)
