"""A guest's settings as they are, and in words."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.units import format_bytes
from inventory.models import Guest, GuestDetails

LABELS = {
    "name": gettext_lazy("Name"),
    "title": gettext_lazy("Title"),
    "notes": gettext_lazy("Notes"),
    "autostart": gettext_lazy("Autostart"),
    "memory_bytes": gettext_lazy("Memory"),
    "most_memory_bytes": gettext_lazy("Most memory"),
    "vcpus": gettext_lazy("vCPUs"),
    "most_vcpus": gettext_lazy("Most vCPUs"),
}
Settings = dict[str, Any]


def settings_of(guest: Guest) -> Settings:
    """As they were last read, by name."""
    details = GuestDetails.objects.filter(guest=guest).first()
    facts = details.facts if details else {}
    return {
        "name": guest.name,
        "title": guest.title,
        "notes": guest.notes,
        "autostart": guest.autostart,
        "memory_bytes": guest.memory_bytes,
        "most_memory_bytes": max(facts.get("most_memory_bytes") or 0, guest.memory_bytes),
        "vcpus": guest.vcpus,
        "most_vcpus": max(facts.get("most_vcpus") or 0, guest.vcpus),
    }


def value_words(name: str, value: Any) -> str:
    """A value as a person reads it."""
    if name.endswith("memory_bytes"):
        return format_bytes(value)
    if isinstance(value, bool):
        return _("on") if value else _("off")
    return str(value)
