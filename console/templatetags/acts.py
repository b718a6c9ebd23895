"""Buttons of objects, for templates: `{% load acts %}`."""

from typing import Any

from django import template

from console.guest_now import GuestNow, now_of_guest
from console.jobs import progress_bar as draw_progress
from console.power import GuestActs, guest_acts
from inventory.models import Guest

register = template.Library()


@register.simple_tag(takes_context=True)
def acts_of(context: dict[str, Any], guest: Guest) -> GuestActs:
    """What this page's user may do with a guest. Needs `guest.host.source` loaded; one query."""
    return guest_acts(guest, user=context["request"].user)


@register.simple_tag(takes_context=True)
def now_of(context: dict[str, Any], guest: Guest) -> GuestNow:
    """What goes on with a guest. Two queries; three more while something waits for its next start."""
    return now_of_guest(guest, user=context["request"].user)


@register.simple_tag
def progress_bar(percent: float | None, label: str, css: str = "") -> str:
    """How far a task is."""
    return draw_progress(percent or 0, label, css)
