"""Child processes of the supervisor: each in its own group, its output in a log of limited size.

Standard library only. No child outlives the supervisor: the kernel ends it when the supervisor dies.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1  # Source: include/uapi/linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
LOG_LIMIT_BYTES = 5 * 1024 * 1024
LOGS_KEPT = 3
READ_BYTES = 65536
TAIL_LINES = 20
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 60.0
# A process that ran this long was healthy; its next failure starts the back-off anew.
HEALTHY_AFTER_SECONDS = 60.0


class Log:
    """A file that is set aside when it grows too large. A full disk costs lines, never the process."""

    def __init__(self, path: Path, limit_bytes: int = LOG_LIMIT_BYTES) -> None:
        self.path = path
        self._limit = limit_bytes
        self._file: IO[bytes] | None = None

    def write(self, chunk: bytes) -> None:
        with contextlib.suppress(OSError):
            file = self._file or self._open()
            if file.tell() + len(chunk) > self._limit:
                file = self._rotate()
            file.write(chunk)

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def _open(self) -> IO[bytes]:
        self._file = self.path.open("ab", buffering=0)
        return self._file

    def _rotate(self) -> IO[bytes]:
        self.close()
        for number in range(LOGS_KEPT, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            if newer.exists():
                newer.replace(older)
        return self._open()


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run, and how it ends."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    pass_fds: tuple[int, ...] = ()
    grace_seconds: float = 5.0
    # What the kernel sends when the supervisor dies; a program with a tidy end of its own gets SIGTERM.
    death_signal: signal.Signals = signal.SIGKILL
    # How much of its output is kept at hand; none for all of it.
    tail_lines: int | None = TAIL_LINES


@dataclass(slots=True, eq=False)
class Child:
    """One running process of a program."""

    program: Program
    process: subprocess.Popen[bytes]
    log: Log
    started_at: float
    tail: deque[str]
    _rest: bytes = b""

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def exit_code(self) -> int | None:
        return self.process.poll()

    @property
    def ran_well(self) -> bool:
        return time.monotonic() - self.started_at >= HEALTHY_AFTER_SECONDS

    def fileno(self) -> int:
        assert self.process.stdout is not None  # noqa: S101 - always a pipe, see start()
        return self.process.stdout.fileno()

    def read(self) -> bool:
        """Move what the process printed into its log; false at the end."""
        try:
            chunk = os.read(self.fileno(), READ_BYTES)
        except BlockingIOError:
            return True
        self.log.write(chunk)
        self._keep_lines(chunk)
        return bool(chunk)

    def _keep_lines(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if not chunk and self._rest:
            lines.append(self._rest)
            self._rest = b""
        self._rest = self._rest[-READ_BYTES:]
        self.tail.extend(line.decode("utf-8", "replace").rstrip() for line in lines)

    def close(self) -> None:
        """Take the last output and let go of the pipe and the log."""
        if self.process.stdout:
            while self._has_more() and self.read():
                pass
            self.process.stdout.close()
        self.log.close()

    def _has_more(self) -> bool:
        # A grandchild may hold the pipe open, so the end of it must not be waited for.
        return bool(select.select([self], [], [], 0)[0])

    def ask_to_stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    def kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def describe_end(self) -> str:
        code = self.exit_code
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"


@dataclass(slots=True)
class BackOff:
    """How long to wait before a process is started again."""

    delay_seconds: float = FIRST_DELAY_SECONDS

    def next(self, *, ran_well: bool) -> float:
        if ran_well:
            self.delay_seconds = FIRST_DELAY_SECONDS
        delay = self.delay_seconds
        self.delay_seconds = min(delay * 2, LONGEST_DELAY_SECONDS)
        return delay


def start(program: Program, *, log_dir: Path, cwd: Path) -> Child:
    """Start a program; its output comes by a pipe that `Child.read` empties.

    Raises: OSError.
    """
    process = subprocess.Popen(
        program.command,
        cwd=cwd,
        env={**os.environ, **program.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=program.pass_fds,
        process_group=0,  # a terminal's Ctrl-C reaches the supervisor alone, which then stops all in order
        preexec_fn=die_with_parent(os.getpid(), program.death_signal),  # noqa: PLW1509 - the supervisor has one thread
    )
    assert process.stdout is not None  # noqa: S101
    os.set_blocking(process.stdout.fileno(), False)
    log = Log(log_dir / f"{program.name}.log")
    return Child(program, process, log, time.monotonic(), deque(maxlen=program.tail_lines))


def die_with_parent(parent: int, death_signal: signal.Signals) -> Callable[[], None]:
    """What a new child runs first, so that the kernel ends it when its parent dies."""

    def tie() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return tie


def adopt_orphans() -> None:
    """Grandchildren whose parent died come to this process, which can end them."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    tasks: list[Path] = []
    with contextlib.suppress(OSError):  # it ended, or the machine has no file left to open: then at the next turn
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    for task in tasks:
        with contextlib.suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def descendants_of(pid: int) -> list[int]:
    found: list[int] = []
    for child in children_of(pid):
        found += [child, *descendants_of(child)]
    return found


def reap_adopted(own: set[int]) -> None:
    """Collect ended orphans; our own children are left to their Popen."""
    for pid in set(children_of(os.getpid())) - own:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def kill_descendants() -> None:
    """End whatever is still below this process."""
    for pid in descendants_of(os.getpid()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
