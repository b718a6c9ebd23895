"""What every operation needs: a line of its own for calls that may last, and tasks that go on by themselves.

A task is one call into libvirt in a thread and on a connection of its own. It lives in this process only; what became
of it is told by the host's state to whoever asks for the operation again.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from drivers.errors import Busy, DriverError, NotFound
from drivers.libvirt.connection import Connection
from drivers.libvirt.parse.common import clean_uuid
from drivers.requests import TaskPhase, TaskProgress
from drivers.words import gettext_noop as _

LOOK_S = 2.0  # how long a start waits, so that what is quick or refused at once is told at once
MOST_REMEMBERED = 500
NOT_BEGUN = _("This could not be begun; nothing was done. Try again.")
NOT_HERE = _("This guest is not on this host any more.")
Act = Callable[[Connection, "Task"], None]


def in_time(not_after: float) -> None:
    """To be asked right before the call: who slept and wakes up late has lost the right to it. Raises: Busy."""
    if time.monotonic() >= not_after:
        raise Busy(_("The host took too long to answer, so that nothing was done. Try again."))


def known_uuid(ref: str) -> str:
    """Raises: NotFound for what is no UUID, so that nobody is asked for it."""
    uuid = clean_uuid(ref)
    if not uuid:
        raise NotFound(NOT_HERE)
    return uuid


@dataclass(slots=True, eq=False)
class Task:
    """Written by its own thread, read by the others."""

    stamp: str
    ended: threading.Event = field(default_factory=threading.Event)
    error: DriverError | None = None
    bytes_total: int | None = None
    bytes_done: int | None = None
    measure: Callable[[], int] | None = None  # how many bytes are done

    def run(self, line: Connection, act: Act) -> None:
        try:
            act(line, self)
        except DriverError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 (the end of a thread: whatever went wrong must answer who asks)
            # Only the type and the place: the text of an unknown error may hold what it must not.
            sys.stderr.write(f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}")
            self.error = DriverError(_("The driver failed in an unexpected way; see the log."))
        finally:
            self.ended.set()
            line.close()

    def look(self) -> None:
        """Have it measured, if it can be."""
        measure = self.measure
        if measure is not None:
            with suppress(DriverError):
                self.bytes_done = min(measure(), self.bytes_total or 0)

    def reading(self) -> TaskProgress:
        ended, error = self.ended.is_set(), self.error
        return TaskProgress(
            TaskPhase.ENDED if ended else TaskPhase.RUNNING,
            self.bytes_total,
            self.bytes_done,
            error.code if ended and error else "",
            error.template if ended and error else "",
            tuple(error.parameters.items()) if ended and error else (),
        )


class Tasks:
    """The tasks this process started, by stamp. Sessions come and go; these stay until they are old."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._known: dict[str, Task] = {}

    def find(self, stamp: str) -> Task | None:
        with self._guard:
            return self._known.get(stamp)

    def begin(self, stamp: str) -> tuple[Task, bool]:
        """The task of this stamp that runs, or a new one; and whether it is new."""
        with self._guard:
            known = self._known.get(stamp)
            if known is not None and not known.ended.is_set():
                return known, False
            task = self._known[stamp] = Task(stamp)
            ended = [key for key, old in self._known.items() if old.ended.is_set()]
            for key in ended[: max(0, len(self._known) - MOST_REMEMBERED)]:
                del self._known[key]
            return task, True


TASKS = Tasks()


class Calls:
    """What a session's operations are built on."""

    _connection: Connection

    def __init__(self) -> None:
        self._own_tasks: list[Task] = []

    def _open_line(self, ref: str) -> None:
        """Have the connection for a call that may last."""

    def _take_line(self, ref: str) -> Connection:
        """A connection for a call that may last; whoever takes it closes it."""
        raise NotImplementedError

    @contextmanager
    def _line(self, ref: str) -> Iterator[Connection]:
        line = self._take_line(ref)
        try:
            yield line
        finally:
            line.close()

    @contextmanager
    def _guest(self, guest_ref: str) -> Iterator[tuple[Connection, Any]]:
        """A line and the guest on it."""
        uuid = known_uuid(guest_ref)
        with self._line(uuid) as line:
            yield line, line.call(line.raw.lookupByUUIDString, uuid)

    def _has_tasks(self) -> bool:
        self._own_tasks = [task for task in self._own_tasks if not task.ended.is_set()]
        return bool(self._own_tasks)

    def prepare_operation(self, ref: str) -> None:
        self._open_line(known_uuid(ref))

    def poll_task(self, ref: str, stamp: str) -> TaskProgress:
        del ref
        task = TASKS.find(stamp)
        if task is None:
            return TaskProgress(TaskPhase.UNKNOWN)
        task.look()
        return task.reading()

    def _start(self, ref: str, stamp: str, act: Act) -> TaskProgress:
        """Do it in a thread. What is refused at once is raised."""
        task, new = TASKS.begin(stamp)
        if new:
            self._own_tasks.append(task)
            try:
                line = self._take_line(ref)
                threading.Thread(target=task.run, args=(line, act), daemon=True, name=f"task-{ref}").start()
            except BaseException as error:
                # Whoever asked for the same meanwhile must not read that it was done.
                task.error = error.copy() if isinstance(error, DriverError) else Busy(NOT_BEGUN)
                task.ended.set()
                raise
        if task.ended.wait(LOOK_S) and task.error:
            raise task.error.copy()
        return task.reading()
