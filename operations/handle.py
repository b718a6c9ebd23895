"""What a runner holds: one claimed job. Every write says which token it holds."""

import threading
import time
from collections.abc import Callable
from typing import Any

from core.db import write_transaction
from core.events import Change, publish
from operations.errors import CancelRequested, HandOver, LeaseLost
from operations.leases import heartbeat, renew_lease
from operations.models import ENDED, Job, JobState
from operations.services import add_step, change_state

# Twice a second looks alive on a page and is nothing for a database.
PROGRESS_SECONDS = 0.5


class JobHandle:
    """A job claimed by this worker. Any method may raise LeaseLost or HandOver: let them pass."""

    def __init__(self, job: Job, lease_ends: float) -> None:
        self.job = job
        self.token = job.token
        self._lease_ends = lease_ends
        self._wake = threading.Event()
        self._lost = False
        self._written_at = 0.0

    @property
    def state(self) -> JobState:
        return JobState(self.job.state)

    @property
    def lease_ends(self) -> float:
        """Until when (monotonic) the job is surely this worker's, unless it is renewed meanwhile."""
        return self._lease_ends

    @property
    def parameters(self) -> dict[str, Any]:
        return self.job.parameters  # type: ignore[no-any-return]

    @property
    def checkpoint(self) -> dict[str, Any]:
        """What was noted by this or an earlier worker; see `note`."""
        return self.job.checkpoint  # type: ignore[no-any-return]

    def switch(self, to: JobState, message: str = "", **fields: Any) -> None:
        """Change the state, with the step, the audit row and the event.

        Raises: CancelRequested when a person asked to stop and `to` would go on.
        Transaction: joins the caller's, so that what the change means is written with it.
        """
        self.job = change_state(job_id=self.job.pk, token=self.token, to=to, message=message, fields=fields)

    def say(self, message: str) -> None:
        """Add a line to the job's story: what has been done."""
        add_step(job_id=self.job.pk, token=self.token, message=message)

    def note(self, **values: Any) -> None:
        """Write down what is about to be done, for whoever takes over. Returns when it is in the database."""
        self._write(checkpoint={**self.checkpoint, **values})
        self.job.checkpoint = {**self.checkpoint, **values}

    def confirm(self) -> None:
        """Make sure the job is still ours, with a full lease ahead: right before a hypervisor is asked to act.

        The moment between this and the call is all that a token cannot fence; see `require_time`.
        """
        self._raise_if_told()
        self._write()
        self.require_time()

    def require_time(self) -> None:
        """Needs no database: a worker that was stopped for longer than its lease goes no further."""
        if time.monotonic() >= self._lease_ends:
            raise LeaseLost

    def progress(self, values: dict[str, Any], *, also: Callable[[], None] | None = None) -> bool:
        """Show how far it is, at most twice a second; `percent` never goes back. Returns whether it was written.

        `also` writes what belongs to it in the same transaction.
        """
        if time.monotonic() - self._written_at < PROGRESS_SECONDS:
            return False
        before = self.job.progress.get("percent")
        if before is not None and values.get("percent") is not None:
            values = {**values, "percent": max(before, values["percent"])}
        with write_transaction():
            self._write(progress=values)
            if also is not None:
                also()
            publish(Change("task", str(self.job.pk)))
        self.job.progress = values
        self._written_at = time.monotonic()
        return True

    def pause(self, seconds: float) -> None:
        """Wait before the next look; ends at once when the worker stops or the job was lost.

        Raises: CancelRequested once, when a person asked to stop since the last look.
        """
        self._wake.wait(seconds)
        self._raise_if_told()
        row = Job.objects.filter(pk=self.job.pk).values("token", "state").first()
        if row is None or row["token"] != self.token or row["state"] in ENDED:
            raise LeaseLost
        if row["state"] == JobState.CANCELLING != self.job.state:
            self.job.state = JobState.CANCELLING
            raise CancelRequested

    def renewed(self, lease_ends: float | None) -> None:
        """What the heartbeat found when it asked for more time; none when the job is lost."""
        if lease_ends is not None:
            self._lease_ends = max(self._lease_ends, lease_ends)
        else:
            self._lost = True
            self.wake()

    def wake(self) -> None:
        """End a pause."""
        self._wake.set()

    def _write(self, **fields: Any) -> None:
        lease_ends = renew_lease(self.job.pk, self.token, **fields)
        if lease_ends is None:
            self._lost = True
            raise LeaseLost
        self._lease_ends = lease_ends

    def _raise_if_told(self) -> None:
        if self._lost:
            raise LeaseLost
        if heartbeat.stopping.is_set():
            raise HandOver
