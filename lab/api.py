"""The lab for tests and benches: start one, break it, and read what its guests say."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab import guests, hosts, lifecycle, network, state, status
from lab.processes import LabError, children, command_line, kill, run, wait_for
from lab.state import ROOT, Kind, Place

_BEAT = re.compile(r"^HB (\d+) up=([\d.]+) boot=([0-9a-f-]{36})", re.MULTILINE)
_BOOT = re.compile(r"boot=([0-9a-f-]{36})")
_PANIC = re.compile(r"Kernel panic - .+")
_REPLY = re.compile(r"^\[(\d+\.\d+)\] \d+ bytes from", re.MULTILINE)
STOP_SECONDS = 30


class GuestCrashed(LabError):
    """A guest's own kernel gave up: what QEMU without KVM does to it now and then while it moves (docs/lab.md)."""


@dataclass(frozen=True, slots=True, order=True)
class Beat:
    """One heartbeat of a guest; `ends` says how long each host's log was when it was read, where that is known.

    Units: uptime in seconds, ends in characters
    """

    count: int
    uptime: float
    boot_id: str
    ends: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)


class LabGuest:
    """One guest of a running lab."""

    def __init__(self, lab: "Lab", made: state.Guest) -> None:
        self.lab = lab
        self.name = made.name
        self.uuid = made.uuid
        self.address = made.address
        self.memory_bytes = made.memory << 20

    def __repr__(self) -> str:
        return f"<guest {self.name} of {self.lab.name}>"

    @property
    def host(self) -> "LabHost":
        """The host it runs on now, or else one that has it defined.

        Raises: LabError when no host that answers knows it.
        """
        found = [(host, known[self.name]) for host in self.lab.hosts if self.name in (known := host.guests())]
        if not found:
            raise LabError(f"No host of lab {self.lab.name} that answers has guest {self.name}.")
        return next((host for host, power in found if power == "running"), found[0][0])

    @property
    def running_on(self) -> list[str]:
        """Names of all hosts that run it: never more than one."""
        return [host.name for host in self.lab.hosts if host.guests().get(self.name) == "running"]

    @property
    def defined_on(self) -> list[str]:
        """Names of all hosts that know it."""
        return [host.name for host in self.lab.hosts if self.name in host.guests()]

    def serial_text(self, host: "LabHost | str") -> str:
        """What it wrote on the serial line while on this host."""
        return guests.serial_text(self.lab.place, _name(host), self.name)

    def beats(self, host: "LabHost | str") -> list[Beat]:
        """Its heartbeats on this host, oldest first; a line that a move cut in two is in neither half."""
        return _beats(self.serial_text(host))

    def heartbeat(self, host: "LabHost | str | None" = None) -> Beat | None:
        """The last heartbeat on this host, by default on the one it is on now."""
        name = _name(self.host if host is None else host)
        return _last_beat(self._logs(), name)

    def wait_heartbeat(self, after: Beat | None = None, *, seconds: float = 60) -> Beat:
        """A heartbeat of the host it is on now; with `after`, a later one of the same start, on whatever host.

        Raises: LabError when none comes; GuestCrashed when the guest's kernel says that it panicked since.
        """
        found: list[Beat] = []

        def comes() -> bool:
            found[:] = self._later_beats(after) if after else [beat for beat in (self.heartbeat(),) if beat]
            return bool(found)

        if not wait_for(comes, seconds, step=0.05):
            raise LabError(f"Guest {self.name} gave no heartbeat within {seconds:.0f} s.")
        return max(found)

    def _later_beats(self, beat: Beat) -> list[Beat]:
        """Each host's last heartbeat of it, where that is a later one of the same start.

        Raises: GuestCrashed
        """
        logs = self._logs()
        if words := _panic_since(logs, beat):
            raise GuestCrashed(f"Guest {self.name} started anew. Its kernel said: {words}")
        last = [_last_beat(logs, host) for host in logs]
        return [one for one in last if one and _follows(one, beat)]

    def _logs(self) -> dict[str, str]:
        """What it wrote on the serial line, by the name of the host it was on."""
        return {_name(host): self.serial_text(host) for host in self.lab.hosts}

    @property
    def boot_id(self) -> str:
        """Tells one start of the guest's kernel from another; the same before and after a live migration."""
        seen = _BOOT.findall(self.serial_text(self.host))
        return str(seen[-1]) if seen else self.wait_heartbeat().boot_id

    def make_run(self) -> None:
        """Start or resume it where it is."""
        host = self.host
        guests.make_run(self.lab.place, host.made, self.name)

    def remove(self) -> None:
        """Stop it and forget it."""
        lifecycle.remove_guest(self.lab.place, self.name)

    def lost_beats(self) -> list[int]:
        """Counts of its present start that no host's log has: more than one per move means that it stood still."""
        boot = self.boot_id
        seen = {beat.count for host in self.lab.hosts for beat in self.beats(host) if beat.boot_id == boot}
        return sorted(set(range(1, max(seen, default=0))) - seen)

    def doubled_beats(self) -> list[int]:
        """Counts of one start that were written twice: the guest ran in two places."""
        seen: dict[tuple[str, int], int] = {}
        for host in self.lab.hosts:
            for beat in self.beats(host):
                seen[beat.boot_id, beat.count] = seen.get((beat.boot_id, beat.count), 0) + 1
        return sorted(count for (_, count), times in seen.items() if times > 1)


