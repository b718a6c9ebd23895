"""Tags in lists: how they look, the column that shows them, the filter that finds by them, and the list of all tags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from access.models import may
from access.roles import Action
from console.tables import cells
from console.templatetags.guesthouse import none
from core.lists import Column, ListSpec, Text, choice_filter, export_column, text_filter
from labels.filters import tag_filter
from labels.models import Color, Tag, Tagged
from labels.selectors import tags_of

M = TypeVar("M", bound=Model)

SHOWN = 3  # of an object's tags in a row
SHOWN_NARROW = 2  # where a list has no room for more
SHOWN_SHORT = 2  # while one types
TABS: dict[Tagged, str] = {
    Tagged.GUEST: "guests",
    Tagged.HOST: "hosts",
    Tagged.DATASTORE: "datastores",
    Tagged.SWITCH: "switches",
}
LABELS: dict[Tagged, Text] = {
    Tagged.GUEST: _("Guests"),
    Tagged.HOST: _("Hosts"),
    Tagged.DATASTORE: _("Datastores"),
    Tagged.SWITCH: _("Virtual switches"),
}


def tag_url(pk: UUID, kind: Tagged = Tagged.GUEST) -> str:
    """What has this tag, of one kind."""
    return reverse("tag_page", args=[pk]) if kind == Tagged.GUEST else reverse("tag_tab", args=[pk, TABS[kind]])


# -- chips


def chip(tag: Tag, url: str = "", css: str = "tag") -> SafeString:
    """A dot of its color and its name, which says it all; what is too long stands in the title."""
    if not url:
        return format_html(_PLAIN, tag.name, tag.color, tag.name)
    return format_html(_LINK, tag.name, tag.color, tag.name, url, css)


_DOT = '<span class="tag-dot tag-{1}" aria-hidden="true"></span><span class="name" dir="auto">{2}</span>'
_PLAIN = f'<span class="tag" title="{{0}}">{_DOT}</span>'
_LINK = f'<a class="{{4}}" href="{{3}}" title="{{0}}">{_DOT}</a>'


def chips(tags: Sequence[Tag], kind: Tagged, most: int = 0) -> SafeString:
    """An object's tags, each leading to all of its kind that have it; beyond `most` their number, with their names."""
    shown, rest = (tags[:most], tags[most:]) if most else (tags, ())
    return _line([chip(tag, tag_url(tag.pk, kind)) for tag in shown], rest)


def row_chips(tags: Sequence[Tag], kind: Tagged) -> SafeString:
    """As `chips`, of a row in a list, with as many as there is room for on wide screens and on narrow ones."""
    if len(tags) <= SHOWN_NARROW:
        return chips(tags, kind)
    always, wide = tags[:SHOWN_NARROW], tags[SHOWN_NARROW:SHOWN]
    parts = [chip(tag, tag_url(tag.pk, kind)) for tag in always]
    parts += [chip(tag, tag_url(tag.pk, kind), "tag rare") for tag in wide]
    parts += [_more(tags[SHOWN:], "tag-more rare")] if len(tags) > SHOWN else []
    return _joined([*parts, _more(tags[SHOWN_NARROW:], "tag-more crowded")])


def plain_chips(tags: Sequence[Tag], most: int) -> SafeString:
    """As `chips`, within a link of its own."""
    return _line([chip(tag) for tag in tags[:most]], tags[most:])


def _line(shown: list[SafeString], rest: Sequence[Tag]) -> SafeString:
    if not shown:
        return SafeString("")
    return _joined([*shown, _more(rest)] if rest else shown)


def _joined(parts: list[SafeString]) -> SafeString:
    return format_html('<span class="tags">{}</span>', format_html_join("", "{}", ((part,) for part in parts)))


def _more(rest: Sequence[Tag], css: str = "tag-more") -> SafeString:
    names = names_of(rest)
    words = gettext("more: %(names)s") % {"names": names}
    return format_html(
        '<span class="{}" title="{}">+{}<span class="visually-hidden" dir="auto"> {}</span></span>',
        css,
        names,
        len(rest),
        words,
    )


