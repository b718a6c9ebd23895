"""Snapshots of a guest: taking one, going back to one, deleting one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from core.errors import Conflict, Invalid
from inventory.acts.rules import (
    SNAPSHOT_CREATE,
    SNAPSHOT_DELETE,
    SNAPSHOT_REVERT,
    UP,
    checked_notes,
    checked_snapshot_name,
    submit_act,
)
from inventory.models import Guest, GuestDetails
from operations.models import Job

Facts = dict[str, Any]


def snapshots_of(guest: Guest) -> list[Facts]:
    """As they were last read: the facts of `drivers.types.GuestSnapshotFact`."""
    details = GuestDetails.objects.filter(guest=guest).first()
    return list(details.facts.get("snapshots", [])) if details else []


def find_snapshot(guest: Guest, name: str, created_at: str = "") -> Facts | None:
    """The one of this name; with `created_at`, only if it is the one made then."""
    for one in snapshots_of(guest):
        if one["name"] == name and created_at in ("", one.get("created_at", "")):
            return one
    return None


def children_of(guest: Guest, name: str) -> list[str]:
    """The names of all snapshots that descend from this one."""
    everything, found = snapshots_of(guest), [name]
    for parent in found:  # grows while it is walked
        found += [one["name"] for one in everything if one.get("parent") == parent and one["name"] not in found]
    return found[1:]


def has_agent(guest: Guest) -> bool:
    """Whether an agent inside has ever answered."""
    return GuestDetails.objects.filter(guest=guest, agent__isnull=False).exists()


def create_snapshot(
    *, guest: Guest, name: str, notes: str = "", memory: bool = True, quiesce: bool = False, by: Any
) -> Job:
    """Queue taking a snapshot: with the memory of a guest that runs, or of its disks alone.

    Raises: Forbidden; Invalid; Conflict; AlreadyOpen.
    Transaction: its own.
    """

    def make(fresh: Guest) -> Facts:
        asked = {"name": checked_snapshot_name(name), "notes": checked_notes(notes)}
        if find_snapshot(fresh, asked["name"]):
            raise Invalid(_("The guest has a snapshot of this name already; choose another."), field="name")
        runs = fresh.state in UP
        if quiesce and (memory or not runs):
            words = _("Flushing the guest's file systems goes with snapshots of a running guest without its memory.")
            raise Invalid(words, field="quiesce")
        if quiesce and not has_agent(fresh):
            raise Invalid(_("No agent inside the guest answers, which would flush its file systems."), field="quiesce")
        return {**asked, "memory": memory and runs, "quiesce": quiesce}

    return submit_act(guest=guest, kind=SNAPSHOT_CREATE, make=make, by=by)


def revert_snapshot(*, guest: Guest, name: str, created_at: str = "", by: Any) -> Job:
    """Queue going back to a snapshot: what the guest is now is lost.

    Raises: Forbidden; Invalid; Conflict; AlreadyOpen.
    Transaction: its own.
    """
    return submit_act(guest=guest, kind=SNAPSHOT_REVERT, make=lambda fresh: _named(fresh, name, created_at), by=by)


def delete_snapshot(*, guest: Guest, name: str, created_at: str = "", children: bool = False, by: Any) -> Job:
    """Queue deleting a snapshot; with `children` all that descend from it, else these are handed to its parent.

    Raises: Forbidden; Invalid; Conflict; AlreadyOpen.
    Transaction: its own.
    """

    def make(fresh: Guest) -> Facts:
        return {**_named(fresh, name, created_at), "children": children}

    return submit_act(guest=guest, kind=SNAPSHOT_DELETE, make=make, by=by)


def _named(guest: Guest, name: str, created_at: str) -> Facts:
    """Raises: Conflict."""
    found = find_snapshot(guest, name, created_at)
    if found is None:
        raise Conflict(_("The guest has no such snapshot any more; look at its snapshots again."))
    return {"name": found["name"], "created_at": found.get("created_at", "")}


def title(kind: str, parameters: Mapping[str, Any]) -> str:
    words = {"name": parameters.get("name", "?")}
    if kind == SNAPSHOT_REVERT:
        return _("Revert to snapshot %(name)s") % words
    if kind == SNAPSHOT_DELETE:
        everything = _("Delete snapshot %(name)s and its children") % words
        return everything if parameters.get("children") else _("Delete snapshot %(name)s") % words
    return _("Take snapshot %(name)s") % words
