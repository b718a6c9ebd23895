"""Migrations: the dialog that asks where to, the page that shows the move, and the list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import zip_longest
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.db.models import Count, Q, Sum
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_safe

from access.models import may, require
from access.roles import Action
from console.jobs import (
    NOTICES,
    cancel_offer,
    format_seconds,
    seconds_between,
    seconds_taken,
    state_label,
    state_look,
)
from console.listing import list_response
from console.power import visible_guest
from console.tables.migrations import MIGRATIONS
from core.errors import Forbidden, Refused
from core.units import format_bytes, format_duration_ms, format_rate, format_span, share
from drivers.types import Severity
from inventory.holds import exclusive_key
from inventory.models import Guest, GuestState
from migrations.models import GuestMigration
from migrations.planner import Target
from migrations.selectors import migration_detail, targets_for
from migrations.selectors import migration_list as visible_migrations
from migrations.services import submit_migration
from operations.errors import AlreadyOpen
from operations.models import Job, JobState, JobStep
from operations.selectors import open_job_for
from operations.services import sentence_busy

# -- the dialog: where to


@dataclass(frozen=True, slots=True)
class Load:
    """What a host has promised to its guests."""

    guests: int = 0
    committed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Option:
    """One host in the dialog: its findings, and its memory before and after the move. Units: percent of the host."""

    target: Target
    guests: int
    is_here: bool
    committed: float | None
    added: float | None
    memory: str
    full: bool

    @property
    def warnings(self) -> int:
        return sum(finding.severity is Severity.WARNING for finding in self.target.findings)

    @property
    def rank(self) -> tuple[bool, bool, int, float]:
        """Possible ones first, then fewest warnings, then most memory left; where the guest is comes last."""
        return (self.is_here, not self.target.possible, self.warnings, (self.committed or 0) + (self.added or 0))


def options_for(guest: Guest, *, user: Any) -> list[Option]:
    """Every host of the guest's datacenter, best first. A constant number of queries."""
    targets = targets_for(guest=guest, user=user)
    loads = host_loads([target.host.pk for target in targets], user=user)
    return sorted((make_option(guest, target, loads) for target in targets), key=lambda option: option.rank)


def host_loads(host_ids: Sequence[UUID], *, user: Any) -> dict[UUID, Load]:
    """Guests and promised memory of each host, in one query."""
    on = Q(state__in=(GuestState.RUNNING, GuestState.PAUSED))
    rows = (
        Guest.objects.restrict(user, Action.VIEW)
        .filter(host__in=host_ids, missing_since=None)
        .order_by()
        .values_list("host_id")
        .annotate(guests=Count("pk"), committed=Sum("memory_bytes", filter=on))
    )
    return {host_id: Load(guests, int(committed or 0)) for host_id, guests, committed in rows}


def make_option(guest: Guest, target: Target, loads: dict[UUID, Load]) -> Option:
    host, load = target.host, loads.get(target.host.pk, Load())
    is_here = host.pk == guest.host_id
    added = 0 if is_here else guest.memory_bytes
    after = load.committed_bytes + added
    words = {"promised": format_bytes(after), "total": format_bytes(host.memory_bytes)}
    memory = _("%(promised)s of %(total)s promised") if is_here else _("%(promised)s of %(total)s after the move")
    before = share(load.committed_bytes, host.memory_bytes)
    return Option(
        target=target,
        guests=load.guests,
        is_here=is_here,
        committed=before,
        added=None if before is None else (share(after, host.memory_bytes) or 0) - before,
        memory=memory % words if host.memory_bytes else _("memory not known"),
        full=bool(host.memory_bytes) and after > host.memory_bytes,
    )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing was started, and the page of the task that stands in the way, if one does."""

    message: str
    url: str = ""


@require_http_methods(["GET", "HEAD", "POST"])
def guest_migrate(request: HttpRequest, guest_id: UUID) -> HttpResponseBase:
    """Ask where to; by POST, migrate."""
    guest = visible_guest(request.user, guest_id)
    require(request.user, Action.MIGRATE)
    if request.method != "POST":
        return _ask(request, guest, chosen=request.GET.get("to", ""))
    answer = _submit(request, guest)
    if isinstance(answer, GuestMigration):
        return redirect("migration_page", answer.pk)
    return _ask(request, guest, chosen=request.POST.get("target_host", ""), refusal=answer)


def _submit(request: HttpRequest, guest: Guest) -> GuestMigration | Refusal:
    """The migration, or why there is none. A second click on the same button gets the first one's."""
    if request.POST.get("from_host") != str(guest.host_id):
        return Refusal(
            _("%(guest)s has moved to %(host)s since you opened this; look again.")
            % {"guest": guest.name, "host": guest.host.name}
        )
    target = _chosen_target(request, guest)
    if target is None:
        return Refusal(_("Choose a host to move the guest to."))
    holder = open_job_for(exclusive=exclusive_key(guest.pk))
    if holder is not None:
        return _answer_busy(holder, target, request.user)
    try:
        return submit_migration(guest=guest, target_host=target.host, live=True, by=request.user)
    except AlreadyOpen as error:  # somebody was faster by a moment
        return _answer_busy(error.job, target, request.user) if error.job else Refusal(error.message)
    except Forbidden:
        raise
    except Refused as error:
        return Refusal(error.message)


