"""Lasting calls: what could not be begun is never told as done."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from drivers.errors import Busy, DriverError, Unreachable
from drivers.libvirt import tasks
from drivers.libvirt.connection import Connection
from drivers.libvirt.tasks import TASKS, Calls, Task
from drivers.requests import TaskPhase

GUEST = "6f0d6b2e-6a1b-4b5c-9d0f-000000000001"


class Cut(Calls):
    """A session whose host cannot be reached; somebody else may ask while it tries."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error, self.tries, self.go_on = error, threading.Event(), threading.Event()

    def _take_line(self, ref: str) -> Connection:
        self.tries.set()
        self.go_on.wait()
        raise self.error

    def do(self, stamp: str) -> Any:
        return self._start(GUEST, stamp, _nothing)


def _nothing(_line: Connection, _task: Task) -> None: ...


@pytest.mark.parametrize(
    ("error", "told"), [(Unreachable("It is gone."), Unreachable), (RuntimeError("can't start new thread"), Busy)]
)
def test_what_was_not_begun_is_told_as_done_to_nobody(
    monkeypatch: pytest.MonkeyPatch, error: Exception, told: type[DriverError]
) -> None:
    monkeypatch.setattr(tasks, "LOOK_S", 60.0)  # only ends a broken test
    session, stamp = Cut(error), f"op-{error}"
    caught: list[BaseException] = []

    def first() -> None:
        try:
            session.do(stamp)
        except Exception as wrong:  # noqa: BLE001 - the test looks at it
            caught.append(wrong)

    thread = threading.Thread(target=first)
    thread.start()
    session.tries.wait()
    task, new = TASKS.begin(stamp)  # as whoever asks for it meanwhile
    assert not new
    session.go_on.set()
    thread.join()
    reading = task.reading()
    assert (type(caught[0]), reading.phase) == (type(error), TaskPhase.ENDED)
    assert reading.error_code == told.code
    assert session.poll_task(GUEST, stamp).error_code == told.code
