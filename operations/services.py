"""Writing jobs: submit, cancel, and the one function that changes a job's state."""

from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from access.models import require
from access.roles import Action
from audit.services import record
from core.db import write_transaction
from core.events import Change, publish
from core.queue import OPERATIONS, enqueue
from operations.errors import AlreadyOpen, CancelRequested, CannotCancel, LeaseLost
from operations.kinds import kind_of
from operations.models import ENDED, Job, JobState, JobStep
from operations.selectors import job_title, open_job_for
from operations.states import OnCancel, require_change

SYSTEM = "system"
RUN_TASK = "operations.run_job"


def submit_job(
    *,
    kind: str,
    target_kind: str,
    target_id: Any,
    target_name: str,
    parameters: dict[str, Any],
    exclusive: str,
    by: Any,
) -> Job:
    """Queue a job. The caller has checked that `by`, a user or the name of what acts for the server, may do this.

    `exclusive` names what only one open job may hold, such as `guest:<id>`; empty for none. However often the same
    button is pressed at once, one job comes of it.

    Raises: AlreadyOpen, naming the open task.
    Transaction: its own, or joins the caller's.
    """
    now = timezone.now()
    job = Job(
        kind=kind,
        target_kind=target_kind,
        target_id=str(target_id),
        target_name=target_name[:255],
        exclusive=exclusive,
        parameters=parameters,
        submitted_by_id=str(getattr(by, "pk", "") or ""),
        submitted_by_name=str(getattr(by, "username", "") or by),
        submitted_at=now,
        sent_at=now,
    )
    step = JobStep(job=job, at=now, state=JobState.QUEUED)
    with write_transaction():
        _insert(job)
        step.save(force_insert=True)
        _record(job, "submitted", by=by, parameters=parameters)
        enqueue(RUN_TASK, str(job.pk), queue=OPERATIONS)
        publish(Change("task", str(job.pk), "added"))
    return job


def _insert(job: Job) -> None:
    _require_free(job)
    try:
        with transaction.atomic():
            job.save(force_insert=True)
    except IntegrityError:
        _require_free(job)  # somebody was faster by a moment
        raise


def _require_free(job: Job) -> None:
    holder = open_job_for(exclusive=job.exclusive) if job.exclusive else None
    if holder is not None:
        raise AlreadyOpen(sentence_busy(holder), job=holder)


def sentence_busy(holder: Job) -> str:
    """Says which open task stands in the way."""
    return _(
        "%(target)s already has an open task: %(title)s (%(state)s), asked by %(who)s. Wait for it to end or cancel it."
    ) % {
        "target": holder.target_name,
        "title": job_title(holder),
        "state": JobState(holder.state).label,
        "who": holder.submitted_by_name,
    }


def request_cancel(*, job: Job, by: Any) -> Job:
    """Ask an open job to stop. Before its start it ends at once; later its worker stops it and says how that ended.

    Raises: Forbidden; CannotCancel, with a sentence, once it is too late.
    """
    if not isinstance(by, str):
        require(by, Action.CANCEL)
    with write_transaction():
        fresh = Job.objects.select_for_update().get(pk=job.pk)
        answer = kind_of(fresh.kind).machine.answer_cancel(fresh.state)
        if answer is OnCancel.ALREADY:
            return fresh
        _require_cancellable(fresh, answer)
        who = str(getattr(by, "username", "") or by)
        fresh.cancel_requested_at = timezone.now()
        fresh.cancel_requested_by = who
        fresh.save(update_fields=["cancel_requested_at", "cancel_requested_by"])
        _record(fresh, "cancel_requested", by=by)
        to = JobState.CANCELLED if answer is OnCancel.AT_ONCE else JobState.CANCELLING
        _apply(fresh, to, _("Cancel asked by %(who)s.") % {"who": who}, by=by)
    return fresh


def _require_cancellable(job: Job, answer: OnCancel) -> None:
    if answer is OnCancel.TOO_LATE:
        raise CannotCancel(
            _("It is too late to cancel: %(target)s is already changing hosts. Wait for the end.")
            % {"target": job.target_name}
        )
    if answer is OnCancel.ENDED:
        raise CannotCancel(_("This task has ended already: %(state)s.") % {"state": JobState(job.state).label})


def overrule_job(*, job: Job, by: Any, message: str) -> None:
    """End an open job because a stronger one takes its place; its worker can write nothing any more.

    Transaction: call it inside the one that submits the stronger job.
    """
    fresh = Job.objects.select_for_update().get(pk=job.pk)
    if fresh.is_open:
        _apply(fresh, JobState.CANCELLED, message, by=by)


def change_state(*, job_id: Any, token: int, to: JobState, message: str, fields: dict[str, Any]) -> Job:
    """Change the state of the job a worker holds: row, step, audit row and event together.

    Raises: LeaseLost when the token is not the row's any more; CancelRequested when a person asked to stop and `to`
    would go on; ForbiddenChange.
    Transaction: its own, or joins the caller's, so that what the change means is written with it.
    """
    with write_transaction():
        job = Job.objects.select_for_update().filter(pk=job_id).first()
        if job is None or job.token != token or not job.is_open:
            raise LeaseLost
        if job.state == JobState.CANCELLING and not kind_of(job.kind).machine.allows(job.state, to):
            raise CancelRequested
        for name, value in fields.items():
            setattr(job, name, value)
        _apply(job, to, message, by=SYSTEM)
    return job


def add_step(*, job_id: Any, token: int, message: str) -> None:
    """Add a line to the story of the job a worker holds; its state stays.

    Raises: LeaseLost when the token is not the row's any more.
    Transaction: its own, or joins the caller's.
    """
    with write_transaction():
        job = Job.objects.select_for_update().filter(pk=job_id).first()
        if job is None or job.token != token or not job.is_open:
            raise LeaseLost
        _add_step(job, message)
        publish(Change("task", str(job.pk)))


def _apply(job: Job, to: JobState, message: str, *, by: Any) -> None:
    require_change(kind_of(job.kind).machine, job.state, to)
    now = timezone.now()
    if job.state == JobState.QUEUED and to not in ENDED:
        job.started_at = now
    job.state = to
    job.message = message
    if to in ENDED:
        _close(job, now)
    job.save(force_update=True)
    _add_step(job, message)
    if to in ENDED:
        _record(job, str(to), by=by, outcome=message)
    publish(Change("task", str(job.pk)))


def _add_step(job: Job, message: str) -> None:
    """Never before the one it follows, even when the clock was set back."""
    now, last = timezone.now(), job.steps.order_by("-at").values_list("at", flat=True).first()
    at = max(now, last + timedelta(microseconds=1)) if last else now
    JobStep.objects.create(job=job, at=at, state=job.state, message=message)


def _close(job: Job, now: Any) -> None:
    job.ended_at = now
    job.owner = ""
    job.lease_until = None
    job.token += 1  # whoever still works on it can write nothing any more


def _record(job: Job, act: str, *, by: Any, **detail: Any) -> None:
    record(
        action=f"{job.kind}.{act}",
        by=by,
        target_kind=job.target_kind,
        target_id=job.target_id,
        target_name=job.target_name,
        job=str(job.pk),
        submitted_by=job.submitted_by_name,
        **detail,
    )