class LabHost:
    """One host of a running lab."""

    def __init__(self, lab: "Lab", made: state.Host) -> None:
        self.lab = lab
        self.made = made
        self.name = made.name
        self.fqdn = made.fqdn
        self.uuid = made.uuid
        self.address = made.address
        self.uri = hosts.tcp_uri(made)
        self.unix_uri = hosts.unix_uri(lab.place, made)

    def __repr__(self) -> str:
        return f"<host {self.name} of {self.lab.name}>"

    def virsh(self, *args: str, timeout: float = 120) -> str:
        """What virsh prints, asked on the host's own socket, so also with its cable cut.

        Raises: LabError
        """
        return run(["virsh", "-q", "-c", self.unix_uri, *args], timeout=timeout)

    def guests(self) -> dict[str, str]:
        """Names of its guests with libvirt's word for their state; empty when it does not answer."""
        return guests.where(self.lab.place, self.made)

    @property
    def is_on(self) -> bool:
        return hosts.init_pid(self.lab.place, self.name) is not None

    @property
    def libvirtd_pid(self) -> int | None:
        """libvirtd's pid as this machine sees it."""
        return hosts.libvirtd_pid(self.lab.place, self.name)

    def qemu_pid(self, guest: LabGuest) -> int | None:
        """The pid of the QEMU that holds the guest on this host, as this machine sees it."""
        init = hosts.init_pid(self.lab.place, self.name)
        for pid in children(init) if init else []:
            argv = command_line(pid)
            if "-uuid" in argv and argv[argv.index("-uuid") + 1] == guest.uuid:
                return pid
        return None

    def kill_libvirtd(self) -> None:
        """kill -9; the guests run on."""
        hosts.kill_libvirtd(self.lab.place, self.name)

    def start_libvirtd(self) -> None:
        """Start it again and wait until it answers."""
        hosts.start_libvirtd(self.lab.place, self.made)

    def freeze_libvirtd(self) -> None:
        """It takes connections and stays silent: the way a hypervisor hangs."""
        self._signal_libvirtd(signal.SIGSTOP)

    def thaw_libvirtd(self) -> None:
        self._signal_libvirtd(signal.SIGCONT)

    def _signal_libvirtd(self, number: signal.Signals) -> None:
        pid = self.libvirtd_pid
        if pid is None:
            raise LabError(f"Host {self.name} has no libvirtd running.")
        kill(pid, number)

    def pull_plug(self) -> None:
        """Power loss."""
        lifecycle.pull_plug(self.lab.place, self.name)

    def plug_in(self) -> None:
        """Power again; returns when its libvirtd answers."""
        lifecycle.plug_in(self.lab.place, self.name)

    def cut_cable(self) -> None:
        """Both its links go down."""
        lifecycle.set_cable(self.lab.place, self.name, joined=False)

    def join_cable(self) -> None:
        lifecycle.set_cable(self.lab.place, self.name, joined=True)

    def mend(self) -> None:
        """On, joined, libvirtd running and answering, whatever was done to it."""
        if state.need(self.lab.place).host(self.name).cut:
            self.join_cable()
        if not self.is_on:
            self.plug_in()
        elif self.made.role == "storage":
            return
        elif self.libvirtd_pid is None:
            self.start_libvirtd()
        else:
            self.thaw_libvirtd()


def _beats(text: str) -> list[Beat]:
    return [Beat(int(count), float(uptime), boot) for count, uptime, boot in _BEAT.findall(text)]


def _last_beat(logs: Mapping[str, str], host: str) -> Beat | None:
    """The last heartbeat in a host's log; it knows how long all of them were."""
    seen = _beats(logs.get(host, ""))
    return replace(seen[-1], ends={name: len(text) for name, text in logs.items()}) if seen else None


def _panic_since(logs: Mapping[str, str], beat: Beat) -> str:
    """The last words of the kernel that gave this heartbeat; empty while it runs.

    In a log that does not name its start, what was there when the heartbeat was read is of another one.
    """
    for host, text in logs.items():
        named = text.rfind(beat.boot_id)
        panic = _PANIC.search(text, named if named >= 0 else beat.ends.get(host, 0))
        if panic:
            return panic[0]
    return ""


def _follows(beat: Beat, earlier: Beat) -> bool:
    return beat.boot_id == earlier.boot_id and beat.count > earlier.count


