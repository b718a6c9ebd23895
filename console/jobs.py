"""How every page shows a job: its state, how long it took, and whether it can be cancelled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from access.models import may
from access.roles import Action
from operations.kinds import kind_of
from operations.models import Job, JobState
from operations.states import OnCancel

MIGRATION = "migration"
# How the sentence of an end is shown.
NOTICES = {
    JobState.SUCCEEDED: "success",
    JobState.FAILED: "error",
    JobState.NEEDS_ATTENTION: "warning",
    JobState.CANCELLED: "info",
}
MINUTE = 60  # seconds, and of an hour
BUSY_LOOK = "working"  # any open state: shown as busy, since "running" is how a guest looks


@dataclass(frozen=True, slots=True)
class CancelOffer:
    """A Cancel button: whether it is shown, and why it cannot be pressed now."""

    shown: bool
    reason: str = ""


def progress_bar(percent: float, label: str, css: str = "") -> SafeString:
    """Drawn as SVG: inline styles are forbidden by our content security policy."""
    return format_html(
        '<span class="bar bar-plain {2}" role="progressbar" aria-valuemin="0" aria-valuemax="100" '
        'aria-valuenow="{0}" aria-label="{1}"><svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        '<rect width="{0}" height="4"/></svg></span>',
        f"{percent:.0f}",
        label,
        css,
    )


def state_look(job: Job) -> str:
    """The code of the state's icon and color."""
    return BUSY_LOOK if job.is_open and job.state != JobState.QUEUED else str(job.state)


def state_label(job: Job) -> str:
    return str(JobState(job.state).label)


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """Never below zero, even when a clock was set back. Units: seconds."""
    if start is None or end is None:
        return None
    return max(0.0, (end - start).total_seconds())


def seconds_taken(job: Job) -> float | None:
    """From start to end, or until now. Units: seconds."""
    return seconds_between(job.started_at, job.ended_at or timezone.now())


def format_seconds(seconds: float | None) -> str:
    """A length of time as a stopwatch shows it: 0.4 s, 12.3 s, 2 min 05 s, 1 h 02 min. `migration.js` does the same."""
    if seconds is None:
        return ""
    if round(seconds, 1) < MINUTE:
        return _("%(n).1f s") % {"n": seconds}
    minutes, rest = divmod(round(seconds), MINUTE)
    if minutes < MINUTE:
        return _("%(m)d min %(s)02d s") % {"m": minutes, "s": rest}
    return _("%(h)d h %(m)02d min") % {"h": minutes // MINUTE, "m": minutes % MINUTE}


def cancel_offer(job: Job, *, user: Any) -> CancelOffer:
    """Whether this user sees a Cancel button now, and the sentence why it is grey."""
    if not job.is_open or not may(user, Action.VIEW):
        return CancelOffer(shown=False)
    if not may(user, Action.CANCEL):
        label = Action.CANCEL.label
        return CancelOffer(True, _("Your role does not allow this: %(action)s.") % {"action": label})
    return CancelOffer(True, reason_against_cancel(job))


def reason_against_cancel(job: Job) -> str:
    """Why an open job cannot be cancelled where it stands; empty when it can."""
    answer = kind_of(job.kind).machine.answer_cancel(job.state)
    if answer is OnCancel.TOO_LATE:
        return _("Too late to cancel: the guest is already changing hosts. Wait for the end.")
    if answer is OnCancel.ALREADY:
        return _("Cancel was asked by %(who)s.") % {"who": job.cancel_requested_by or "?"}
    return ""
