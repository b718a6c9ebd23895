"""Workers that die at chosen hypervisor calls: what tests of jobs that act on hosts are struck with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from drivers.errors import Rejected
from hosts.acts import HostAct
from operations.models import Job
from operations.runtime import run
from tests.world import open_here

MOST_LIVES = 40


class Killed(BaseException):
    """Stands for kill -9."""


class Fate:
    """Counts the calls that workers make, and strikes before or after the chosen ones.

    `kills`: (number of the call, whether it was made before the worker died). `before_call` is given a call's number
    and name; `dies_refused` the name of one that the host refused: whether the worker dies before it can note that.
    `at_death` is called before the next worker looks.
    """

    def __init__(self, kills: Iterable[tuple[int, bool]] = ()) -> None:
        self.kills = dict(kills)
        self.calls: list[str] = []
        self.before_call: Callable[[int, str], object] = lambda _number, _method: None
        self.dies_refused: Callable[[str], bool] = lambda _method: False
        self.at_death: Callable[[], object] = lambda: None

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
            self._die()
        try:
            answer = method(*arguments, **options)
        except Rejected:
            if self.dies_refused(name):
                self._die()
            raise
        if after:
            self._die()
        return answer

    def _die(self) -> NoReturn:
        self.at_death()
        raise Killed from None


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
