"""A guest's settings: its name, title, notes, autostart, memory and virtual CPUs. Any of them in one task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from core.errors import Conflict, Invalid
from hosts.able import fixed_reason
from inventory.acts.pending import stored_settings
from inventory.acts.rules import SETTINGS, UP, checked_guest_name, checked_notes, checked_title, submit_act
from inventory.acts.values import LABELS, Settings, settings_of, value_words
from inventory.models import Guest
from operations.models import Job

LEAST_MEMORY_BYTES = 1 << 20
LARGEST_MEMORY_BYTES = 1 << 46  # 64 TiB
MOST_VCPUS = 4096
# What a host is told in one call with it.
WITH = {"title": "notes", "notes": "title", "most_memory_bytes": "memory_bytes", "most_vcpus": "vcpus"}


def edit_guest(*, guest: Guest, changes: Mapping[str, Any], by: Any) -> Job:
    """Queue setting what `changes` names, of LABELS, to its values. What is so already is left out.

    Raises: Forbidden; Invalid, naming the field; Conflict; AlreadyOpen.
    Transaction: its own.
    """

    def make(fresh: Guest) -> Settings:
        now, before = settings_of(fresh), stored_settings(fresh)
        wanted = {name: _checked(name, value) for name, value in changes.items()}
        changed = {name: value for name, value in wanted.items() if not now[name] == before[name] == value}
        if not changed:
            raise Invalid(_("Nothing was changed."))
        _check_together(fresh, {**before, **changed}, changed)
        kept = {WITH[name] for name in changed if name in WITH} - changed.keys()
        return {
            "changes": changed,
            "before": {name: before[name] for name in changed},
            "with": {name: before[name] for name in kept},
        }

    return submit_act(guest=guest, kind=SETTINGS, make=make, by=by)


def _checked(name: str, value: Any) -> Any:
    """Raises: Invalid."""
    if name == "name":
        return checked_guest_name(value)
    if name == "title":
        return checked_title(value)
    if name == "notes":
        return checked_notes(value)
    if name == "autostart":
        return bool(value)
    if name not in LABELS:
        raise Invalid(_("There is no such setting."), field=name)
    if name.endswith("vcpus"):
        return _in_range(name, value, 1, MOST_VCPUS, _("A guest has between 1 and 4,096 virtual CPUs."))
    words = _("A guest has between 1 MiB and 64 TiB of memory.")
    return _in_range(name, value, LEAST_MEMORY_BYTES, LARGEST_MEMORY_BYTES, words)


def _in_range(name: str, value: int, least: int, most: int, words: str) -> int:
    if not least <= value <= most:
        raise Invalid(words, field=name)
    return value


def _check_together(guest: Guest, wanted: Settings, changed: Settings) -> None:
    """Raises: Invalid, Conflict."""
    for name in LABELS:
        if name in changed and (reason := fixed_reason(guest.host.source, name)):
            raise Conflict(reason)
    for name in ("memory_bytes", "vcpus"):
        if f"most_{name}" in changed and wanted[f"most_{name}"] < wanted[name]:
            raise Invalid(_("The most it may have is at least what it has."), field=f"most_{name}")
    if "name" in changed:
        if guest.state in UP:
            raise Conflict(_("The guest is not off; power it off, then rename it."))
        if guest.snapshot_count:
            raise Conflict(_("The guest has snapshots, which know it by its name; delete them, then rename it."))
    if changed.get("autostart") and not guest.persistent:
        raise Conflict(_("The host forgets this guest when it is powered off, so that it cannot start by itself."))


def title(parameters: Mapping[str, Any]) -> str:
    """Such as "Change memory to 4 GiB, vCPUs to 2": texts that may be long are only named."""
    changes = parameters.get("changes") or {}
    parts = [_part(name, changes[name]) for name in LABELS if name in changes]  # a database may keep another order
    return _("Change %(what)s") % {"what": ", ".join(parts) or "?"}


def _part(name: str, value: Any) -> str:
    label = str(LABELS.get(name, name))
    if name in {"title", "notes"}:
        return label
    return _("%(setting)s to %(value)s") % {"setting": label, "value": value_words(name, value)}
