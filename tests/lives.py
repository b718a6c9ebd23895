"""Workers that die at chosen hypervisor calls: what tests of jobs that act on hosts are struck with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from hosts.acts import HostAct
from operations.models import Job
from operations.runtime import run
from tests.world import open_here

MOST_LIVES = 40


class Killed(BaseException):
    """Stands for kill -9."""


class Fate:
    """Counts the calls that workers make, and strikes before or after the chosen ones.

    `kills`: (number of the call, whether it was made before the worker died).
    """

    def __init__(self, kills: Iterable[tuple[int, bool]] = ()) -> None:
        self.kills = dict(kills)
        self.calls: list[str] = []
        self.before_call: Callable[[int, str], None] = lambda _number, _method: None

    @contextmanager
    def open(self, *args: Any, **options: Any) -> Iterator[Any]:
        with open_here(*args, **options) as session:
            yield _Watched(session, self)

    def call(self, name: str, method: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        self.calls.append(name)
        number = len(self.calls)
        self.before_call(number, name)
        after = self.kills.pop(number, None)
        if after is False:
            raise Killed
        answer = method(*arguments, **options)
        if after:
            raise Killed
        return answer


class _Watched:
    def __init__(self, session: Any, fate: Fate) -> None:
        self._session, self._fate = session, fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._session, name)
        if not callable(found):
            return found
        return lambda *arguments, **options: self._fate.call(name, found, arguments, options)


def strike_with(patch: Any, fate: Fate | None = None) -> Fate:
    """From now on every act's sessions are in this process, and `fate` strikes at their calls. Waits take no time."""
    chosen = fate or Fate()
    patch.setattr(HostAct.__init__, "__defaults__", (chosen.open,))
    for name in ("POLL_SECONDS", "RETRY_SECONDS"):
        patch.setattr(f"hosts.acts.{name}", 0.005)
    patch.setattr("operations.leases.heartbeat._ensure_thread", lambda: None)
    return chosen


def live(job: Job) -> Job:
    """One worker after the other, until the job has ended."""
    for _ in range(MOST_LIVES):
        Job.objects.filter(pk=job.pk).update(lease_until=None)
        try:
            run(str(job.pk))
        except Killed:
            continue
        ended = Job.objects.get(pk=job.pk)
        if not ended.is_open:
            return ended
    raise AssertionError("the story does not end")
