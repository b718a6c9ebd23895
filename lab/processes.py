"""Run programs, find and end processes."""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1  # Source: prctl(2)

# program -> Debian package that brings it
PROGRAMS = {
    "libvirtd": "libvirt-daemon",
    "virsh": "libvirt-clients",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "dnsmasq": "dnsmasq-base",
    "iptables": "iptables",
    "ip": "iproute2",
    "ping": "iputils-ping",
    "bindfs": "bindfs",
    "mkfs.ext4": "e2fsprogs",
    "mount": "mount",
    "losetup": "mount",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "busybox": "busybox-static",
}
# Those of extras alone.
EXTRA_PROGRAMS = {"mmdebstrap": "mmdebstrap", "openssl": "openssl"}


class LabError(Exception):
    """What went wrong, as one sentence for a person."""


class NotPossible(LabError):
    """This machine or this user cannot run a lab."""


@dataclass(frozen=True, slots=True)
class ProcessRef:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    started: int

    @staticmethod
    def of(pid: int) -> "ProcessRef":
        return ProcessRef(pid, start_time(pid))

    def alive(self) -> bool:
        return self.started != 0 and start_time(self.pid) == self.started


def start_time(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 when there is none or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def run(args: Sequence[str | Path], *, text: str | None = None, timeout: float = 120) -> str:
    """Run a program and return what it printed.

    Raises: LabError with the last line of its error output.
    """
    command = [str(a) for a in args]
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=timeout, errors="replace", check=False
        )
    except FileNotFoundError:
        raise NotPossible(missing_sentence([command[0]])) from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{command_name(command)} did not finish within {timeout:.0f} s.") from None
    if done.returncode:
        raise LabError(f"{command_name(command)} failed: {last_error(done.stderr) or f'exit code {done.returncode}'}")
    return done.stdout


def last_error(text: str) -> str:
    """The last line that says something; `ip -batch` adds one that only counts lines."""
    lines = [line.strip() for line in text.splitlines() if not line.startswith("Command failed")]
    return next((line for line in reversed(lines) if line), "")


def command_name(command: Sequence[str]) -> str:
    return " ".join(command)[:160]


def succeeds(args: Sequence[str | Path]) -> bool:
    """Whether the program ends with exit code 0."""
    try:
        run(args)
    except LabError:
        return False
    return True


def wait_for(condition: Callable[[], bool], seconds: float, step: float = 0.02) -> bool:
    """Ask again and again until the condition holds; False when the time is over."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(step)
    return True


def require_machine() -> None:
    """Check the user and the programs.

    Raises: NotPossible
    """
    if os.geteuid() != 0:
        raise NotPossible("The lab needs root: it makes namespaces, mounts and network links; run it with sudo.")
    extend_path()
    require_programs(PROGRAMS)
    if not Path("/dev/fuse").exists():
        raise NotPossible("This machine has no /dev/fuse, which the shared datastore needs: load the fuse module.")


def require_programs(programs: Iterable[str]) -> None:
    """Raises: NotPossible when some are missing."""
    if missing := [program for program in programs if shutil.which(program) is None]:
        raise NotPossible(missing_sentence(missing))


def extend_path() -> None:
    """Add the system folders that a plain user's PATH lacks, also for the programs we start."""
    parts = os.environ.get("PATH", "").split(":")
    wanted = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"]
    os.environ["PATH"] = ":".join([p for p in parts if p] + [p for p in wanted if p not in parts])


def missing_sentence(programs: Sequence[str]) -> str:
    packages = sorted({(PROGRAMS | EXTRA_PROGRAMS).get(program, program) for program in programs})
    return (
        f"The lab needs {', '.join(programs)}, which this machine lacks; "
        f"install with: apt-get install --no-install-recommends {' '.join(packages)}"
    )


def pids() -> list[int]:
    """All processes, as this process namespace sees them."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def command_line(pid: int) -> list[str]:
    """The words of a process's command; none when it is gone or the kernel's own."""
    try:
        entry = Path(f"/proc/{pid}")
        raw = (entry / "cmdline").read_bytes()
        # Empty also for a moment while a program is being replaced by another; the kernel's own have no `exe`.
        for _ in range(20):
            if raw or not (entry / "exe").readlink():
                break
            time.sleep(0.001)
            raw = (entry / "cmdline").read_bytes()
    except OSError:
        return []
    return raw.decode(errors="replace").split("\0")[:-1]


def parent(pid: int) -> int:
    """The parent's pid; 0 when the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def children(pid: int) -> list[int]:
    """Pids of the direct, living children."""
    return [child for child in pids() if parent(child) == pid and start_time(child)]


def program_name(pid: int) -> str:
    """The process's name; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def kill(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that is already gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def follow_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent dies.

    Source: prctl(2), PR_SET_PDEATHSIG
    """
    before = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != before:
        os.kill(os.getpid(), signal.SIGTERM)


def is_readable(descriptor: int) -> bool:
    """Whether reading would not block; for a pidfd, whether the process has ended."""
    return bool(select.select([descriptor], [], [], 0)[0])
