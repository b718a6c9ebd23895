"""The list of a datastore's volumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from access.models import may
from access.roles import Action
from console.tables import cells
from console.templatetags.guesthouse import bar, none
from core.lists import Column, ListSpec, Text, exact_filter, export_column, text_filter
from core.models import by_name
from core.units import format_bytes, share
from inventory.usage import Usage, usage_of
from storage.models import Datastore, Volume

GUESTS_SHOWN = 3
# The driver's own words; a format stands as it is.
KINDS: dict[str, Text] = {
    "file": _("file"),
    "block": _("block device"),
    "dir": _("directory"),
    "network": _("network image"),
    "netdir": _("network directory"),
    "ploop": "ploop",
}


def kind_of(volume: Volume) -> str:
    return str(KINDS.get(volume.kind, volume.kind))


def _usage(volume: Volume) -> Usage:
    found: Usage = volume.usage  # type: ignore[attr-defined]
    return found


def allocated_cell(volume: Volume) -> SafeString:
    """What it takes, and of how much; nothing of a volume that could not be read."""
    if not volume.kind:
        return none()
    percent = share(volume.allocated_bytes, volume.capacity_bytes)
    drawn = bar(percent, gettext("Allocated"), "bar-plain") if percent is not None else ""
    return format_html('<span class="with-bar">{}<span>{}</span></span>', drawn, format_bytes(volume.allocated_bytes))


def users_cell(volume: Volume) -> SafeString:
    """The guests that have it as a disk, and whether other volumes are built upon it."""
    usage = _usage(volume)
    parts = [cells.link("guest", guest) for guest in usage.guests[:GUESTS_SHOWN]]
    more = len(usage.guests) - len(parts)
    if more > 0:
        parts.append(format_html("{}", ngettext("%(n)d more", "%(n)d more", more) % {"n": more}))
    if usage.base_of:
        words = ngettext("base of %(n)d volume", "base of %(n)d volumes", usage.base_of) % {"n": usage.base_of}
        parts.append(format_html('<span class="muted">{}</span>', words))
    return format_html_join(", ", "{}", ((part,) for part in parts)) if parts else none()


def acts_cell(volume: Volume) -> SafeString:
    """What can be done to it, each asked about in a dialog; nothing to a directory, which is no disk."""
    if volume.is_directory:
        return none()
    grow = ("volume_grow", gettext("Grow %(name)s"), "plus")
    return cells.row_acts(volume, grow, ("volume_delete", gettext("Delete %(name)s"), "trash"))


ACTS: Column[Volume] = Column("acts", _("Acts"), acts_cell, lambda _volume: "", page_only=True, css="act-cell")

_VOLUMES: ListSpec[Volume] = ListSpec(
    name="volume",
    label=_("Volumes"),
    columns=(
        Column("name", _("Name"), lambda v: cells.text(v.name), lambda v: v.name, (by_name(),)),
        Column("kind", _("Kind"), kind_of, kind_of, ("kind", by_name())),
        Column("format", _("Format"), lambda v: cells.text(v.format), lambda v: v.format, ("format", by_name())),
        Column(
            "capacity",
            _("Capacity"),
            lambda v: cells.size(v.capacity_bytes),
            lambda v: v.capacity_bytes,
            ("capacity_bytes",),
            numeric=True,
        ),
        Column(
            "allocated",
            _("Allocated"),
            allocated_cell,
            lambda v: v.allocated_bytes,
            ("allocated_bytes",),
            numeric=True,
        ),
        Column("guests", _("Used by"), users_cell, lambda v: ", ".join(guest.name for guest in _usage(v).guests)),
        Column("path", _("Path"), lambda v: cells.mono(v.path), lambda v: v.path, css="optional"),
        export_column("base_of", _("Base of"), lambda v: _usage(v).base_of),
        export_column("backing", _("Built upon"), lambda v: v.backing),
        export_column("id", _("Id"), lambda v: str(v.pk)),
    ),
    filters=(
        text_filter("name", _("Name"), "name"),
        exact_filter("kind", _("Kind"), "kind"),
        exact_filter("format", _("Format"), "format"),
        text_filter("path", _("Path"), "path"),
        text_filter("backing", _("Built upon"), "backing"),
    ),
    free_text=("name", "path"),
)


def volume_spec(datastore: Datastore, *, user: Any) -> ListSpec[Volume]:
    """The list for this user, who sees which guests use them."""
    columns = _VOLUMES.columns
    if may(user, Action.PROVISION):
        path = next(number for number, column in enumerate(columns) if column.name == "path")
        columns = (*columns[:path], ACTS, *columns[path:])
    return replace(_VOLUMES, columns=columns, prepare=_usage_loader(datastore, user))


def _usage_loader(datastore: Datastore, user: Any) -> Callable[[list[Volume]], None]:
    def load(volumes: list[Volume]) -> None:
        usage = usage_of(volumes, datastore, user=user)
        for volume in volumes:
            volume.usage = usage[volume.pk]  # type: ignore[attr-defined]

    return load
