"""Running one job in a worker: claim it, keep its lease, call its kind's runner, survive what the runner does."""

import logging
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction
from django.utils.translation import gettext as _

from core.db import write_transaction
from operations.errors import HandOver, LeaseLost
from operations.handle import JobHandle
from operations.kinds import kind_of, load_runner, load_unclear_hook
from operations.leases import claim_job, heartbeat, release_job
from operations.models import JobState

log = logging.getLogger(__name__)

# A runner that fails in a way nobody foresaw is tried again, since what it met may pass; then a person must look.
CRASHES_BEFORE_ATTENTION = 3
RETRY_SECONDS = 2.0


def run(job_id: str) -> None:
    """Work on a job unless somebody else does. A message with anything but the id of an open job does nothing."""
    try:
        identifier = UUID(job_id)
    except (ValueError, AttributeError, TypeError):
        log.warning("A message without a task's id was ignored.")
        return
    if heartbeat.stopping.is_set():
        return  # the reconciler sends it again, to another worker
    claimed = claim_job(identifier)
    if claimed is None:
        return
    handle = JobHandle(*claimed)
    with heartbeat.holding(handle):
        _run_claimed(handle)


def _run_claimed(handle: JobHandle) -> None:
    try:
        load_runner(kind_of(handle.job.kind))(handle)
        _require_end(handle)
    except LeaseLost:
        log.info("%s is another worker's now, or has ended.", handle.job.pk)
    except HandOver:
        release_job(handle.job.pk, handle.token)
    except (OperationalError, InterfaceError):
        # Nothing can be written now; the lease runs out and somebody goes on.
        log.exception("The database failed while %s ran.", handle.job.pk)
    except Exception:  # the process boundary: one broken job must not end the worker
        log.exception("%s failed in an unexpected way.", handle.job.pk)
        _record_crash(handle)


def end_unknown(handle: JobHandle) -> None:
    """The runner of a kind that this version does not have."""
    handle.switch(JobState.NEEDS_ATTENTION, _("This version of Guesthouse does not know this kind of task."))


def _require_end(handle: JobHandle) -> None:
    if handle.job.is_open:
        raise RuntimeError(f"the runner of {handle.job.kind} left the job {handle.job.state}")


def _record_crash(handle: JobHandle) -> None:
    crashes = handle.job.crashes + 1
    if crashes < CRASHES_BEFORE_ATTENTION:
        release_job(handle.job.pk, handle.token, retry_after=RETRY_SECONDS, crashes=crashes)
        return
    sentence: Any = _(
        "Guesthouse failed in an unexpected way and does not know how far this went. See the workers' log, and check "
        "the object on its host before you try again."
    )
    try:
        with write_transaction():
            handle.switch(JobState.NEEDS_ATTENTION, sentence, crashes=crashes)
            _tell_kind(handle)
    except LeaseLost:
        log.info("%s is another worker's now, or has ended.", handle.job.pk)


def _tell_kind(handle: JobHandle) -> None:
    hook = load_unclear_hook(kind_of(handle.job.kind))
    if hook is None:
        return
    try:
        with transaction.atomic():
            hook(handle)
    except Exception:  # the process boundary, as above: the job ends all the same
        log.exception("What %s leaves unclear could not be written down.", handle.job.pk)
