"""The list of tasks: every job, migrations too."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console.jobs import MIGRATION, format_seconds, progress_bar, seconds_taken, state_label, state_look
from console.tables import cells
from console.templatetags.guesthouse import age, none, state
from core.lists import Column, ListSpec, Text, export_column, mapped_filter, text_filter
from core.units import format_bytes, format_percent, format_rate
from inventory.acts import define, rules, volumes
from networks import acts as networks
from operations.models import ENDED, Job, JobState
from operations.selectors import job_list, job_title
from storage import acts as storage


def task_rows(*, user: Any) -> QuerySet[Job]:
    return job_list(user=user)


def task_url(job: Job) -> str:
    """A migration has a page of its own; every other task the common one."""
    return reverse("migration_page" if job.kind == MIGRATION else "task_page", args=[job.pk])


def link_tasks(jobs: list[Job]) -> None:
    for job in jobs:
        job.page_url = task_url(job)  # type: ignore[attr-defined]


def target(job: Job) -> SafeString:
    url = cells.page_url(job.target_kind, job.target_id)
    if not url:
        return format_html('<span class="name" dir="auto">{}</span>', job.target_name)
    return format_html('<a dir="auto" href="{}">{}</a>', url, job.target_name)


def state_cell(job: Job) -> SafeString:
    return state(state_look(job), state_label(job))


def progress(job: Job) -> SafeString:
    """A bar and what it means while the task runs; how it ended afterwards."""
    percent = job.progress.get("percent")
    if not job.is_open or percent is None:
        return format_html('<span class="name" title="{}">{}</span>', job.message, job.message)
    return format_html(
        '<span class="task-progress">{}<span class="tabular">{}</span></span>',
        progress_bar(percent, gettext("Progress")),
        progress_words(job),
    )


def progress_words(job: Job) -> str:
    """Such as "42 %, 1.2 GiB left, 310 MiB/s, dirty 40 MiB/s"."""
    values = job.progress
    words = [format_percent(float(values["percent"]))]
    if values.get("bytes_remaining"):
        words.append(gettext("%(size)s left") % {"size": format_bytes(values["bytes_remaining"])})
    if values.get("rate_bytes_per_s"):
        words.append(format_rate(values["rate_bytes_per_s"]))
    if values.get("dirty_rate_bytes_per_s"):
        words.append(gettext("dirty %(rate)s") % {"rate": format_rate(values["dirty_rate_bytes_per_s"])})
    return ", ".join(words)


def _name_cell(job: Job) -> SafeString:
    return format_html('<a class="name" href="{}">{}</a>', task_url(job), job_title(job))


def _took_cell(job: Job) -> str | SafeString:
    return format_seconds(seconds_taken(job)) or none()


STATES = {
    "open": (_("open"), ~Q(state__in=ENDED)),
    **{one.value: (one.label, Q(state=one.value)) for one in JobState},
}
KIND_LABELS: dict[str, Text] = {
    "power": _("power"),
    MIGRATION: _("migration"),
    "source_test": _("test of a source"),
    "source_batch": _("many sources"),
    rules.SNAPSHOT_CREATE: _("snapshot"),
    rules.SNAPSHOT_REVERT: _("revert"),
    rules.SNAPSHOT_DELETE: _("deletion of a snapshot"),
    rules.SETTINGS: _("settings"),
    rules.MEDIA: _("CD"),
    rules.DISK_ADD: _("added disk"),
    rules.DISK_GROW: _("grown disk"),
    rules.DISK_REMOVE: _("removed disk"),
    rules.NIC_ADD: _("added NIC"),
    rules.NIC_CHANGE: _("changed NIC"),
    rules.NIC_REMOVE: _("removed NIC"),
    rules.GUEST_CREATE: _("new guest"),
    define.GUEST_CLONE: _("clone"),
    define.GUEST_DELETE: _("deleted guest"),
    storage.VOLUME_CREATE: _("new volume"),
    storage.VOLUME_UPLOAD: _("upload"),
    volumes.VOLUME_GROW: _("grown volume"),
    volumes.VOLUME_DELETE: _("deleted volume"),
    storage.DATASTORE_SWITCH: _("switched datastore"),
    networks.NETWORK_CREATE: _("new virtual switch"),
    networks.NETWORK_SWITCH: _("changed virtual switch"),
}
KINDS = {kind: (label, Q(kind=kind)) for kind, label in KIND_LABELS.items()}

TASKS: ListSpec[Job] = ListSpec(
    name="task",
    label=_("Tasks"),
    columns=(
        Column("task", _("Task"), _name_cell, job_title),
        Column("target", _("Target"), target, lambda j: j.target_name),
        Column("state", _("State"), state_cell, lambda j: j.state),
        Column("progress", _("Progress"), progress, lambda j: j.message),
        Column("by", _("By"), lambda j: cells.text(j.submitted_by_name), lambda j: j.submitted_by_name),
        Column("submitted", _("Asked"), lambda j: age(j.submitted_at), lambda j: j.submitted_at, ("submitted_at",)),
        Column("took", _("Took"), _took_cell, seconds_taken, numeric=True, css="optional"),
        export_column("kind", _("Kind"), lambda j: j.kind),
        export_column("started", _("Started"), lambda j: j.started_at),
        export_column("ended", _("Ended"), lambda j: j.ended_at),
        export_column("id", _("Id"), lambda j: str(j.pk)),
    ),
    filters=(
        mapped_filter("state", _("State"), STATES),
        mapped_filter("kind", _("Kind"), KINDS),
        text_filter("target", _("Target"), "target_name"),
        text_filter("by", _("By"), "submitted_by_name"),
    ),
    free_text=("target_name", "message", "submitted_by_name"),
    default_sort="-submitted",
    prepare=link_tasks,
)
