"""The list of the audit log's rows."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Q
from django.utils.safestring import SafeString
from django.utils.translation import gettext as now
from django.utils.translation import gettext_lazy as _

from audit.models import AuditRow
from console.tables import cells
from console.templatetags.guesthouse import moment
from core.lists import Column, Filter, ListError, ListSpec, exact_filter, export_column, mapped_filter, text_filter

AREAS = {
    "user": (_("users and sign-in"), Q(action__startswith="user.") | Q(action__startswith="token.")),
    "source": (_("sources"), Q(action__startswith="source")),
    "power": (_("power"), Q(action__startswith="power.")),
    "migration": (_("migrations"), Q(action__startswith="migration.")),
    "export": (_("exports"), Q(action="list.exported")),
}


def day_filter(name: str, label: str, lookup: str, *, next_day: bool = False) -> Filter:
    """Rows from, or until the end of, a day in UTC."""

    def build(value: str) -> Q:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            raise ListError(now("A day is written as 2026-01-31."))
        try:
            day = date.fromisoformat(value) + timedelta(days=int(next_day))
        except (ValueError, OverflowError) as error:
            raise ListError(now("There is no such day.")) from error
        return Q(**{lookup: datetime.combine(day, time(), UTC)})

    return Filter(name, label, build)


def detail_text(row: AuditRow) -> str:
    """The details, short: what a machine wrote, for a person who looks closely."""
    return ", ".join(
        f"{key}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}"
        for key, value in row.detail.items()
        if value not in (None, "", [], {})
    )


def target_cell(row: AuditRow) -> SafeString | str:
    return cells.text(f"{row.target_kind} {row.target_name}".strip())


AUDIT: ListSpec[AuditRow] = ListSpec(
    name="audit",
    columns=(
        Column("at", _("Time"), lambda row: moment(row.at), lambda row: row.at, ("at",)),
        Column("actor", _("Who"), lambda row: cells.text(row.actor_name), lambda row: row.actor_name),
        Column("action", _("Act"), lambda row: cells.mono(row.action), lambda row: row.action),
        Column("target", _("Object"), target_cell, lambda row: row.target_name),
        Column("detail", _("Details"), lambda row: cells.text(detail_text(row)), detail_text, css="optional"),
        export_column("target_kind", _("Kind"), lambda row: row.target_kind),
        export_column("target_id", _("Object's id"), lambda row: row.target_id),
        export_column("actor_id", _("User's id"), lambda row: row.actor_id),
        export_column("request_id", _("Request"), lambda row: row.request_id),
        export_column("id", _("Id"), lambda row: str(row.pk)),
    ),
    filters=(
        mapped_filter("area", _("Area"), AREAS),
        exact_filter("actor", _("Who"), "actor_name"),
        text_filter("action", _("Act"), "action"),
        exact_filter("kind", _("Kind of object"), "target_kind"),
        exact_filter("id", _("Object's id"), "target_id"),
        exact_filter("request", _("Request"), "request_id"),
        day_filter("since", "since", "at__gte"),
        day_filter("until", "until", "at__lt", next_day=True),
    ),
    free_text=("actor_name", "action", "target_name"),
    default_sort="-at",
)
