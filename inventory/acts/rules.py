"""What every act on a guest shares: who may, when it makes sense, and how it is queued."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.utils.translation import gettext as _

from access.models import may, require
from access.roles import Action
from core.db import write_transaction
from core.errors import Conflict, Invalid
from drivers.types import Capability
from hosts.able import unsupported_reason
from hosts.models import SourceState
from inventory.holds import exclusive_key
from inventory.models import Guest, GuestState
from operations.errors import AlreadyOpen
from operations.models import Job
from operations.selectors import open_job_for
from operations.services import sentence_busy, submit_job

UP = frozenset({GuestState.RUNNING, GuestState.PAUSED, GuestState.SUSPENDED, GuestState.CRASHED})

GUEST_CREATE = "guest_create"
SNAPSHOT_CREATE = "snapshot_create"
SNAPSHOT_REVERT = "snapshot_revert"
SNAPSHOT_DELETE = "snapshot_delete"
SETTINGS = "guest_settings"
MEDIA = "guest_media"
DISK_ADD = "disk_add"
DISK_GROW = "disk_grow"
DISK_REMOVE = "disk_remove"
NIC_ADD = "nic_add"
NIC_CHANGE = "nic_change"
NIC_REMOVE = "nic_remove"
CAPABILITIES = {
    SNAPSHOT_CREATE: Capability.SNAPSHOTS,
    SNAPSHOT_REVERT: Capability.SNAPSHOTS,
    SNAPSHOT_DELETE: Capability.SNAPSHOTS,
    SETTINGS: Capability.EDIT,
    MEDIA: Capability.DEVICES,
    DISK_ADD: Capability.DEVICES,
    DISK_GROW: Capability.DEVICES,
    DISK_REMOVE: Capability.DEVICES,
    NIC_ADD: Capability.DEVICES,
    NIC_CHANGE: Capability.DEVICES,
    NIC_REMOVE: Capability.DEVICES,
}
"""The kinds of job, and what a source must be able to do for each."""

Make = Callable[[Guest], dict[str, Any]]


def reason_against(guest: Guest, kind: str, holder: Job | None) -> str:
    """Why this cannot be done to the guest now, as far as the database knows; empty when it can.

    Needs `guest.host.source` loaded.
    """
    source = guest.host.source
    if reason := unsupported_reason(source, CAPABILITIES[kind]):
        return reason
    if guest.missing_since is not None:
        return _("The guest was not found at the last read of its host.")
    if guest.conflict:
        return _("Two hosts run a guest with this identity. Settle that first.")
    if source.state == SourceState.PAUSED:
        return _("The source of this guest's host is paused. Resume it first.")
    return sentence_busy(holder) if holder is not None else ""


def reason_for(guest: Guest, kind: str, *, user: Any, holder: Job | None = None) -> str:
    """Why this user cannot do this now, for a button; `holder` is the guest's open job, see `holder_of`."""
    if not may(user, Action.CONFIGURE):
        return _("Your role does not allow this: %(action)s.") % {"action": Action.CONFIGURE.label}
    return reason_against(guest, kind, holder)


def holder_of(guest: Guest) -> Job | None:
    """The open job that holds the guest."""
    return open_job_for(exclusive=exclusive_key(guest.pk))


def require_configure(by: Any) -> None:
    """Raises: Forbidden unless `by` may, a user or the name of what acts for the server."""
    if not isinstance(by, str):
        require(by, Action.CONFIGURE)


def submit_act(*, guest: Guest, kind: str, make: Make, by: Any) -> Job:
    """Queue an act. `make` gets the guest as it is now, refuses what makes no sense, and returns the job's parameters.

    Raises: Forbidden; Invalid and Conflict, with a sentence; AlreadyOpen, naming the open task.
    Transaction: its own.
    """
    require_configure(by)
    with write_transaction():
        fresh = Guest.objects.select_related("host__source").get(pk=guest.pk)
        holder = holder_of(fresh)
        if holder is not None:
            raise AlreadyOpen(sentence_busy(holder), job=holder)
        if reason := reason_against(fresh, kind, None):
            raise Conflict(reason)
        return submit_job(
            kind=kind,
            target_kind="guest",
            target_id=fresh.pk,
            target_name=fresh.name,
            parameters=make(fresh),
            exclusive=exclusive_key(fresh.pk),
            by=by,
        )


# -- what people type, checked before anything is asked of a host, which checks again

_SNAPSHOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+@-]{0,198}")
_GUEST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+:@-]{0,98}")
LONGEST_TITLE = 255
LONGEST_NOTES = 8_000


def checked_snapshot_name(text: str) -> str:
    """Raises: Invalid."""
    name = text.strip()
    if not _SNAPSHOT_NAME.fullmatch(name):
        words = _("A name begins with a letter or digit and has at most 199 letters, digits, spaces and . _ + @ -")
        raise Invalid(words, field="name")
    return name


def checked_guest_name(text: str) -> str:
    """Raises: Invalid."""
    name = text.strip()
    if not _GUEST_NAME.fullmatch(name):
        words = _("A name begins with a letter or digit and has at most 99 letters, digits, spaces and . _ + : @ -")
        raise Invalid(words, field="name")
    return name


def checked_title(text: str) -> str:
    """Raises: Invalid."""
    title = " ".join(text.split())
    if len(title) > LONGEST_TITLE or not title.isprintable():
        raise Invalid(_("A title is one line of at most 255 characters."), field="title")
    return title


def checked_notes(text: str) -> str:
    """Raises: Invalid."""
    notes = text.replace("\r\n", "\n").strip()
    if len(notes) > LONGEST_NOTES or any(not (one.isprintable() or one in "\n\t") for one in notes):
        raise Invalid(_("Notes are text of at most 8,000 characters."), field="notes")
    return notes


def is_same_act(job: Job | None, kind: str, parameters: dict[str, Any], user: Any) -> bool:
    """The second click of one person is no conflict: what was asked is being done."""
    if job is None or job.kind != kind or job.submitted_by_id != str(getattr(user, "pk", "")):
        return False
    return all(job.parameters.get(name) == value for name, value in parameters.items())
