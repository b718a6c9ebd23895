"""The list of migrations."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar
from uuid import UUID

from django.db.models import Q
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from console.jobs import format_seconds, seconds_taken
from console.tables import cells
from console.tables.tasks import progress, state_cell, task_url
from console.templatetags.guesthouse import age, none
from core.lists import Column, ListSpec, export_column, mapped_filter, text_filter
from core.units import format_duration_ms
from history.models import GuestMove
from migrations.models import GuestMigration
from operations.models import ENDED, JobState

OPEN = [state.value for state in JobState if state not in ENDED]
# `running` belongs to other kinds of task.
_STATES = {
    "open": (_("open"), Q(job__state__in=OPEN)),
    **{one.value: (one.label, Q(job__state=one.value)) for one in JobState if one is not JobState.RUNNING},
}


def link_migrations(rows: list[GuestMigration]) -> None:
    for migration in rows:
        migration.page_url = task_url(migration.job)  # type: ignore[attr-defined]


def name_link(name: str, page: str, key: UUID | None) -> SafeString:
    """A name as it was then, leading to the object while that is still there."""
    if key is None:
        return format_html('<span class="name" dir="auto">{}</span>', name)
    return format_html('<a href="{}" dir="auto">{}</a>', reverse(page, args=[key]), name)


def guest_cell(migration: GuestMigration) -> SafeString:
    return format_html('<a class="name" href="{}" dir="auto">{}</a>', task_url(migration.job), migration.guest_name)


def submitted_at(migration: GuestMigration) -> datetime:
    moment: datetime = migration.job.submitted_at
    return moment


def took_cell(migration: GuestMigration) -> str | SafeString:
    return format_seconds(seconds_taken(migration.job)) or none()


Moved = TypeVar("Moved", GuestMigration, GuestMove)


def sent_column() -> Column[Moved]:
    return Column(
        "sent",
        _("Sent"),
        lambda row: cells.size(row.bytes_moved),
        lambda row: row.bytes_moved,
        numeric=True,
        css="optional",
    )


def downtime_column() -> Column[Moved]:
    return Column(
        "downtime",
        _("Downtime"),
        lambda row: format_duration_ms(row.downtime_ms) or none(),
        lambda row: row.downtime_ms,
        numeric=True,
    )


MIGRATIONS: ListSpec[GuestMigration] = ListSpec(
    name="migration",
    columns=(
        Column("guest", _("Guest"), guest_cell, lambda m: m.guest_name),
        Column(
            "from",
            _("From"),
            lambda m: name_link(m.source_host_name, "host_page", m.source_host_id),
            lambda m: m.source_host_name,
        ),
        Column(
            "to",
            _("To"),
            lambda m: name_link(m.target_host_name, "host_page", m.target_host_id),
            lambda m: m.target_host_name,
        ),
        Column("state", _("State"), lambda m: state_cell(m.job), lambda m: str(m.job.state)),
        Column("progress", _("Progress"), lambda m: progress(m.job), lambda m: m.job.message),
        sent_column(),
        downtime_column(),
        Column("took", _("Took"), took_cell, lambda m: seconds_taken(m.job), numeric=True),
        Column("by", _("By"), lambda m: cells.text(m.job.submitted_by_name), lambda m: m.job.submitted_by_name),
        Column("submitted", _("Asked"), lambda m: age(submitted_at(m)), submitted_at, ("job__submitted_at",)),
        export_column("id", _("Id"), lambda m: str(m.pk)),
    ),
    filters=(
        mapped_filter("state", _("State"), _STATES),
        text_filter("guest", _("Guest"), "guest_name"),
        text_filter("host", _("Host"), "source_host_name", "target_host_name"),
        text_filter("by", _("By"), "job__submitted_by_name"),
    ),
    free_text=("guest_name", "source_host_name", "target_host_name", "job__submitted_by_name"),
    default_sort="-submitted",
    prepare=link_migrations,
)