def _chosen_target(request: HttpRequest, guest: Guest) -> Target | None:
    """The chosen host, if it is one of those the dialog offers for this guest."""
    wanted = request.POST.get("target_host", "")
    offered = targets_for(guest=guest, user=request.user)
    return next((target for target in offered if str(target.host.pk) == wanted), None)


def _answer_busy(job: Job, target: Target, user: Any) -> GuestMigration | Refusal:
    """One's own migration to the same host is what was asked for; any other task stands in the way."""
    mine = visible_migrations(user=user).filter(pk=job.pk, target_host=target.host).first()
    if mine is not None and job.submitted_by_id == str(user.pk):
        return mine
    return Refusal(sentence_busy(job), reverse("task_page", args=[job.pk]))


def _ask(request: HttpRequest, guest: Guest, *, chosen: str = "", refusal: Refusal | None = None) -> HttpResponseBase:
    options = options_for(guest, user=request.user)
    possible = [str(option.target.host.pk) for option in options if option.target.possible]
    context = {
        "guest": guest,
        "options": options,
        "chosen": chosen if chosen in possible else next(iter(possible), ""),
        "possible": len(possible),
        "refusal": refusal,
        "standing": _standing_findings(options),
    }
    response = render(request, "migrations/guest_migrate.html", context, status=409 if refusal else 200)
    if refusal and _is_dialog(request):
        # The form's answer goes to the page's main area, unless there is something to mend in the dialog.
        response["HX-Retarget"], response["HX-Reselect"], response["HX-Reswap"] = "#dialog", "#act", "innerHTML"
        response["HX-Push-Url"] = "false"
    return response


def _standing_findings(options: Sequence[Option]) -> list[Any]:
    """Errors that stand against every host alike, such as "the guest is not running": said once, above the hosts."""
    others = [option.target.findings for option in options if not option.is_here]
    if not others[1:]:
        return []
    shared = set(others[0]).intersection(*map(set, others[1:]))
    return [finding for finding in others[0] if finding in shared and finding.severity is Severity.ERROR]


def _is_dialog(request: HttpRequest) -> bool:
    """Whether the form stands in a dialog over another page."""
    shown = urlsplit(request.headers.get("HX-Current-URL", "")).path
    return bool(request.headers.get("HX-Request")) and shown != request.path


# -- the page: how it goes


