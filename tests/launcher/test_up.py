"""The running console: start, second start, signals, deaths."""

import os
import re
import signal
import socket
from pathlib import Path

import pytest

from config.processes import descendants_of

PASSWORD = re.compile(r"Sign in as admin with the password (\S+)")


def test_the_first_start_shows_the_password_once_and_serves(start_console):
    console = start_console()
    password = console.read_until(PASSWORD).group(1)
    assert len(password) >= 12
    console.url()
    assert console.get("healthz") == 200
    assert console.stop() == 0, console.text
    assert console.text.count(password) == 1
    assert password not in console.logs()
    again = start_console(data=console.data)
    again.url()
    assert "password" not in again.text


# Runs a command in a network namespace that has nothing but its own loopback.
CUT_OFF = (
    "unshare",
    "--net",
    "sh",
    "-c",
    'ip link set lo up && ! ip route get 192.0.2.1 2>/dev/null && exec "$@"',
    "_",
)


def test_a_second_start_needs_no_network(start_console):
    first = start_console()
    first.url()
    assert first.stop() == 0
    second = start_console(data=first.data, by=CUT_OFF)
    second.url()
    assert second.stop() == 0


def test_a_given_password_is_not_shown(start_console):
    console = start_console(GUESTHOUSE_ADMIN_PASSWORD="sun-moon-and-7-stars")
    console.url()
    assert "password" not in console.text
    assert "sun-moon-and-7-stars" not in console.logs()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_launcher_alone_ends_every_process(start_console, number):
    console = start_console()
    console.url()
    processes = console.processes()
    assert len(processes) >= 3
    assert console.stop(number) == 0, console.text
    assert [process.command for process in processes if not process.has_ended()] == []


def test_a_signal_before_the_pages_are_served_ends_every_process(start_console):
    console = start_console()
    console.read_until(PASSWORD)
    processes = console.processes()
    assert console.stop() == 0, console.text
    assert [process.command for process in processes if not process.has_ended()] == []


def test_ctrl_c_twice_stops_in_order(start_console):
    console = start_console()
    console.url()
    processes = console.processes()
    console.process.send_signal(signal.SIGINT)
    console.read_until("Stopping")
    assert console.stop(signal.SIGINT) == 0
    assert "Traceback" not in console.text
    assert [process.command for process in processes if not process.has_ended()] == []


def test_kill_of_the_supervisor_leaves_no_process_and_the_next_start_heals(start_console):
    console = start_console()
    console.url()
    processes = console.processes()
    console.stop(signal.SIGKILL)
    assert [process.command for process in processes if not process.has_ended(seconds=60)] == []
    start_console(data=console.data).url()


def test_a_second_start_names_the_address_of_the_first(start_console):
    first = start_console()
    url = first.url()
    second = start_console(data=first.data)
    second.read_until(re.escape(f"already runs with the data in {first.data}: {url}"))
    assert second.end() == 1
    assert first.get("healthz") == 200


def test_a_port_in_use_is_one_sentence(start_console):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        console = start_console("up", "--port", str(port))
        console.read_until(f"^guesthouse: Port {port} on 127.0.0.1 is in use by another program")
        assert console.end() == 1
    assert len(console.lines) == 1


def test_a_process_that_dies_is_started_again(start_console):
    console = start_console()
    console.url()
    web = find(console, "uvicorn")
    os.kill(web, signal.SIGKILL)
    console.read_until(r"web was ended by SIGKILL; it starts again in 1 s\. See .*web\.log\.$")
    assert console.get("healthz") == 200
    assert find(console, "uvicorn") != web


def find(console, word: str) -> int:
    for pid in descendants_of(console.process.pid):
        if word in Path(f"/proc/{pid}/cmdline").read_text():
            return pid
    raise AssertionError(f"no process runs {word}")


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"GUESTHOUSE_DEBUG": "1"}, "Debug mode may not serve on a public address"),
        ({"GUESTHOUSE_ALLOWED_HOSTS": "*"}, r"GUESTHOUSE_ALLOWED_HOSTS=\* may not serve on a public address"),
    ],
)
def test_unsafe_settings_are_refused_on_a_public_address(start_console, environment, sentence):
    console = start_console("up", "--bind", "0.0.0.0", **environment)
    console.read_until(f"^guesthouse: {sentence}")
    assert console.end() == 1
    assert len(console.lines) == 1


def test_an_empty_secret_key_is_refused(start_console, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir(0o700)
    (folder / "instance.json").write_text('{"format": 1, "id": "1", "secret_key": "", "fernet_keys": ["x"]}')
    console = start_console(data=folder)
    console.read_until("^guesthouse: The secret key in .* is empty")
    assert console.end() == 1


def test_a_database_server_that_is_away_is_one_sentence(start_console):
    console = start_console(DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    console.read_until("^guesthouse: The database server named by DATABASE_URL cannot be used")
    assert console.end() == 1
    assert len(console.lines) == 1


def test_all_that_is_kept_is_private(start_console):
    console = start_console()
    console.url()
    assert console.data.stat().st_mode & 0o777 == 0o700
    kept = [path for path in console.data.rglob("*") if path.relative_to(console.data).parts[0] != "static"]
    assert len(kept) > 5
    open_to_others = [path for path in kept if path.stat().st_mode & 0o077]
    assert open_to_others == []


def test_manage_uses_the_named_data(launch, start_console):
    console = start_console()
    console.url()
    done = launch("manage", "create_token", "admin", GUESTHOUSE_DATA=str(console.data))
    assert done.returncode == 0, done.stderr
    assert console.get("api/v1/hosts/", Authorization=f"Bearer {done.stdout.split()[-1]}") == 200
