"""The list of moves: every time that a guest was found on another host, whoever moved it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from access.roles import Action
from console.tables.migrations import downtime_column, name_link, sent_column
from console.templatetags.guesthouse import age
from core.lists import Column, ListSpec, export_column, mapped_filter, text_filter
from history.models import GuestMove, How
from history.selectors import move_list
from hosts.models import Host
from inventory.models import Guest


def move_rows(*, user: Any) -> QuerySet[GuestMove]:
    """With `has_guest`, `has_from_host` and `has_to_host`: whether these are still there for this user."""
    guests, hosts = Guest.objects.restrict(user, Action.VIEW), Host.objects.restrict(user, Action.VIEW)
    return move_list(user=user).annotate(
        has_guest=Exists(guests.filter(pk=OuterRef("guest_id"))),
        has_from_host=Exists(hosts.filter(pk=OuterRef("from_host_id"))),
        has_to_host=Exists(hosts.filter(pk=OuterRef("to_host_id"))),
    )


_HOW = {
    "here": (gettext_lazy("by a task here"), Q(how=How.MIGRATION)),
    "elsewhere": (gettext_lazy("by somebody else"), ~Q(how=How.MIGRATION)),
}


def _there(move: GuestMove, what: str) -> UUID | None:
    """The id, if the object is still there. Needs a row of `move_rows`."""
    return getattr(move, f"{what}_id") if getattr(move, f"has_{what}") else None


def how_words(move: GuestMove) -> str:
    """By whom, and how it became known."""
    return {
        How.MIGRATION.value: _("by a task here"),
        How.EVENT.value: _("by somebody else; the hosts told of it"),
    }.get(move.how, _("by somebody else; a read found it there"))


def how_cell(move: GuestMove) -> SafeString | str:
    if move.migration_id is None:
        return format_html('<span class="name">{}</span>', how_words(move))
    url = reverse("migration_page", args=[move.migration_id])
    return format_html('<a class="name" href="{}">{}</a>', url, how_words(move))


MOVES: ListSpec[GuestMove] = ListSpec(
    name="move",
    columns=(
        Column("at", gettext_lazy("Moved"), lambda m: age(m.at), lambda m: m.at, ("at",)),
        Column(
            "guest",
            gettext_lazy("Guest"),
            lambda m: name_link(m.guest_name, "guest_page", _there(m, "guest")),
            lambda m: m.guest_name,
        ),
        Column(
            "from",
            gettext_lazy("From"),
            lambda m: name_link(m.from_host_name, "host_page", _there(m, "from_host")),
            lambda m: m.from_host_name,
        ),
        Column(
            "to",
            gettext_lazy("To"),
            lambda m: name_link(m.to_host_name, "host_page", _there(m, "to_host")),
            lambda m: m.to_host_name,
        ),
        Column("how", gettext_lazy("How"), how_cell, how_words),
        sent_column(),
        downtime_column(),
        export_column("guest_id", gettext_lazy("Guest's id"), lambda m: str(m.guest_id)),
    ),
    filters=(
        mapped_filter("how", gettext_lazy("How"), _HOW),
        text_filter("guest", gettext_lazy("Guest"), "guest_name"),
        text_filter("host", gettext_lazy("Host"), "from_host_name", "to_host_name"),
    ),
    free_text=("guest_name", "from_host_name", "to_host_name"),
    default_sort="-at",
)
