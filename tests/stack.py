"""The product's own processes around a database and a broker of their own: workers, beat, and the pages if wanted.

Runs the very command lines the supervisor runs. The test process itself becomes a client of the same database.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.request import urlopen

import dj_database_url
from django.core.management import call_command

from config import data
from config.processes import Program, die_with_parent
from config.supervisor import WORKERS, beat_program, watcher_program, web_program, worker_program
from lab.api import Lab, LabGuest
from tests.servers import private_valkey

if TYPE_CHECKING:
    from hosts.models import Host
    from inventory.models import Guest

HOME = data.HOME
START_SECONDS = 120.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.05


class StackError(Exception):
    """The stack did not do what a test waited for."""


class Stack:
    """One installation's processes. Use `running_stack`."""

    def __init__(self, folder: Path, redis_url: str, database_url: str, environment: dict[str, str]) -> None:
        self.folder = folder
        self.redis_url = redis_url
        self.database_url = database_url
        self.url = ""
        self.programs: dict[str, Program] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ended_by_tests: set[str] = set()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
            "GUESTHOUSE_DATA": str(folder),
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url,
            "PYTHONPATH": str(HOME),
            **environment,
        }

    # -- processes

    def launch(self, program: Program) -> subprocess.Popen[bytes]:
        """Start a program, or start it again after it was killed.

        Raises: StackError when one of its name runs: nobody would know of the older one any more.
        """
        before = self.processes.get(program.name)
        if before is not None and before.poll() is None:
            raise StackError(f"{program.name} runs already")
        log = (self.folder / "log" / f"{program.name}.log").open("ab")
        process = subprocess.Popen(
            program.command,
            cwd=HOME,
            env={**self.environment, **program.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=program.pass_fds,
            process_group=0,
            preexec_fn=die_with_parent(os.getpid(), signal.SIGKILL),  # noqa: PLW1509 - no threads yet
        )
        log.close()
        self.programs[program.name] = program
        self.processes[program.name] = process
        self._ended_by_tests.discard(program.name)
        return process

    def start_workers(self, *names: str) -> None:
        """`worker-a`, `worker-b`, `reader`; returns when they take messages."""
        marks = {name: len(self.log(name)) for name in names}
        started = {name: self.launch(worker_program(name)) for name in names}
        for name, process in started.items():
            self._await_ready(name, process, marks[name])

    def _await_ready(self, name: str, process: subprocess.Popen[bytes], mark: int) -> None:
        wait_until(lambda: " ready." in self.log(name)[mark:] or process.poll() is not None, "the worker started")
        if process.poll() is not None:
            raise StackError(self.log(name)[-2000:])

    def start_beat(self) -> None:
        self.launch(beat_program())

    def start_watcher(self, name: str = "watcher") -> None:
        """One of any number, for one test; returns when it is there."""
        mark = len(self.log(name))
        process = self.launch(dataclasses.replace(watcher_program(), name=name))
        wait_until(lambda: "Watching" in self.log(name)[mark:] or process.poll() is not None, "the watcher started")
        if process.poll() is not None:
            raise StackError(self.log(name)[-2000:])

    def mend(self) -> None:
        """Everything that once ran runs again, but for watchers.

        Raises: StackError, once they run, when one had ended by itself: each fault names what it ends.
        """
        died = self._died()
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
        for name in [name for name in self.processes if name.startswith("watcher")]:
            if self.processes[name].poll() is None:
                self.stop(name)
            del self.processes[name]
        ended = [name for name, process in self.processes.items() if process.poll() is not None]
        self.start_workers(*(name for name in ended if name in WORKERS))
        if "beat" in ended:
            self.start_beat()
        if died:
            raise StackError("\n".join(died))

    def _died(self) -> list[str]:
        return [
            f"{name} ended by itself ({process.returncode}): {self.log(name)[-2000:]}"
            for name, process in self.processes.items()
            if process.poll() is not None and name not in self._ended_by_tests
        ]

    def forget_everything(self) -> None:
        """No source, guest or job is left; the schema and the users are."""
        from hosts.models import Datacenter, Source
        from operations.models import Job
        from storage.models import Datastore

        for model in (Job, Source, Datastore, Datacenter):
            for row in model._default_manager.all():
                row.delete()

    def start_web(self) -> str:
        """Serve pages on a free port; returns the address."""
        done = self.manage("collectstatic", "--no-input", "-v", "0")
        if done.returncode:
            raise StackError(done.stderr)
        taken = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        self.launch(web_program(taken))
        taken.close()
        wait_until(self._answers, "the pages are served")
        return self.url

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urlopen(f"{self.url}/healthz", timeout=2) as answer:  # noqa: S310 - our own
            return bool(answer.status == 200)
        return False

    def pid(self, name: str) -> int:
        return self.processes[name].pid

    def kill(self, name: str) -> None:
        """kill -9, and wait until it is gone."""
        self._ended_by_tests.add(name)
        self.processes[name].kill()
        self.processes[name].wait(STOP_SECONDS)

    def freeze(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGCONT)

    def stop(self, name: str) -> None:
        """As the supervisor stops it."""
        self.processes[name].terminate()
        self.await_end(name)

    def await_end(self, name: str) -> None:
        """Of one that something else stops."""
        self._ended_by_tests.add(name)
        self.processes[name].wait(STOP_SECONDS)

    def log(self, name: str) -> str:
        file = self.folder / "log" / f"{name}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(HOME / "manage.py"), *arguments],
            cwd=HOME,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def flush_broker(self) -> int:
        """Forget every message; how many there were."""
        from redis import Redis

        with Redis.from_url(self.redis_url) as client:
            waiting = int(client.llen("operations"))
            client.flushall()
        return waiting

    def fail_waiting_workers(self) -> int:
        """Answer with an error whoever waits for a message; how many they were, once all wait."""
        from redis import Redis

        def waiting() -> list[Any]:
            found = [one["id"] for one in client.client_list() if one["cmd"] == "brpop"]
            return found if len(found) == len(WORKERS) else []

        with Redis.from_url(self.redis_url) as client:
            ids = wait_until(waiting, "every worker waits for a message")
            return sum(int(client.execute_command("CLIENT", "UNBLOCK", one, "ERROR")) for one in ids)

    def messages(self, queue: str = "operations") -> int:
        from redis import Redis

        with Redis.from_url(self.redis_url) as client:
            return int(client.llen(queue))

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # -- this process as a client

    @contextmanager
    def attached(self) -> Iterator[None]:
        """This process's Django uses the stack's database, broker and keys."""
        from django.conf import settings
        from django.db import connections

        instance = data.load(self.folder)
        assert instance is not None
        before = dict(connections.settings["default"])
        with ExitStack() as undo:
            undo.enter_context(_set(settings, "CREDENTIAL_KEYS", instance.fernet_keys))
            undo.enter_context(_set(settings, "REDIS_URL", self.redis_url))
            networks = self.environment.get("GUESTHOUSE_SOURCE_NETWORKS", "")
            undo.enter_context(_set(settings, "SOURCE_NETWORKS", [n for n in networks.split(",") if n]))
            undo.callback(_use_broker, settings.REDIS_URL)
            _use_broker(self.redis_url)
            _use_database(dict(dj_database_url.parse(self.database_url)))
            try:
                yield
            finally:
                _use_database(before)


def _use_database(wanted: dict[str, Any]) -> None:
    from django.db import connections

    connections.close_all()
    used: dict[str, Any] = connections.settings["default"]
    for name in ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT"):
        used[name] = wanted.get(name, "")
    used["OPTIONS"] = wanted.get("OPTIONS") or _options(used["ENGINE"])
    used["CONN_MAX_AGE"] = 0
    with contextlib.suppress(AttributeError):  # this thread has not used it yet
        del connections["default"]


def _options(engine: str) -> dict[str, Any]:
    from config.settings import SQLITE_OPTIONS

    return dict(SQLITE_OPTIONS) if "sqlite" in engine else {}


def _use_broker(redis_url: str) -> None:
    from celery import current_app
    from kombu import pools

    from config.celery_settings import broker_address
    from core import events

    current_app.conf.broker_url = broker_address(redis_url)
    pools.reset()  # type: ignore[no-untyped-call]
    current_app.amqp._producer_pool = current_app._pool = None
    events._client.cache_clear()


@contextmanager
def _set(settings: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(settings, name)
    setattr(settings, name, value)
    try:
        yield
    finally:
        setattr(settings, name, before)


@contextmanager
def running_stack(
    *,
    workers: tuple[str, ...] = tuple(WORKERS),
    beat: bool = True,
    web: bool = False,
    environment: dict[str, str] | None = None,
    room_mib: int = 0,
) -> Iterator[Stack]:
    """A fresh installation, running; the calling process is attached to its database.

    On the PostgreSQL server of DATABASE_URL when that is set, in a database of its own. With `room_mib` its data lies
    on a file system of that size; what its processes say is kept elsewhere, so that it can be read when that is full.
    """
    with ExitStack() as undo:
        name = undo.enter_context(tempfile.TemporaryDirectory(prefix="gh-stack-", dir="/tmp"))
        folder = Path(name)
        folder.chmod(0o700)
        if room_mib:
            undo.enter_context(_small(folder, room_mib))
            said = undo.enter_context(tempfile.TemporaryDirectory(prefix="gh-said-", dir="/tmp"))
            (folder / "log").symlink_to(said)
        data.load_or_create(folder)
        (folder / "log").mkdir(exist_ok=True)
        redis_url = undo.enter_context(private_valkey())
        database_url = undo.enter_context(_database(folder))
        stack = Stack(folder, redis_url, database_url, environment or {})
        undo.enter_context(stack.attached())
        call_command("migrate", verbosity=0)
        undo.callback(stack.close)
        stack.start_workers(*workers)
        if beat:
            stack.start_beat()
        if web:
            stack.start_web()
        yield stack


@contextmanager
def _small(folder: Path, mib: int) -> Iterator[None]:
    """A file system of so many MiB in this place."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=700", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def _database(folder: Path) -> Iterator[str]:
    server = os.environ.get("DATABASE_URL", "")
    if not server.startswith("postgres"):
        yield f"sqlite:///{folder}/guesthouse.sqlite3"
        return
    import psycopg

    name = f"stack_{folder.name.rpartition('-')[2].lower()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield f"{server.partition('?')[0].rpartition('/')[0]}/{name}"
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def wait_until(condition: Callable[[], Any], what: str, *, seconds: float = START_SECONDS) -> Any:
    """The condition's first true value.

    Raises: StackError naming what was awaited.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise StackError(f"Waited {seconds:g} s in vain until {what}.")
        time.sleep(LOOK_SECONDS)
    return value


class Product:
    """A running stack whose sources are the hosts of a running lab."""

    def __init__(self, stack: Stack, lab: Lab) -> None:
        self.stack = stack
        self.lab = lab

    def add_sources(self) -> None:
        """Add the lab's hosts, and wait until every guest of theirs is in the inventory."""
        from hosts.services import add_configured_source
        from inventory.models import Guest

        for host in self.lab.hosts:
            add_configured_source(name=host.name, uri=host.uri)
        known = {guest.uuid for guest in self.lab.guests}
        wait_until(lambda: known <= set(Guest.objects.values_list("uuid", flat=True)), "all guests are known")

    def guest(self, made: LabGuest) -> Guest:
        """The row of a lab's guest, once it is there."""
        from inventory.models import Guest

        rows = Guest.objects.select_related("host__source").filter(uuid=made.uuid)
        return cast("Guest", wait_until(rows.first, f"{made.name} is in the inventory"))

    def host(self, name: str) -> Host:
        from hosts.models import Host

        return Host.objects.select_related("source").get(source__name=name)

    def settle(self, made: LabGuest) -> Guest:
        """The row once it says what the hosts say: running, and where."""
        from inventory.models import Guest

        def right() -> Any:
            where = made.running_on
            there = Guest.objects.select_related("host__source").filter(missing_since=None)
            row = there.filter(uuid=made.uuid, state="running").first()
            # No other host is believed to have it still: its own read takes that back.
            return row if row and where == [row.host.source.name] and row.placements.count() == 1 else None

        return cast("Guest", wait_until(right, f"the row of {made.name} is true"))


@contextmanager
def running_product(lab: Lab, *, web: bool = False) -> Iterator[Product]:
    """The whole product on a lab's hosts."""
    with running_stack(web=web, environment={"GUESTHOUSE_SOURCE_NETWORKS": lab.subnet}) as stack:
        product = Product(stack, lab)
        product.add_sources()
        yield product