@dataclass(frozen=True, slots=True)
class Stage:
    """One station of the way. `status` is done, current, ahead, skipped, good, bad or attention."""

    state: str
    label: str
    status: str
    took: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the page. `hint` explains what it counts."""

    key: str
    label: str
    value: str
    hint: str = ""


FIRST_PASS = 1  # how fast the guest writes is not known before its end
# What is happening, for who watches.
HINTS = {
    JobState.QUEUED: gettext_lazy("Waits for a free worker."),
    JobState.CHECKING: gettext_lazy("Both hosts are asked whether the guest can move."),
    JobState.PREPARING: gettext_lazy("The target host makes room for the guest."),
    JobState.COPYING: gettext_lazy("The guest runs on while its memory is copied."),
    JobState.SWITCHING: gettext_lazy("The guest stands still for a moment while it changes hosts."),
    JobState.VERIFYING: gettext_lazy("Both hosts are asked where the guest runs."),
    JobState.CANCELLING: gettext_lazy("The copying is being stopped; the guest runs on."),
}
WAY = (
    JobState.QUEUED,
    JobState.CHECKING,
    JobState.PREPARING,
    JobState.COPYING,
    JobState.SWITCHING,
    JobState.VERIFYING,
)
BARS = {JobState.SUCCEEDED: "bar-ok", JobState.FAILED: "bar-bad", JobState.NEEDS_ATTENTION: "bar-warn"}
END_STATUS = {
    JobState.SUCCEEDED: "good",
    JobState.FAILED: "bad",
    JobState.CANCELLED: "skipped",
    JobState.NEEDS_ATTENTION: "attention",
}


def stages_of(job: Job, steps: Sequence[JobStep]) -> list[Stage]:
    """The stations of this migration, with how long each took."""
    took = stage_seconds(steps)
    way = list(WAY)
    if JobState.CANCELLING in took:
        way = [state for state in WAY if state in took] + [JobState.CANCELLING]
    current = JobState(job.state)
    stages = [_stage(state, current, took) for state in way]
    if job.is_open:
        return [*stages, Stage("end", _("end"), "ahead")]
    return [*stages, Stage("end", state_label(job), END_STATUS[current])]


def _stage(state: JobState, current: JobState, took: dict[str, float | None]) -> Stage:
    label = str(state.label)
    if state == current:
        return Stage(state, label, "current")
    if state in took:
        return Stage(state, label, "done", format_seconds(took[state]))
    ahead = current in WAY and WAY.index(state) > WAY.index(current)
    if not ahead and current in (JobState.SUCCEEDED, *WAY):
        return Stage(state, label, "done", _("unseen"))  # over between two readings
    return Stage(state, label, "ahead" if ahead else "skipped")


def stage_seconds(steps: Sequence[JobStep]) -> dict[str, float | None]:
    """How long each state lasted in all; none for the last one. Units: seconds."""
    took: dict[str, float | None] = {}
    for step, following in zip_longest(steps, steps[1:]):
        seconds = seconds_between(step.at, following.at if following else None)
        took[step.state] = None if seconds is None else seconds + (took.get(step.state) or 0.0)
    return took


def figures_of(migration: GuestMigration) -> list[Figure]:
    """The numbers of the page: always the same places, so that nothing jumps."""
    job, shown = migration.job, migration.job.progress
    moved = shown.get("bytes_processed") if job.is_open else migration.bytes_moved
    return [
        Figure("sent", _("Sent"), format_bytes(moved), _("Over the wire so far, pages sent again included.")),
        Figure("left", _("Left"), format_bytes(shown.get("bytes_remaining")), _("Memory not yet on the target.")),
        Figure("total", _("Memory"), format_bytes(shown.get("bytes_total")), _("What the move is measured against.")),
        _rate_figure(migration),
        _dirty_figure(migration),
        Figure(
            "iteration", _("Iteration"), _text(shown.get("iteration")), _("Each pass sends what changed meanwhile.")
        ),
        _left_figure(job, shown),
        _downtime_figure(migration),
    ]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _rate_figure(migration: GuestMigration) -> Figure:
    if migration.job.is_open:
        return Figure("rate", _("Rate"), format_rate(migration.job.progress.get("rate_bytes_per_s")))
    hint = _("What was sent, divided by the time of copying.")
    return Figure("rate", _("Average rate"), format_rate(average_rate(migration.samples)), hint)


def average_rate(samples: Sequence[Sequence[Any]]) -> float | None:
    """Bytes a second over the readings; none when there were too few to tell."""
    known = [point for point in samples if point[1] is not None]
    if not known or known[-1][0] <= known[0][0]:
        return None
    return float((known[-1][1] - known[0][1]) / (known[-1][0] - known[0][0]))


def _dirty_figure(migration: GuestMigration) -> Figure:
    hint = _("How fast the guest changes its memory.")
    if migration.job.is_open:
        shown = migration.job.progress
        rate = shown.get("dirty_rate_bytes_per_s")
        if not rate and (shown.get("iteration") or 0) <= FIRST_PASS:
            return Figure("dirty", _("Dirty rate"), "", _("Measured at the end of the first pass."))
        return Figure("dirty", _("Dirty rate"), format_rate(rate), hint)
    rates = [point[3] for point in migration.samples if point[3] is not None]
    return Figure("dirty", _("Highest dirty rate"), format_rate(max(rates)) if rates else "", hint)


def _left_figure(job: Job, shown: dict[str, Any]) -> Figure:
    if not job.is_open:
        return Figure("eta", _("Total time"), format_seconds(seconds_taken(job)), _("From start to end."))
    seconds = shown.get("seconds_left")
    if (shown.get("iteration") or 0) <= FIRST_PASS:
        hint = _("For the first pass; what the guest changes meanwhile comes on top.")
        return Figure("eta", _("Time left"), format_estimate(seconds, at_least=True), hint)
    hint = _("What is left, at the present rate less the dirty rate.")
    return Figure("eta", _("Time left"), format_estimate(seconds), hint)


def format_estimate(seconds: int | None, *, at_least: bool = False) -> str:
    """An estimate has no tenths. Units: seconds."""
    if seconds is None:
        return ""
    words = _("at least %(span)s") if at_least else _("about %(span)s")
    return words % {"span": format_span(timedelta(seconds=seconds))}


def _downtime_figure(migration: GuestMigration) -> Figure:
    if migration.downtime_ms is not None:
        return Figure("downtime", _("Downtime"), format_duration_ms(migration.downtime_ms), _("Measured."))
    expected = migration.job.progress.get("expected_downtime_ms")
    if migration.job.is_open:
        hint = _("How long the guest will stand still at the end, as the hypervisor expects.")
        return Figure("downtime", _("Expected downtime"), format_duration_ms(expected), hint)
    return Figure("downtime", _("Downtime"), "", _("Not measured."))


def pace_warning(job: Job) -> str:
    """A sentence when copying cannot catch up with the guest, else empty."""
    shown = job.progress
    rate, dirty = shown.get("rate_bytes_per_s"), shown.get("dirty_rate_bytes_per_s")
    copying = job.state == JobState.COPYING and (shown.get("iteration") or 0) > FIRST_PASS
    if not copying or not rate or not dirty or dirty < rate:
        return ""
    return _(
        "At this pace it does not end: the guest changes %(dirty)s, and %(rate)s are copied. Wait for it to become "
        "quieter, or cancel and move it later."
    ) % {"dirty": format_rate(dirty), "rate": format_rate(rate)}


def migration_context(migration: GuestMigration, *, user: Any) -> dict[str, Any]:
    """What the page shows, whole or in parts."""
    job, steps = migration.job, list(migration.job.steps.all())
    ended = not job.is_open
    return {
        "migration": migration,
        "job": job,
        "steps": steps,
        "look": state_look(job),
        "label": state_label(job),
        "sentence": str(HINTS.get(JobState(job.state), "")) if job.is_open else job.message,
        "notice": NOTICES.get(JobState(job.state), ""),
        "stages": stages_of(job, steps),
        "figures": figures_of(migration),
        "percent": job.progress.get("percent", 0),
        "pace_warning": pace_warning(job),
        "elapsed_ms": int(1000 * (seconds_taken(job) or 0)),
        "elapsed": format_seconds(seconds_taken(job)),
        "cancel": cancel_offer(job, user=user),
        "retry_url": _retry_url(migration, user) if ended and job.state != JobState.SUCCEEDED else "",
        "findings": [finding for finding in migration.findings if finding.get("message")],
        "samples": json.dumps(migration.samples),
        "bar_css": BARS.get(JobState(job.state), ""),
    }


def _retry_url(migration: GuestMigration, user: Any) -> str:
    """The dialog again, with the same host chosen: a retry is a new migration."""
    if migration.guest_id is None or not may(user, Action.MIGRATE):
        return ""
    url = reverse("guest_migrate", args=[migration.guest_id])
    return f"{url}?to={migration.target_host_id}" if migration.target_host_id else url


def _find(request: HttpRequest, migration_id: UUID) -> GuestMigration:
    try:
        return migration_detail(user=request.user, migration_id=migration_id)
    except GuestMigration.DoesNotExist:
        raise Http404 from None


@require_safe
def migration_page(request: HttpRequest, migration_id: UUID) -> HttpResponseBase:
    """One migration while it runs, and what came of it."""
    migration = _find(request, migration_id)
    return render(request, "migrations/migration_page.html", migration_context(migration, user=request.user))


@require_safe
def migration_live(request: HttpRequest, migration_id: UUID) -> HttpResponseBase:
    """The parts of the page that move."""
    migration = _find(request, migration_id)
    return render(request, "migrations/_migration_live.html", migration_context(migration, user=request.user))


# -- the list


@require_safe
def migration_list(request: HttpRequest) -> HttpResponseBase:
    """Every migration, newest first."""
    context = {
        "heading": _("Migrations"),
        "empty_icon": "transfer",
        "empty_title": _("No guest was moved yet."),
        "empty_hint": _("Open a running guest and press Migrate."),
    }
    queryset = visible_migrations(user=request.user)
    template = "migrations/migration_list.html"
    return list_response(request, MIGRATIONS, queryset, template=template, context=context, live="tasks")
