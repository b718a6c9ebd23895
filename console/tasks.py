"""Tasks: the list, one task, and cancelling it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from access.models import may, require
from access.roles import Action
from console.jobs import (
    MIGRATION,
    NOTICES,
    cancel_offer,
    format_seconds,
    reason_against_cancel,
    seconds_taken,
    state_label,
    state_look,
)
from console.listing import list_response
from console.made import made_parameters
from console.tables.tasks import TASKS, progress_words, target, task_rows, task_url
from core.errors import Refused
from inventory.acts.told import act_parameters
from inventory.acts.undo import has_undo, undo_reason
from operations.errors import CannotCancel
from operations.models import Job, JobState
from operations.selectors import job_list, job_title
from operations.services import request_cancel


@require_safe
def task_list(request: HttpRequest) -> HttpResponseBase:
    """Every task, newest first."""
    context = {
        "heading": _("Tasks"),
        "empty_icon": "list-check",
        "empty_title": _("Nothing was asked yet."),
        "empty_hint": _("Whatever is asked of hosts, guests, storage and networks is listed here."),
    }
    return list_response(request, TASKS, task_rows(user=request.user), context=context)


# -- one task


def task_for(request: HttpRequest, task_id: UUID) -> Job:
    """Raises: Http404."""
    return get_object_or_404(job_list(user=request.user), pk=task_id)


@require_safe
def task_page(request: HttpRequest, task_id: UUID) -> HttpResponseBase:
    """One task: state, progress, parameters and story. A migration has a page of its own."""
    job = task_for(request, task_id)
    if job.kind == MIGRATION:
        return redirect("migration_page", job.pk)
    return render(request, "tasks/task_page.html", task_context(job, user=request.user))


@require_safe
def task_live(request: HttpRequest, task_id: UUID) -> HttpResponseBase:
    """The parts of a task's page that move."""
    job = task_for(request, task_id)
    return render(request, "tasks/_task_live.html", task_context(job, user=request.user))


def task_context(job: Job, *, user: Any) -> dict[str, Any]:
    """What the task's page and its parts show."""
    return {
        "job": job,
        "title": job_title(job),
        "target": target(job),
        "look": state_look(job),
        "label": state_label(job),
        "percent": job.progress.get("percent"),
        "words": progress_words(job) if "percent" in job.progress else "",
        "notice": NOTICES.get(JobState(job.state), ""),
        "elapsed_ms": int(1000 * (seconds_taken(job) or 0)),
        "took": format_seconds(seconds_taken(job)),
        "steps": list(job.steps.all()),
        "parameters": readable_parameters(job),
        "cancel": cancel_offer(job, user=user),
        "undo": undo_offer(job, user=user),
    }


def undo_offer(job: Job, *, user: Any) -> dict[str, Any]:
    """Whether there is an Undo button, and the sentence why it is grey."""
    shown = has_undo(job) and may(user, Action.CONFIGURE)
    return {"shown": shown, "reason": undo_reason(job, user=user) if shown else ""}


def readable_parameters(job: Job) -> list[tuple[str, str]]:
    """What was asked, for a person: ids are left out where a name stands beside them."""
    if told := act_parameters(job) or made_parameters(job):
        return told
    labels = {"action": _("Action"), "target_host_name": _("To host"), "live": _("Live")}
    return [
        (labels.get(name, name), _readable(job, name, value))
        for name, value in job.parameters.items()
        if f"{name}_name" not in job.parameters
    ]


def _readable(job: Job, name: str, value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return job_title(job) if name == "action" else str(value)


# -- cancel


@require_http_methods(["GET", "HEAD", "POST"])
def task_cancel(request: HttpRequest, task_id: UUID) -> HttpResponseBase:
    """Ask whether to cancel; by POST, cancel."""
    job = task_for(request, task_id)
    require(request.user, Action.CANCEL)
    if request.method != "POST":
        return _ask_cancel(request, job)
    try:
        fresh = request_cancel(job=job, by=request.user)
    except CannotCancel as error:
        messages.error(request, error.message)
    except Refused as error:
        messages.error(request, error.message)
        return _ask_cancel(request, job, status=403)
    else:
        messages.success(request, _cancel_sentence(fresh))
    return redirect(task_url(job))


def _ask_cancel(request: HttpRequest, job: Job, status: int = 200) -> HttpResponse:
    context = {
        "job": job,
        "title": job_title(job),
        "task_url": task_url(job),
        "refusal": reason_against_cancel(job) if job.is_open else _("This task has ended already."),
        "consequence": cancel_consequence(job),
    }
    return render(request, "tasks/task_cancel.html", context, status=status)


def cancel_consequence(job: Job) -> str:
    """What cancelling means, where the job stands."""
    if job.state == JobState.QUEUED:
        return _("It has not started: nothing will have happened.")
    if job.kind == MIGRATION:
        return _(
            "%(guest)s goes on running where it is; what was copied so far is thrown away. "
            "If the guest changes hosts before the request arrives, it stays on the new one, and the task says so."
        ) % {"guest": job.target_name}
    return _("Its worker stops it, if that is still possible, and says how it ended.")


def _cancel_sentence(job: Job) -> str:
    names = {"title": job_title(job), "target": job.target_name}
    if job.state == JobState.CANCELLED:
        return _("Cancelled: %(title)s, %(target)s.") % names
    return _("Asked to cancel: %(title)s, %(target)s.") % names