def _name(host: LabHost | str) -> str:
    return host.name if isinstance(host, LabHost) else host


class Ping:
    """A ping that runs in the background from entering to leaving; `replies` are the times of its replies.

    Units: seconds
    """

    def __init__(self, address: str, interval: float) -> None:
        command = ["ping", "-n", "-D", "-i", str(interval), address]
        env = {**os.environ, "LC_ALL": "C"}
        self._started = time.time()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        self.longest_gap = float("inf")
        self.replies: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        text = self._process.communicate()[0]
        self.replies = [float(found) for found in _REPLY.findall(text)]
        edges = [self._started, *self.replies, time.time()]
        self.longest_gap = max(later - earlier for earlier, later in pairwise(edges))


class Lab:
    """A running lab. `start` makes one that ends with this process; `find` takes one that is up."""

    def __init__(self, place: Place, process: subprocess.Popen[str] | None = None) -> None:
        self.place = place
        self.name = place.name
        self._process = process
        made = state.need(place)
        self.console_address = network.console_address(made.subnet)
        self.subnet = made.subnet
        self.hosts = [LabHost(self, host) for host in made.hosts]
        self.others = [LabHost(self, host) for host in made.others]

    @classmethod
    def find(cls, name: str | None = None, data: str | None = None) -> Self:
        """Raises: LabError when it is not up."""
        return cls(state.make_place(name, data))

    @classmethod
    def start(cls, hosts: int = 3, *, name: str, data: Path, counting: bool = True, extras: Sequence[str] = ()) -> Self:
        """Start a lab and wait until its guests are started or, by default, count.

        Raises: LabError with what the lab said last.
        """
        command = [sys.executable, "-m", "lab", "up", str(hosts), "--foreground", "--name", name, "--data", str(data)]
        command += ["--with", ",".join(extras)] if extras else []
        place = state.make_place(name, str(data))
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        said = data / f"{name}.log"
        with said.open("w") as errors:
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
        _wait_for_line(process, "counting" if counting else "ready", said)
        return cls(place, process)

    @property
    def guests(self) -> list[LabGuest]:
        return [LabGuest(self, guest) for guest in state.need(self.place).guests]

    def host(self, name: str) -> LabHost:
        """Raises: LabError"""
        made = state.need(self.place).host(name)
        return next(host for host in self.hosts + self.others if host.name == made.name)

    def guest(self, name: str) -> LabGuest:
        """Raises: LabError"""
        return LabGuest(self, state.need(self.place).guest(name))

    def add_guest(
        self,
        name: str | None = None,
        *,
        host: str | None = None,
        kind: Kind = "linux",
        dirty: int = 0,
        local_disk: bool = False,
        start: bool = True,
    ) -> LabGuest:
        """Make another guest and wait until it counts.

        Units: dirty in MiB
        """
        made = lifecycle.add_guest(
            self.place,
            host=host,
            name=name,
            kind=kind,
            dirty=dirty,
            disk="local" if local_disk else "shared",
            start=start,
        )
        if start and lifecycle.wait_for_guests(self.place, [made]):
            raise LabError(f"Guest {made.name} did not come up.")
        return LabGuest(self, made)

    def status(self) -> dict[str, Any]:
        return status.status(self.place)

    @contextmanager
    def ping(self, guest: LabGuest, interval: float = 0.02) -> Iterator[Ping]:
        """Ping a guest while the block runs; read the result after it."""
        if guest.address is None:
            raise LabError(f"Guest {guest.name} has no address.")
        with Ping(guest.address, interval) as pinger:
            yield pinger

    def mend(self) -> None:
        """Undo what was done: hosts are on and joined, and the guests that were started at first run."""
        for host in self.others + self.hosts:  # what serves disks before what uses them
            host.mend()
        running = {name for host in self.hosts for name, power in host.guests().items() if power == "running"}
        for made in state.need(self.place).guests:
            if made.start and made.name not in running:
                LabGuest(self, made).make_run()

    def stop(self) -> None:
        """Take the lab down and wait for it."""
        if self._process is None:
            lifecycle.down(self.place)
            return
        self._process.terminate()
        self._process.wait(STOP_SECONDS)
        if self._process.stdout:
            self._process.stdout.close()


def _wait_for_line(process: subprocess.Popen[str], wanted: str, said: Path) -> None:
    """Read the process's lines up to the wanted one.

    Raises: LabError when it ends before.
    """
    for line in process.stdout or ():
        if line.strip() == wanted:
            return
        if line.startswith("late:"):
            process.terminate()
            process.wait(STOP_SECONDS)
            raise LabError(f"Not all guests of the lab came up: {line.strip()}")
    process.wait(STOP_SECONDS)
    last = said.read_text().strip().splitlines()[-1:]
    raise LabError(f"The lab did not start: {' '.join(last) or 'it said nothing'}")
