"""Who works on a job: claim by compare-and-set, renew, lose.

Times are the database's, so that workers on machines with different clocks agree.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.db.models import DateTimeField, ExpressionWrapper, F, Q
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from core.db import write_transaction
from core.events import Change, publish
from operations.models import ENDED, Job, JobState, JobStep

if TYPE_CHECKING:
    from operations.handle import JobHandle

log = logging.getLogger(__name__)

# A dead worker's job has a new owner within 10 s: the rest of its lease, the reconciler's next round (2 s) and the
# message. Four renewals fit into a lease, so that a slow write or two lose nothing.
LEASE_SECONDS: float = getattr(settings, "JOB_LEASE_SECONDS", 6.0)
RENEW_SECONDS = LEASE_SECONDS / 4


def moment(seconds: float) -> "ExpressionWrapper[CombinedExpression]":
    """The database's clock, some seconds from now."""
    return ExpressionWrapper(Now() + timedelta(seconds=seconds), output_field=DateTimeField())


class _Process:
    """This process's name as an owner, made before any thread asks for it; anew in a fork."""

    name = ""


def _name_process() -> None:
    _Process.name = f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"


_name_process()
os.register_at_fork(after_in_child=_name_process)


def owner_name() -> str:
    """Tells this run of this process from every other."""
    return _Process.name


def claim_job(job_id: Any) -> tuple[Job, float] | None:
    """Take an open job that nobody holds; with until when (monotonic) the lease surely lasts. None when it is taken.

    Transaction: its own.
    """
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=Now())
    with write_transaction():
        asked_at = time.monotonic()
        claimed = (
            Job.objects.filter(free, pk=job_id)
            .exclude(state__in=ENDED)
            .update(owner=owner_name(), token=F("token") + 1, lease_until=moment(LEASE_SECONDS))
        )
        if not claimed:
            return None
        job = Job.objects.get(pk=job_id)
        if job.state != JobState.QUEUED:
            _note_take_over(job)
    return job, asked_at + LEASE_SECONDS


def _note_take_over(job: Job) -> None:
    message = _("Another worker goes on from here.")
    JobStep.objects.create(job=job, at=timezone.now(), state=job.state, message=message)
    publish(Change("task", str(job.pk)))


def renew_lease(job_id: Any, token: int, **fields: Any) -> float | None:
    """Renew, and write fields of the row with it.

    Returns until when (monotonic) the lease surely lasts; none when the job is another's now, or was let go.
    """
    held = Job.objects.filter(pk=job_id, token=token, owner=owner_name()).exclude(state__in=ENDED)
    with write_transaction():
        # After the wait for the right to write, which would count against a lease that has not begun.
        asked_at = time.monotonic()
        kept = held.update(lease_until=moment(LEASE_SECONDS), **fields)
    return asked_at + LEASE_SECONDS if kept else None


def release_job(job_id: Any, token: int, *, retry_after: float = 0.0, **fields: Any) -> None:
    """Let go of a job, so that another worker takes it as soon as the reconciler sees it, or after a while."""
    with write_transaction():
        Job.objects.filter(pk=job_id, token=token).exclude(state__in=ENDED).update(
            owner="", lease_until=moment(retry_after) if retry_after else None, sent_at=None, **fields
        )


class Heartbeat:
    """One thread a process renews the leases of every job the process holds, and tells those it lost."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held: set[JobHandle] = set()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self.stopping = threading.Event()

    @contextmanager
    def holding(self, handle: "JobHandle") -> Iterator[None]:
        try:
            with self._guard:
                self._held.add(handle)
                self._ensure_thread()
            if self.stopping.is_set():
                handle.wake()
            yield
        finally:
            with self._guard:
                self._held.discard(handle)

    def stop_work(self) -> None:
        """The worker is about to stop: every runner hands over at its next step."""
        self.stopping.set()
        with self._guard:
            held = tuple(self._held)
        for handle in held:
            handle.wake()

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive() or self._pid != os.getpid():
            thread = threading.Thread(target=self._beat, daemon=True, name="job-leases")
            thread.start()
            self._thread, self._pid = thread, os.getpid()

    def _beat(self) -> None:
        while True:
            time.sleep(RENEW_SECONDS)
            with self._guard:
                held = tuple(self._held)
                if not held:
                    self._thread = None
                    break
            self._renew(held)
        connection.close()

    def _renew(self, held: tuple["JobHandle", ...]) -> None:
        try:
            close_old_connections()
            renew_leases(held)
        except (DatabaseError, InterfaceError):
            # The database is away: leases run out unless it is back in time; then nobody else claims either.
            log.warning("Leases could not be renewed: the database does not answer.")
            connection.close()


def renew_leases(held: Sequence["JobHandle"]) -> None:
    """Renew them all in one transaction, and tell each how that went.

    A row that is just being written by somebody else holds up no other; it is asked for again in the next round.
    """
    rows = Job.objects.filter(pk__in=[handle.job.pk for handle in held], owner=owner_name()).exclude(state__in=ENDED)
    with write_transaction():
        # After the wait for the right to write, as in `renew_lease`.
        asked_at = time.monotonic()
        free = set(rows.select_for_update(skip_locked=True).values_list("pk", "token"))
        kept = {handle for handle in held if (handle.job.pk, handle.token) in free}
        Job.objects.filter(pk__in=[handle.job.pk for handle in kept]).update(lease_until=moment(LEASE_SECONDS))
        known = free if len(kept) == len(held) else set(rows.values_list("pk", "token"))
    for handle in held:
        if handle in kept:
            handle.renewed(asked_at + LEASE_SECONDS)
        elif (handle.job.pk, handle.token) not in known:
            handle.renewed(None)


heartbeat = Heartbeat()
