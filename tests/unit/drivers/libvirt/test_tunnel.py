"""The ssh command: only the accepted host key, only our credential, no secret where others can read it."""

import os
import stat
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.errors import AuthFailed, DriverError, HostKeyChanged, Rejected, Unreachable
from drivers.libvirt.tunnel import ASKPASS, Tunnel, _Command, memory_file
from drivers.types import Endpoint, Transport

SECRET = "correct-horse-battery"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINDKnOX8tNQD/t/8Fv0HyW2/DYkpNHS8p5dwpladC7As"
ENDPOINT = Endpoint("libvirt", Transport.SSH, address="192.0.2.9", username="vm", private_key=SECRET, host_key=KEY)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"host_key": ""}, AuthFailed),
        ({"private_key": "", "password": ""}, AuthFailed),
        ({"host_key": "ssh-ed25519"}, Rejected),
        ({"host_key": f"{KEY}\n* ssh-rsa AAAA"}, Rejected),
        ({"host_key": "ssh-dss " + KEY.split()[1]}, Rejected),
        ({"username": "-oProxyCommand=x"}, Rejected),
        ({"address": "-oProxyCommand=x"}, Rejected),
        ({"port": 0}, Rejected),
    ],
)
def test_an_endpoint_that_cannot_be_right_is_refused(change: dict[str, str], kind: type[DriverError]) -> None:
    with pytest.raises(kind):
        _Command(replace(ENDPOINT, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["private_key", "password"])
def test_secrets_are_in_no_argument_and_no_environment(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started: dict[str, object] = {}

    def note(command: list[str], **options: object) -> None:
        started.update(options, command=command)

    monkeypatch.setattr(subprocess, "Popen", note)
    endpoint = replace(ENDPOINT, private_key="", password="") if field == "password" else ENDPOINT
    with ExitStack() as files, Path(os.devnull).open("rb") as nothing:
        _Command(replace(endpoint, **{field: SECRET})).start(nothing, files)  # type: ignore[arg-type]
    command = [str(word) for word in started["command"]]  # type: ignore[attr-defined]
    assert SECRET not in " ".join(command) + repr(started["env"])
    assert "StrictHostKeyChecking=yes" in command
    assert "HostKeyAlgorithms=ssh-ed25519" in command
    assert command[command.index("--") + 1] == "192.0.2.9"


def test_a_memory_file_is_private_and_goes_with_its_owner() -> None:
    with ExitStack() as files:
        path = Path(memory_file(files, "key", SECRET))
        assert path.read_text() == SECRET
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_ssh_gets_the_password_from_the_memory_file() -> None:
    with ExitStack() as files:
        environment = {"PATH": os.environ["PATH"], "GUESTHOUSE_ASKPASS_FILE": memory_file(files, "password", SECRET)}
        answer = subprocess.run([str(ASKPASS), "Password:"], env=environment, capture_output=True, check=True)
    assert answer.stdout.decode() == SECRET


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", HostKeyChanged),
        ("Unable to negotiate with h port 22: no matching host key type found. Their offer: ssh-rsa", HostKeyChanged),
        ("vm@h: Permission denied (publickey,password).", AuthFailed),
        ("sh: 1: nc: not found", Rejected),
        ("error: Failed to connect socket to '/run/libvirt/libvirt-sock': Permission denied", AuthFailed),
        ("error: Failed to connect socket to '/run/libvirt/libvirt-sock': No such file or directory", Rejected),
        ("kex_exchange_identification: read: Connection reset by peer", Unreachable),
        ("", Unreachable),
    ],
)
def test_what_ssh_says_becomes_a_sentence(said: str, kind: type[DriverError]) -> None:
    tunnel = Tunnel(ENDPOINT)
    tunnel.close()
    tunnel._finished.wait()
    tunnel._messages = said.encode()
    explained = tunnel.explain(Unreachable("Otherwise."))
    assert type(explained) is kind
    assert explained.message.endswith(".")


def test_an_unused_tunnel_leaves_nothing() -> None:
    tunnel = Tunnel(ENDPOINT)
    directory = Path(tunnel._directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    tunnel.close()
    assert tunnel._finished.wait(60)
    assert not directory.exists()


HELD = """
import socket, sys
from tests.unit.drivers.libvirt.test_tunnel import ENDPOINT, Tunnel
tunnel, libvirt = Tunnel(ENDPOINT), socket.socket(socket.AF_UNIX)
libvirt.connect(tunnel.uri.partition("socket=")[2])
sys.stdin.read()
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_ssh_whose_host_hangs_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """OpenSSH tells the host that nothing more comes, and waits for it to end: a hung one never does."""
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/new\nmv {tmp_path}/new {tmp_path}/pid\nexec sleep 600\n")
    ssh.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    holder = subprocess.Popen([sys.executable, "-c", HELD], env=environment, stdin=subprocess.PIPE)
    try:
        while not (tmp_path / "pid").exists():
            assert holder.poll() is None
            time.sleep(0.01)
    finally:
        holder.kill()
        holder.communicate()
    pid, limit = int((tmp_path / "pid").read_text()), time.monotonic() + 60
    while is_running(pid):
        assert time.monotonic() < limit, "it goes on for ever"
        time.sleep(0.01)
