"""Private servers for tests and benchmarks: PostgreSQL and Valkey in a folder of their own, on unix sockets."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from config.processes import die_with_parent
from config.supervisor import valkey_binary

START_SECONDS = 60
Command = Sequence[str | Path]
DATABASE = "guesthouse"
# Nothing here has to survive a crash of the machine.
FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "wal_level=minimal", "max_wal_senders=0")
# As an installation has it: what is committed is on disk.
DURABLE = ("shared_buffers=512MB",)
SIZES = ("listen_addresses=", "max_connections=200", "shared_buffers=256MB")


class ServerError(Exception):
    """A private server cannot be started; the text is one sentence."""


@contextlib.contextmanager
def private_postgresql(settings: Sequence[str] = FAST) -> Iterator[str]:
    """A PostgreSQL cluster with one empty database; yields its address for DATABASE_URL.

    Raises: ServerError.
    """
    with _folder("gh-pg-") as folder:
        user = _unprivileged_user()
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        cluster = folder / "cluster"
        _run_as(
            user,
            [_tool("initdb"), "-D", cluster, "-U", DATABASE, "-A", "trust", "-E", "UTF8", "-N", "--locale=C.UTF-8"],
        )
        options = [word for setting in (*SIZES, *settings) for word in ("-c", setting)]
        command: Command = [_tool("postgres"), "-D", cluster, "-k", folder, *options]
        with _process(command, folder / "log", signal.SIGQUIT, user) as server:
            _await_socket(folder / ".s.PGSQL.5432", server, folder / "log")
            _create_database(folder)
            yield f"postgresql://{DATABASE}@{quote(str(folder), safe='')}/{DATABASE}"


def _create_database(folder: Path) -> None:
    target: Command = ["-h", folder, "-U", DATABASE, "-d", "postgres"]
    command: Command = [_tool("psql"), "-XAtq", *target, "-c", f"create database {DATABASE}"]
    for _ in range(START_SECONDS * 10):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        if "starting up" not in done.stderr:
            raise ServerError(f"PostgreSQL refused to make a database: {done.stderr.strip()}")
        time.sleep(0.1)  # it says so until its log is replayed; there is nothing to wait on
    raise ServerError("PostgreSQL did not finish starting.")


@contextlib.contextmanager
def private_valkey() -> Iterator[str]:
    """An empty Valkey; yields its address for REDIS_URL."""
    with _folder("gh-vk-") as folder:
        place = folder / "s"
        command: Command = [valkey_binary(), "--port", "0", "--unixsocket", place, "--dir", folder, "--save", ""]
        with _process(command, folder / "log", signal.SIGKILL, None) as server:
            _await_socket(place, server, folder / "log")
            yield f"unix://{place}"


@contextlib.contextmanager
def _folder(prefix: str) -> Iterator[Path]:
    # Directly under /tmp: a socket's path has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix=prefix, dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def _process(
    command: Command, log: Path, death_signal: signal.Signals, user: str | None
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
            process_group=0,
            preexec_fn=die_with_parent(os.getpid(), death_signal),  # noqa: PLW1509 - the runner has one thread
        )
    try:
        yield server
    finally:
        server.send_signal(death_signal)
        server.wait()


def _await_socket(place: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(place))
            return
        time.sleep(0.05)  # the socket appears without an event
    raise ServerError(f"A test server did not start: {log.read_text(errors='replace')[-500:]}")


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _tool(name: str) -> str:
    """A program of the newest PostgreSQL; Debian keeps the server's own out of PATH.

    Raises: ServerError.
    """
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    for folder in folders:
        if (folder / name).exists():
            return str(folder / name)
    if found := shutil.which(name):
        return found
    raise ServerError("PostgreSQL is missing; ./guesthouse test installs it.")


def _run_as(user: str | None, command: Command) -> None:
    done = subprocess.run(
        command, user=user, cwd="/", capture_output=True, text=True, check=False, extra_groups=[] if user else None
    )
    if done.returncode:
        raise ServerError(f"{command[0]} failed: {done.stderr.strip()}")