def names_of(tags: Iterable[Tag]) -> str:
    return ", ".join(tag.name for tag in tags)


# -- lists of what has tags


def tagged(spec: ListSpec[M], kind: Tagged, *, user: Any) -> ListSpec[M]:
    """A list with its objects' tags: a column, before those that narrow screens leave out, and a filter."""
    column: Column[M] = Column(
        "tags", _("Tags"), lambda row: row_chips(_tags(row), kind) or none(), lambda row: names_of(_tags(row))
    )
    at = next(number for number, one in enumerate(spec.columns) if one.css or one.export_only)
    return replace(
        spec,
        columns=(*spec.columns[:at], column, *spec.columns[at:]),
        filters=(*spec.filters, tag_filter(kind, user=user)),
        prepare=_loader(spec.prepare, kind, user),
    )


def _tags(row: Any) -> list[Tag]:
    found: list[Tag] = row.tags
    return found


def _loader(prepare: Callable[[list[M]], None] | None, kind: Tagged, user: Any) -> Callable[[list[M]], None]:
    def load(rows: list[M]) -> None:
        if prepare:
            prepare(rows)
        tags = tags_of(kind, [row.pk for row in rows], user=user)
        for row in rows:
            row.tags = tags[row.pk]  # type: ignore[attr-defined]

    return load


# -- the list of tags


def name_cell(tag: Tag) -> SafeString:
    return format_html(_NAME, tag.name, tag.color, tag.name, tag_url(tag.pk))


_NAME = f'<a class="name tag" href="{{3}}" title="{{0}}">{_DOT.replace("name", "tag-name")}</a>'


def _count(kind: Tagged) -> Column[Tag]:
    """How many have it, leading to them."""
    field = f"{kind}_count"

    def cell(tag: Tag) -> SafeString | str:
        number = cells.counted(tag, field)
        return format_html('<a href="{}">{}</a>', tag_url(tag.pk, kind), number) if number else "0"

    return Column(TABS[kind], LABELS[kind], cell, lambda tag: cells.counted(tag, field), (field,), numeric=True)


def acts_cell(tag: Tag) -> SafeString:
    edit = ("tag_edit", gettext("Edit %(name)s"), "edit")
    return cells.row_acts(tag, edit, ("tag_delete", gettext("Delete %(name)s"), "trash"))


_ACTS: Column[Tag] = Column("acts", _("Acts"), acts_cell, lambda _tag: "", page_only=True, css="act-cell optional")


def link_tags(rows: list[Tag]) -> None:
    for row in rows:
        row.page_url = tag_url(row.pk)  # type: ignore[attr-defined]


_TAGS: ListSpec[Tag] = ListSpec(
    name="tag",
    label=_("Tags"),
    columns=(
        Column("name", _("Name"), name_cell, lambda tag: tag.name, ("name_key",)),
        *(_count(kind) for kind in Tagged),
        Column(
            "color",
            _("Color"),
            lambda tag: tag.get_color_display(),
            lambda tag: tag.color,
            ("color", "name_key"),
            css="optional",
        ),
        Column(
            "created",
            _("Created"),
            lambda tag: cells.seen(tag.created, None),
            lambda tag: tag.created,
            ("created",),
            css="optional",
        ),
        export_column("id", _("Id"), lambda tag: str(tag.pk)),
    ),
    filters=(
        text_filter("name", _("Name"), "name"),
        choice_filter("color", _("Color"), "color", Color.choices),
    ),
    free_text=("name",),
    prepare=link_tags,
)


def tag_spec(*, user: Any) -> ListSpec[Tag]:
    """The list for this user, with buttons for who may change tags."""
    return replace(_TAGS, columns=(*_TAGS.columns, _ACTS)) if may(user, Action.SOURCES) else _TAGS
