"""Folders of guests: made, renamed, moved, deleted, and which guests are in them. None of it reaches a hypervisor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from access.models import require
from access.roles import Action
from audit.services import record
from core.db import write_transaction
from core.errors import Conflict, Invalid
from core.events import Change, publish
from core.models import count_of
from hosts.models import Datacenter
from hosts.organization import lock_place
from hosts.validation import checked_name
from inventory.models import Folder, FolderEntry, Guest

MOST_GUESTS = 1000
MOST_FOLDERS = 2000  # of one datacenter: people look through them
DEEPEST = 10
MOST_NAMED = 100


def folder_list(*, user: Any) -> QuerySet[Folder]:
    """With datacenter and `guest_count`, the guests directly in it."""
    guests = Guest.objects.restrict(user, Action.VIEW).filter(missing_since=None)
    rows = Folder.objects.restrict(user, Action.VIEW).select_related("datacenter", "parent")
    return rows.annotate(guest_count=count_of(guests, "folder_entry__folder"))


def folder_of(guest: Guest, *, user: Any) -> Folder | None:
    return Folder.objects.restrict(user, Action.VIEW).filter(entries__guest=guest).first()


def create_folder(*, datacenter: Datacenter, parent: Folder | None, name: str, by: Any) -> Folder:
    """A folder without guests, directly in the datacenter or in another folder of it.

    Raises: Forbidden; Invalid for a name that a folder beside it has; Conflict when either is gone or is full.
    """
    require(by, Action.SOURCES)
    row = Folder(name=checked_name(name))
    with write_transaction():
        row.datacenter = lock_place(datacenter)
        row.parent = _locked(parent) if parent else None
        if row.parent and row.parent.datacenter_id != row.datacenter_id:
            raise Invalid(_("That folder is in another datacenter."), field="parent")
        _require_room(row)
        _save(row, force_insert=True)
        _record("folder.created", row, by=by, what="added", inside=str(row.parent or row.datacenter))
    return row


def rename_folder(*, folder: Folder, name: str, by: Any) -> Folder:
    """Raises: Forbidden; Invalid for a name that a folder beside it has; Conflict when it is gone."""
    require(by, Action.SOURCES)
    new = checked_name(name)
    with write_transaction():
        row = _locked(folder)
        before, row.name = row.name, new
        if before != new:
            _save(row, update_fields=["name"])
            _record("folder.renamed", row, by=by, before=before)
    return row


def delete_folder(*, folder: Folder, by: Any) -> None:
    """Its guests go to the folder above, or directly to the datacenter. One that is gone already is no error.

    Raises: Forbidden; Conflict while there are folders in it.
    """
    require(by, Action.SOURCES)
    with write_transaction():
        row = Folder.objects.select_for_update(of=("self",)).filter(pk=folder.pk).first()
        if row is None:
            return
        inner = Folder.objects.filter(parent=row).first()
        if inner is not None:
            raise Conflict(
                _("%(name)s is not empty: the folder %(inner)s is in it. Delete that first.")
                % {"name": row.name, "inner": inner.name}
            )
        entries = FolderEntry.objects.filter(folder=row)
        guests = entries.count()
        if row.parent_id:
            entries.update(folder=row.parent_id)
        else:
            entries.delete()
        _record("folder.deleted", row, by=by, what="removed", guests=guests)
        row.delete()


def assign_guests(*, guests: Iterable[UUID], folder: Folder, by: Any) -> list[Guest]:
    """Put guests into a folder, out of whichever they were in; those that moved.

    Raises: Forbidden; Invalid for guests of another datacenter; Conflict when a guest or the folder is gone.
    """
    require(by, Action.SOURCES)
    wanted = _wanted(guests)
    try:
        with write_transaction():
            return _assign(wanted, _locked(folder), by=by)
    except IntegrityError as error:  # guests are not locked here: a read of a host must not wait for a person
        raise _guest_gone() from error


def _assign(wanted: list[UUID], row: Folder, *, by: Any) -> list[Guest]:
    found = _found(wanted, by=by)
    _require_same_datacenter(row, found)
    there = set(FolderEntry.objects.filter(folder=row, guest__in=wanted).values_list("guest_id", flat=True))
    moved = [guest for guest in found if guest.pk not in there]
    entries = [FolderEntry(guest=guest, folder=row) for guest in moved]
    FolderEntry.objects.bulk_create(
        entries, update_conflicts=True, unique_fields=["guest"], update_fields=["folder"], batch_size=200
    )
    if moved:
        _record("folder.guests_assigned", row, by=by, **_named(moved))
    return moved


def release_guests(*, guests: Iterable[UUID], folder: Folder, by: Any) -> list[Guest]:
    """Take guests out of a folder; they stay in the datacenter. One that is in another by now stays there.

    Raises: Forbidden; Conflict when a guest or the folder is gone.
    """
    require(by, Action.SOURCES)
    wanted = _wanted(guests)
    with write_transaction():
        row = _locked(folder)
        found = {guest.pk: guest for guest in _found(wanted, by=by)}
        entries = FolderEntry.objects.filter(folder=row, guest__in=wanted)
        moved = [found[pk] for pk in entries.values_list("guest_id", flat=True)]
        entries.delete()
        if moved:
            _record("folder.guests_released", row, by=by, **_named(moved))
    return moved


def _wanted(guests: Iterable[UUID]) -> list[UUID]:
    wanted = sorted(set(guests))
    if not wanted:
        raise Invalid(_("Choose at least one guest."), field="guests")
    if len(wanted) > MOST_GUESTS:
        raise Invalid(_("Choose at most %(n)d guests at once.") % {"n": MOST_GUESTS}, field="guests")
    return wanted


def _locked(folder: Folder) -> Folder:
    """Nobody deletes it before the transaction ends. Raises: Conflict."""
    row = Folder.objects.select_for_update(of=("self",), no_key=True).filter(pk=folder.pk).first()
    if row is None:
        raise Conflict(_("%(name)s is gone; somebody deleted it.") % {"name": folder.name})
    return row


def _found(wanted: list[UUID], *, by: Any) -> list[Guest]:
    """Raises: Conflict."""
    found = list(Guest.objects.restrict(by, Action.SOURCES).filter(pk__in=wanted).order_by("pk"))
    if len(found) < len(wanted):
        raise _guest_gone()
    return found


def _guest_gone() -> Conflict:
    return Conflict(_("A guest that you chose is gone; look at the list again."))


def _require_same_datacenter(folder: Folder, guests: list[Guest]) -> None:
    far = [guest.name for guest in guests if guest.datacenter_id != folder.datacenter_id]
    if far:
        raise Invalid(
            _("%(guest)s is in another datacenter than the folder %(folder)s.")
            % {"guest": far[0], "folder": folder.name},
            field="guests",
        )


def _require_room(row: Folder) -> None:
    """Raises: Conflict."""
    if Folder.objects.filter(datacenter=row.datacenter).count() >= MOST_FOLDERS:
        raise Conflict(_("A datacenter has at most %(n)d folders.") % {"n": MOST_FOLDERS})
    if len(path_of(row)) > DEEPEST:
        raise Conflict(_("Folders lie at most %(n)d deep.") % {"n": DEEPEST})


def path_of(folder: Folder) -> list[Folder]:
    """From the outermost folder to this one."""
    path = [folder]
    while path[0].parent is not None and len(path) <= DEEPEST:
        path.insert(0, path[0].parent)
    return path


def _save(row: Folder, **how: Any) -> None:
    """Raises: Invalid when a folder beside it has this name."""
    try:
        row.save(**how)
    except IntegrityError as error:
        raise Invalid(_("There is already a folder named %(name)s here.") % {"name": row.name}, field="name") from error


def _named(guests: list[Guest]) -> dict[str, Any]:
    return {"number": len(guests), "guests": [guest.name for guest in guests[:MOST_NAMED]]}


def _record(action: str, row: Folder, *, by: Any, what: str = "changed", **detail: Any) -> None:
    record(action=action, by=by, target_kind="folder", target_id=row.pk, target_name=row.name, **detail)
    publish(Change("folder", str(row.pk), what))
