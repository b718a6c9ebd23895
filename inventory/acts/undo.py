"""The way back from what a task changed, where there is a natural one: settings, media, what a NIC is plugged into."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from access.roles import Action
from core.errors import Conflict
from inventory.acts.devices import plug_of, restore_media, restore_nic
from inventory.acts.pending import stored_settings
from inventory.acts.rules import MEDIA, NIC_CHANGE, SETTINGS, holder_of, reason_for, require_configure
from inventory.acts.settings import edit_guest
from inventory.models import Disk, Guest, Nic
from operations.models import Job, JobState

KINDS = frozenset({SETTINGS, MEDIA, NIC_CHANGE})


def has_undo(job: Job) -> bool:
    """Whether the task changed something that can be set to what it was."""
    return job.kind in KINDS and job.state == JobState.SUCCEEDED


def undo_reason(job: Job, *, user: Any) -> str:
    """Why a task with a way back cannot be undone now by this user; empty when it can."""
    guest = Guest.objects.restrict(user, Action.VIEW).select_related("host__source").filter(pk=job.target_id).first()
    if guest is None:
        return _("The guest is not in the inventory any more.")
    reason = reason_for(guest, job.kind, user=user, holder=holder_of(guest))
    return reason or ("" if _is_as_it_left(job, guest) else _changed_since())


def undo_act(*, job: Job, by: Any) -> Job:
    """Queue setting what a task changed to what it was before.

    Raises: Forbidden; Conflict when there is no way back, or it was changed again since; AlreadyOpen.
    Transaction: its own.
    """
    require_configure(by)
    guest = Guest.objects.select_related("host__source").filter(pk=job.target_id).first() if has_undo(job) else None
    if guest is None:
        raise Conflict(_("What this task did cannot be undone."))
    if holder_of(guest) is None and not _is_as_it_left(job, guest):
        raise Conflict(_changed_since())
    asked = job.parameters
    if job.kind == SETTINGS:
        return edit_guest(guest=guest, changes=asked["before"], by=by)
    if job.kind == MEDIA:
        return restore_media(guest=guest, target=asked["target"], path=asked["before"], by=by)
    return restore_nic(guest=guest, mac=asked["mac"], before=asked["before"], by=by)


def _is_as_it_left(job: Job, guest: Guest) -> bool:
    """Whether what the task changed is still what it made of it, as far as is known."""
    asked = job.parameters
    if job.kind == SETTINGS:
        stored = stored_settings(guest)
        return all(stored[name] == value for name, value in asked["changes"].items())
    if job.kind == MEDIA:
        return Disk.objects.filter(guest=guest, target=asked["target"], source=asked["path"]).exists()
    nic = Nic.objects.filter(guest=guest, mac__iexact=asked["mac"]).first()
    return nic is not None and all(asked.get(name) == value for name, value in plug_of(nic).items())


def _changed_since() -> str:
    return _("It was changed again since, or the guest was not read anew yet.")
