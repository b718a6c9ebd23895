"""A real SSH server on a lab host, as an administrator would have one there."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers.types import Endpoint, Transport
from lab import hosts
from lab.api import LabHost
from tests.contract.subjects import wait_until

PORT = 2222
USER, PASSWORD = "vmadmin", "correct-horse-battery"
KINDS = {"ed25519": ["-t", "ed25519"], "ecdsa": ["-t", "ecdsa"], "rsa": ["-t", "rsa", "-b", "2048"]}


def make_key(folder: Path, name: str, kind: str) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", folder / name, *KINDS[kind]], check=True)
    return folder / name


def public(key: Path) -> str:
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


def fingerprint(key: Path) -> str:
    """As ssh-keygen shows it on the host."""
    shown = subprocess.run(["ssh-keygen", "-lf", key.with_suffix(".pub")], check=True, capture_output=True, text=True)
    return shown.stdout.split()[1]


@dataclass(frozen=True)
class Server:
    """It has an ed25519 and an ecdsa host key, and knows one client key of each kind and the account's password."""

    host: LabHost
    folder: Path

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(
            kind="libvirt",
            transport=Transport.SSH,
            address=self.host.address,
            port=PORT,
            username=USER,
            private_key=(self.folder / "client-ed25519").read_text(),
            host_key=public(self.folder / "host-ed25519"),
        )


@contextmanager
def ssh_server(host: LabHost, folder: Path) -> Iterator[Server]:
    """Skips where no sshd is installed; `./guesthouse test` installs one."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") or pytest.skip("there is no sshd here")
    clients = [make_key(folder, f"client-{kind}", kind) for kind in KINDS]
    host_keys = [make_key(folder, f"host-{kind}", kind) for kind in ("ed25519", "ecdsa")]
    forced = make_key(folder, "client-forced", "ed25519")
    known = [public(key) for key in clients]
    known.append(f'restrict,command="virt-ssh-helper qemu:///system" {public(forced)}')
    (folder / "authorized").write_text("\n".join(known) + "\n")
    lines = [f"HostKey {key}" for key in host_keys]
    lines += [f"Port {PORT}", f"ListenAddress {host.address}", f"AuthorizedKeysFile {folder}/authorized"]
    lines += ["PidFile none", "UsePAM no", "StrictModes no", "PasswordAuthentication yes", "PermitRootLogin yes"]
    if version_of(sshd) >= (9, 8):
        lines.append("PerSourcePenalties no")  # tests are refused on purpose, again and again from one address
    (folder / "sshd.conf").write_text("\n".join(lines) + "\n")
    account = f"mkdir -p /run/sshd; id {USER} >/dev/null 2>&1 || useradd -M -o -u 0 {USER}"
    subprocess.run(_inside(host, "sh", "-c", f"{account}; echo '{USER}:{PASSWORD}' | chpasswd"), check=True)
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(_inside(host, sshd, "-D", "-e", "-f", f"{folder}/sshd.conf"), stdout=log, stderr=log)
    wait_until(lambda: process.poll() is not None or _listens(host.address), "sshd listening")
    assert process.poll() is None, (folder / "sshd.log").read_text()
    yield Server(host, folder)
    for child in children_of(process.pid):  # nsenter waits for the sshd it forked
        os.kill(child, signal.SIGTERM)
    process.wait()


def version_of(sshd: str) -> tuple[int, ...]:
    """OpenSSH's, which it names when it does not know an option."""
    told = subprocess.run([sshd, "-?"], capture_output=True, text=True, check=False).stderr
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", told)
    return tuple(map(int, found.groups())) if found else (0, 0)


def trust(host: LabHost, *servers: Server) -> None:
    """Let the host's root, who runs its libvirt, sign in to these without a question: for migrations between them."""
    config = "".join(
        f"Host {server.host.address}\n  IdentityFile {server.folder}/client-ed25519\n"
        f"  UserKnownHostsFile {server.folder}/known_hosts\n"
        for server in servers
    )
    for server in servers:
        known = f"[{server.host.address}]:{PORT} {public(server.folder / 'host-ed25519')}\n"
        (server.folder / "known_hosts").write_text(known)
    subprocess.run(
        _inside(host, "tee", "/etc/ssh/ssh_config.d/guesthouse-test.conf"),
        input=config.encode(),
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _inside(host: LabHost, *command: str) -> list[str]:
    init = hosts.init_pid(host.lab.place, host.name)
    # Its root, too: in a chroot the mount namespace alone leads out of it.
    return ["nsenter", "-t", str(init), "-m", "-r", "-u", "-i", "-n", "-p", "--", *command]


def _listens(address: str) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((address, PORT), timeout=1).close()
        return True
    return False


def children_of(pid: int) -> list[int]:
    listed = (Path(f"/proc/{pid}/task") / task.name / "children" for task in Path(f"/proc/{pid}/task").iterdir())
    return [int(child) for path in listed for child in path.read_text().split()]
