"""The panel of recent tasks below every page."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from access.models import require
from access.roles import Action
from console.tables.tasks import progress, state_cell, target, task_url
from operations.selectors import job_list, job_title

SHOWN = 12


@require_safe
def recent_tasks(request: HttpRequest) -> HttpResponse:
    """The newest tasks, whoever asked for them."""
    require(request.user, Action.VIEW)
    rows = [
        {
            "job": job,
            "url": task_url(job),
            "title": job_title(job),
            "target": target(job),
            "state": state_cell(job),
            "progress": progress(job),
        }
        for job in job_list(user=request.user)[:SHOWN]
    ]
    return render(request, "console/_recent_tasks.html", {"rows": rows})
