"""What can go wrong around a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import Conflict

if TYPE_CHECKING:
    from operations.models import Job


class AlreadyOpen(Conflict):
    """Another open job holds the object; `job` is that one."""

    code = "already_open"

    def __init__(self, message: str, *, job: Job | None) -> None:
        super().__init__(message)
        self.job = job


class CannotCancel(Conflict):
    """It is too late, or it has ended."""

    code = "cannot_cancel"


class Stop(BaseException):
    """Makes a runner leave at once. Not an Exception, so that no handler in a runner swallows it."""


class LeaseLost(Stop):
    """The job is another worker's now, or has ended: nothing more may be done or written."""


class HandOver(Stop):
    """This worker is stopping: another one goes on from here."""


class CancelRequested(Exception):
    """A person asked to stop; the runner decides what that means where it stands."""
