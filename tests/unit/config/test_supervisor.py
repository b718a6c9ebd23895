"""What the supervisor decides before and while it starts processes."""

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config import data, processes, supervisor
from config.processes import Program


def test_the_defaults_serve_the_loopback():
    options = supervisor.parse_options(["up"])
    assert (options.bind, options.port, options.data) == ("127.0.0.1", 8000, None)


@pytest.mark.parametrize("port", ["-1", "65536", "http", ""])
def test_a_wrong_port_is_refused(port, capsys):
    with pytest.raises(SystemExit):
        supervisor.parse_options(["up", f"--port={port}"])
    assert "is no port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("192.0.2.7", True),
        ("console.example", True),
    ],
)
def test_only_the_loopback_is_private(address, public):
    assert supervisor.is_public(address) is public


def test_pages_answer_to_the_address_they_are_bound_to():
    assert "192.0.2.7" in supervisor.names_for("192.0.2.7")
    assert "[2001:db8::7]" in supervisor.names_for("2001:db8::7")
    assert "*" not in supervisor.names_for("0.0.0.0")
    assert socket.gethostname() in supervisor.names_for("0.0.0.0")


def test_a_port_in_use_is_one_sentence():
    with supervisor.listen_address("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(supervisor.RefusedError, match=f"Port {port} on 127.0.0.1 is in use"):
            supervisor.listen_address("127.0.0.1", port)


@pytest.mark.parametrize("address", ["192.0.2.7", "no.such.host.invalid"])
def test_a_foreign_address_is_one_sentence(address):
    with pytest.raises(supervisor.RefusedError, match="is no address of this machine"):
        supervisor.listen_address(address, 0)


def test_the_url_names_the_port_that_was_free():
    with supervisor.listen_address("127.0.0.1", 0) as taken:
        assert supervisor.url_of(taken) == f"http://127.0.0.1:{taken.getsockname()[1]}/"


def test_everything_together_stops_within_half_a_minute():
    stages = supervisor.WORK_GRACE_SECONDS + supervisor.LAB_GRACE_SECONDS + supervisor.QUEUE_GRACE_SECONDS
    assert stages < 30


def test_workers_take_all_queues_and_fetch_one_message_ahead():
    programs = [supervisor.worker_program(name) for name in supervisor.WORKERS]
    queues = {queue for program in programs for queue in program.command[program.command.index("-Q") + 1].split(",")}
    assert queues == {"operations", "polls", "default", "suspect"}
    for program in programs:
        assert program.command[program.command.index("--prefetch-multiplier") + 1] == "1"


def test_jobs_have_two_workers_and_take_no_thread_from_reading():
    queues = [set(queues.split(",")) for queues, _threads in supervisor.WORKERS.values()]
    assert sum("operations" in taken for taken in queues) == 2
    assert [taken for taken in queues if "operations" not in taken] == [{"polls", "default"}]


def test_the_systems_valkey_serves_where_the_packaged_one_does_not_run(monkeypatch, tmp_path):
    monkeypatch.setattr(supervisor, "_packaged_valkey", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(supervisor.RefusedError, match="install valkey-server"):
        supervisor.valkey_binary()
    server = tmp_path / "redis-server"
    server.touch(0o755)
    assert supervisor.valkey_binary() == str(server)


@pytest.fixture
def running(tmp_path, monkeypatch) -> Iterator[supervisor.Supervisor]:
    """A supervisor without programs."""
    monkeypatch.delenv("GUESTHOUSE_ADMIN_PASSWORD", raising=False)
    instance = data.load_or_create(tmp_path)
    data.make_folders(instance)
    with supervisor.listen_address("127.0.0.1", 0) as taken, data.lock(tmp_path) as lock:
        running = supervisor.Supervisor(supervisor.parse_options(["up"]), instance, lock, taken)
        yield running
        running.stop_all()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), "Resource temporarily unavailable"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate memory"),
        (subprocess.SubprocessError("Exception occurred in preexec_fn."), "preexec_fn"),
    ],
)
def test_a_program_that_cannot_be_started_again_stops_no_other(running, monkeypatch, capsys, error, reason):
    """A machine out of memory, processes or files: it is tried again, less and less often."""
    failures, real = [error, error], processes.start

    def start(*args: Any, **options: Any) -> processes.Child:
        if failures:
            raise failures.pop()
        return real(*args, **options)

    monkeypatch.setattr(processes, "start", start)
    program = Program(name="beat", command=(sys.executable, "-c", "input()"))
    running.due["beat"] = (0.0, program)
    for delay in (1, 2):
        running.tick(0)
        assert "beat" not in running.children
        assert running.due["beat"][0] > time.monotonic()
        said = capsys.readouterr().out
        assert reason in said
        assert f"tried again in {delay} s" in said
        running.due["beat"] = (0.0, program)
    running.tick(0)
    assert "beat" in running.children
    assert not running.due


def test_a_disk_without_room_for_the_address_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "umask", lambda _mask: 0)
    full = Path("/dev/full").open("a", encoding="utf-8")  # noqa: SIM115 - closing it fails, too
    monkeypatch.setattr(data, "lock", lambda _directory: full)
    assert supervisor.main(["up", "--port", "0", "--data", str(tmp_path)]) == 1
    said = capsys.readouterr().out.strip()
    assert said == f"guesthouse: The disk that holds {tmp_path} is full; free some space and start again."
