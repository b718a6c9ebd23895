"""How values look in a list's cells. Everything that comes from outside is escaped here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from console.ages import Silence
from console.templatetags.guesthouse import age, bar, icon, none, state
from core.units import format_age, format_bytes, format_percent, share

Text = str | Promise

KINDS = frozenset({"guest", "host", "datastore", "switch", "source", "cluster", "datacenter", "folder"})


def page_url(kind: str, pk: object) -> str:
    """The page of an object, or an empty text for a kind without one."""
    return reverse(f"{kind}_page", args=[pk]) if kind in KINDS else ""


def link(kind: str, row: Any) -> SafeString:
    """An object's name, leading to its page; shown in its own writing direction, which never reaches its neighbors."""
    if row is None:
        return none()
    return format_html(
        '<a class="name" dir="auto" href="{}" title="{}">{}</a>', page_url(kind, row.pk), row.name, row.name
    )


def text(value: object) -> SafeString | str:
    return format_html('<span class="name" title="{}">{}</span>', value, value) if value else none()


def mono(value: object) -> SafeString:
    return format_html('<span class="mono">{}</span>', value) if value else none()


def number(value: int | None) -> str | SafeString:
    return str(value) if value is not None else none()


def size(value: int | None) -> str | SafeString:
    return format_bytes(value) if value else none()


def counted(row: Any, name: str) -> int:
    """A number the database added to the row."""
    return int(getattr(row, name))


def yes_no(value: bool) -> str:
    return _("yes") if value else _("no")


def shown_state(code: str, label: Text, silence: Silence | None) -> SafeString:
    """A state; when we cannot see the object now, as the last known one, with the reason on hover."""
    if silence is None:
        return state(code, label)
    hint = silence.reason
    if silence.since:
        hint = _("%(reason)s Last known state, %(age)s.") % {"reason": silence.reason, "age": format_age(silence.since)}
    return state(code, _("last known: %(state)s") % {"state": label}, True, hint)


def load(percent: float | None, stale: bool = False) -> SafeString:
    """A share in percent with its bar; nothing when the figure is not from now."""
    if percent is None or stale:
        return none()
    return format_html(
        '<span class="with-bar">{}<span>{}</span></span>', bar(min(percent, 100.0)), format_percent(percent)
    )


def usage(used: float | None, total: float | None, stale: bool = False) -> SafeString:
    return load(share(used, total), stale)


def seen(moment: datetime | None, silence: Silence | None) -> SafeString:
    return format_html('<span class="{}">{}</span>', "stale" if silence else "", age(moment))


def row_acts(row: Any, *acts: tuple[str, str, str]) -> SafeString:
    """Buttons of a row, each asked about in a dialog: the name of its URL, what it does to %(name)s, its picture."""
    links = ((reverse(url, args=[row.pk]), label % {"name": row.name}, icon(picture)) for url, label, picture in acts)
    return format_html('<span class="row-acts">{}</span>', format_html_join("", _ACT, links))


_ACT = (
    '<a class="btn btn-sm" href="{0}" hx-get="{0}" hx-target="#dialog" hx-select="#act" hx-swap="innerHTML" '
    'hx-push-url="false" aria-label="{1}" title="{1}">{2}</a>'
)
