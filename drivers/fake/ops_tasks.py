"""What a simulated host's operations are built on. As on a real one, a task goes on whether or not anybody asks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from drivers.errors import Busy, DriverError, NotFound
from drivers.fake import faults
from drivers.fake.model import FakeFault, FakeGuest, FakeHost, FakeState
from drivers.fake.moves import active_move
from drivers.fake.ops_model import FakeTask
from drivers.requests import TaskPhase, TaskProgress
from drivers.types import GuestState
from drivers.words import gettext_noop as _

UP = frozenset({GuestState.RUNNING, GuestState.PAUSED})
MOST_REMEMBERED = 50
ENDED = TaskProgress(TaskPhase.ENDED)


def in_time(not_after: float) -> None:
    """Raises: Busy."""
    if time.monotonic() >= not_after:
        raise Busy(_("The time to do this is over; nothing was done."))


def find_guest(host: FakeHost, guest_uuid: str) -> FakeGuest:
    """Raises: NotFound."""
    guest = host.guests.get(guest_uuid)
    if guest is None:
        raise NotFound(_("This guest is not on this host any more."))
    return guest


def is_running(task: FakeTask) -> bool:
    return time.time() < task.started_at + task.seconds


def require_idle(host: FakeHost, guest: FakeGuest) -> None:
    """Raises: Busy."""
    works = any(task.owner == guest.uuid and is_running(task) for task in host.tasks)
    if works or active_move(host, guest.uuid) or not guest.persistent:
        raise Busy(_("Another operation of this guest is under way; wait for its end."))


def reading_of(task: FakeTask) -> TaskProgress:
    if not is_running(task):
        error = faults.error_of(FakeFault(at="task", do=task.error))
        if isinstance(error, DriverError):
            return TaskProgress(TaskPhase.ENDED, task.bytes_total, 0, error.code, error.template)
        return TaskProgress(TaskPhase.ENDED, task.bytes_total, task.bytes_total)
    share = (time.time() - task.started_at) / task.seconds
    return TaskProgress(TaskPhase.RUNNING, task.bytes_total, int(task.bytes_total * share))


def begin(state: FakeState, host: FakeHost, owner: str, stamp: str, bytes_total: int = 0) -> FakeTask:
    """Note that it runs. Whoever begins it does what it does, unless it is to end with an `error`."""
    fault = faults.take_fault(host, "task")
    task = FakeTask(
        stamp=stamp,
        owner=owner,
        started_at=time.time(),
        seconds=state.task_seconds,
        bytes_total=bytes_total,
        error=fault.do if fault else "",
    )
    host.tasks = [*(old for old in host.tasks if old.stamp != stamp), task][-MOST_REMEMBERED:]
    return task


def running_reading(host: FakeHost, stamp: str) -> TaskProgress | None:
    """Of this stamp's task while it runs."""
    return next((reading_of(task) for task in host.tasks if task.stamp == stamp and is_running(task)), None)


class TaskCalls:
    """Part of every simulated session with operations."""

    def acting(self, at: str) -> AbstractContextManager[tuple[FakeState, FakeHost, FakeFault | None]]:
        raise NotImplementedError

    @contextmanager
    def _editing(self, at: str, guest_ref: str, not_after: float) -> Iterator[tuple[FakeHost, FakeGuest]]:
        """An idle guest, to be changed in time."""
        with self.acting(at) as (_state, host, _fault):
            guest = find_guest(host, guest_ref)
            require_idle(host, guest)
            in_time(not_after)
            yield host, guest

    def prepare_operation(self, ref: str) -> None:
        with self.acting("prepare_operation"):
            del ref

    def poll_task(self, ref: str, stamp: str) -> TaskProgress:
        with self.acting("poll_task") as (_state, host, _fault):
            found = next((task for task in host.tasks if (task.owner, task.stamp) == (ref, stamp)), None)
            return reading_of(found) if found else TaskProgress(TaskPhase.UNKNOWN)
