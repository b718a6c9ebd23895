"""What goes on with a guest, what was just done and can be undone, and what waits for its next start."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from access.models import may
from access.roles import Action
from console.jobs import state_label, state_look
from console.tables.tasks import progress_words, task_url
from inventory.acts.pending import waiting_for_start
from inventory.acts.rules import CAPABILITIES
from inventory.acts.undo import has_undo, undo_reason
from inventory.models import Guest
from operations.models import Job
from operations.selectors import job_title, jobs_of

# So long the way back is offered on the guest's page; later on the task's own.
OFFER_UNDO = timedelta(minutes=10)
# A failure stays in sight for as long, on the page where somebody waits for its end.
SHOW_END = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Shown:
    """A task, for a line."""

    job: Job
    title: str
    url: str
    look: str
    label: str
    percent: float | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class GuestNow:
    """`undo`: that `ended` can be undone by this user."""

    running: Shown | None
    ended: Shown | None
    undo: bool
    waiting: list[tuple[str, str]]  # words and the address of the task that asked for it


def now_of_guest(guest: Guest, *, user: Any) -> GuestNow:
    last = jobs_of(user=user, target_kind="guest", target_id=guest.pk).first()
    waiting = [(one.words, task_url(one.job)) for one in waiting_for_start(guest, user=user)]
    if last is None or last.is_open:
        return GuestNow(_shown(last) if last else None, None, False, waiting)
    undo = _is_young(last, OFFER_UNDO) and _can_undo(last, user)
    show = undo or (last.kind in CAPABILITIES and _is_young(last, SHOW_END))
    return GuestNow(None, _shown(last) if show else None, undo, waiting)


def _can_undo(job: Job, user: Any) -> bool:
    return has_undo(job) and may(user, Action.CONFIGURE) and not undo_reason(job, user=user)


def _is_young(job: Job, age: timedelta) -> bool:
    return job.ended_at is not None and timezone.now() - job.ended_at < age


def _shown(job: Job) -> Shown:
    percent = job.progress.get("percent")
    words = progress_words(job) if percent is not None else ""
    return Shown(job, job_title(job), task_url(job), state_look(job), state_label(job), percent, words)
