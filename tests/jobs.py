"""Jobs in the hands of a stack's workers: whose one is, how it ends, and what people's jobs need before and after."""

from __future__ import annotations

from typing import Any

from access.models import User
from inventory.models import Guest
from operations.models import ENDED, Job
from storage.models import Upload
from storage.uploads import LARGEST_PIECE_BYTES, add_piece, begin_upload
from tests.stack import Stack, wait_until


def worker_of(stack: Stack, job: Job) -> str:
    """The name of the worker that holds the job."""
    pid = int(Job.objects.values_list("owner", flat=True).get(pk=job.pk).split(":")[1])
    return next(name for name in stack.processes if stack.pid(name) == pid)


def taken_over(job: Job) -> bool:
    return job.steps.filter(message__contains="Another worker").exists()


def is_open(job: Job) -> bool:
    return not Job.objects.filter(pk=job.pk, state__in=ENDED).exists()


def wait_for_end(job: Job, seconds: float = 60) -> Job:
    """The job as it ended, well or not."""
    wait_until(lambda: not is_open(job), f"{job.kind} ended", seconds=seconds)
    return Job.objects.get(pk=job.pk)


def end_of(job: Job, *states: str, seconds: float = 180) -> Job:
    """The job when it has ended; in one of these states, by default well."""
    ended = wait_for_end(job, seconds)
    assert ended.state in (states or ("succeeded",)), ended.message
    return ended


def send(content: bytes, *, by: User, name: str = "sent.img") -> Upload:
    """A file, sent piece by piece."""
    upload = begin_upload(name=name, size_bytes=len(content), by=by)
    offset = 0
    while offset < len(content):
        piece = content[offset : offset + LARGEST_PIECE_BYTES]
        offset = add_piece(upload=upload, offset=offset, piece=piece, by=by)
    return upload


def row_of(name: str, state: str, **where: Any) -> Guest:
    """The guest of this name, once it is read as in this state."""
    found = Guest.objects.select_related("host__source").filter(name=name, state=state, missing_since=None, **where)
    return wait_until(found.first, f"{name} is read as {state}")  # type: ignore[no-any-return]
