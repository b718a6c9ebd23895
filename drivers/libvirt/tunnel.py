"""SSH by OpenSSH's own client: it carries one libvirt connection over a private socket.

libvirt's built-in SSH transports were tried with libvirt 9.0 first. libssh stalls on answers over 8 KB until the next
packet comes; libssh2 1.10 cannot use RSA keys, and asks the host for another kind of host key than the accepted one.

Secrets are on no disk, in no argument and in no environment: ssh reads them from memory files of this process.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

from drivers.errors import AuthFailed, DriverError, HostKeyChanged, Rejected, Unreachable
from drivers.libvirt import uri
from drivers.types import Endpoint
from drivers.words import gettext_noop as _

CONNECT_LIMIT_S = 10
ALIVE_INTERVAL_S = 5  # with three misses: an ssh whose host fell silent ends within 20 s
MOST_MESSAGES = 16_384
ASKPASS = Path(__file__).with_name("askpass.sh")
HOST_KEY_ALGORITHMS = {
    "ssh-ed25519": "ssh-ed25519",
    "ecdsa-sha2-nistp256": "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384": "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521": "ecdsa-sha2-nistp521",
    "ssh-rsa": "rsa-sha2-512,rsa-sha2-256",
}
# What libvirt's own ssh transport runs: its helper, or a netcat on hosts before libvirt 6.8.
# Source: https://libvirt.org/uri.html#ssh-transport
REMOTE_COMMAND = (
    "if command -v virt-ssh-helper >/dev/null 2>&1; then exec virt-ssh-helper {hypervisor}:///system; fi; "
    'wait=; if nc -q 2>&1 | grep -q "requires an argument"; then wait="-q 0"; fi; '
    "exec nc $wait -U /run/libvirt/libvirt-sock"
)
_HOST_KEY_DATA = re.compile(r"[A-Za-z0-9+/]{40,4000}={0,2}")
_CASES: tuple[tuple[str, DriverError], ...] = (
    (
        r"HOST IDENTIFICATION HAS CHANGED|Host key verification failed|no matching host key type",
        HostKeyChanged(_("The host's SSH key is not the accepted one; find out why before you accept the new one.")),
    ),
    (
        r"Permission denied \(|Too many authentication failures|error in libcrypto|invalid format",
        AuthFailed(_("The host refused the sign-in; check the user and its password or key.")),
    ),
    (
        r"socket to .*: Permission denied|authentication unavailable|access denied",
        AuthFailed(_("The account may not use libvirt on the host; add it to the group libvirt there.")),
    ),
    (
        r"not found|No such file or directory|Failed to connect socket|Connection refused.*libvirt",
        Rejected(_("SSH works, but libvirt does not answer on the host; check that it is installed and runs.")),
    ),
)


class Tunnel:
    """One private socket behind which the host's libvirt answers, for one connection."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._options, self._files = _Command(endpoint), ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._messages = b""
        self._finished = threading.Event()
        self._directory = tempfile.mkdtemp(prefix="guesthouse-")  # mode 0700
        self._path = f"{self._directory}/s"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._path)
        self._listener.listen(1)
        threading.Thread(target=self._carry, daemon=True, name="ssh-tunnel").start()

    @property
    def uri(self) -> str:
        return uri.socket_uri(self._endpoint, self._path)

    def _carry(self) -> None:
        """Give the first connection to an ssh as its input and output, then wait for its end."""
        try:
            with self._listener:
                connection, _address = self._listener.accept()
            with connection:
                self._process = self._options.start(connection, self._files)
            assert self._process.stderr is not None  # noqa: S101 (we asked for the pipe)
            self._messages = self._process.stderr.read(MOST_MESSAGES)
            self._process.stderr.close()
            self._process.wait()
        except OSError:
            pass  # closed before it was used, or no ssh on this machine: the connection breaks
        finally:
            self._files.close()
            self._finished.set()

    def forget_secrets(self) -> None:
        """Once connected, nothing needs the socket's name or the credentials any more."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._files.close()

    def close(self) -> None:
        """End the ssh, whatever state it is in."""
        self.forget_secrets()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes an accept that nobody will come to
        if self._process is not None:
            self._process.terminate()

    def explain(self, otherwise: DriverError) -> DriverError:
        """Why the connection failed, by what ssh said."""
        self._finished.wait(CONNECT_LIMIT_S)
        said = self._messages.decode(errors="replace")
        for pattern, error in _CASES:
            if re.search(pattern, said):
                return error.copy()
        return (
            otherwise if not said else Unreachable(_("The SSH connection to the host failed; check its SSH service."))
        )


class _Command:
    """The ssh command for one endpoint. Raises: AuthFailed, Rejected for an endpoint that cannot be right."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._user = uri.checked_username(endpoint.username)
        self._host = uri.checked_address(endpoint.address).strip("[]")
        self._port = uri.checked_port(endpoint.port, uri.SSH_PORT)
        self._remote = REMOTE_COMMAND.format(hypervisor=endpoint.hypervisor.value)
        self._algorithm, self._host_key = _checked_host_key(endpoint.host_key)
        if not endpoint.private_key and not endpoint.password:
            raise AuthFailed(_("This source has neither an SSH key nor a password; enter one."))
        self._private_key, self._password = endpoint.private_key, endpoint.password

    def start(self, connection: socket.socket, files: ExitStack) -> subprocess.Popen[bytes]:
        known_hosts = memory_file(files, "known_hosts", f"guesthouse {self._algorithm} {self._host_key}\n")
        options = {**self._common_options(known_hosts), **self._sign_in_options(files)}
        command = ["ssh", "-F", "none", "-T", "-p", str(self._port), "-l", self._user]
        command += [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        if self._password and not self._private_key:
            environment |= {"SSH_ASKPASS": str(ASKPASS), "SSH_ASKPASS_REQUIRE": "force"}
            environment["GUESTHOUSE_ASKPASS_FILE"] = memory_file(files, "password", self._password)
        return subprocess.Popen(
            [*_tied(), *command, "--", self._host, self._remote],
            env=environment,
            stdin=connection.fileno(),
            stdout=connection.fileno(),
            stderr=subprocess.PIPE,
            start_new_session=True,  # no terminal to ask on, no signals meant for others
        )

    def _common_options(self, known_hosts: str) -> dict[str, str]:
        return {
            "UserKnownHostsFile": known_hosts,
            "GlobalKnownHostsFile": "none",
            "HostKeyAlias": "guesthouse",
            "HostKeyAlgorithms": HOST_KEY_ALGORITHMS[self._algorithm],
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "CheckHostIP": "no",
            "ConnectTimeout": str(CONNECT_LIMIT_S),
            "ServerAliveInterval": str(ALIVE_INTERVAL_S),
            "NumberOfPasswordPrompts": "1",
            "IdentityAgent": "none",
            "IdentitiesOnly": "yes",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "ControlPath": "none",
            "LogLevel": "INFO",  # at ERROR it keeps silent about a host key of another kind
        }

    def _sign_in_options(self, files: ExitStack) -> dict[str, str]:
        if not self._private_key:
            return {"PreferredAuthentications": "password,keyboard-interactive", "PubkeyAuthentication": "no"}
        return {
            "PreferredAuthentications": "publickey",
            "BatchMode": "yes",
            "IdentityFile": memory_file(files, "key", self._private_key),
        }


def _tied() -> list[str]:
    """Put before ssh: the kernel ends it with the thread that starts it, which waits for it.

    When its input ends, ssh waits until the host ends the connection, too; one that hangs never does.
    Source: setpriv(1), prctl(2), PR_SET_PDEATHSIG
    """
    setpriv = shutil.which("setpriv") if shutil.which("ssh") else None
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _checked_host_key(host_key: str) -> tuple[str, str]:
    if not host_key:
        raise AuthFailed(_("No SSH host key was accepted for this source yet; accept it first."))
    algorithm, _space, data = host_key.strip().partition(" ")
    if algorithm not in HOST_KEY_ALGORITHMS or not _HOST_KEY_DATA.fullmatch(data):
        raise Rejected(_("The accepted SSH host key is not one; accept it again."))
    return algorithm, data


def memory_file(files: ExitStack, name: str, text: str) -> str:
    """A file that is on no disk, readable by this user only, gone when `files` closes or this process dies."""
    handle = os.memfd_create(name)
    files.callback(os.close, handle)
    os.fchmod(handle, 0o600)  # ssh refuses a key that others may read
    os.write(handle, text.encode())
    # By our own number: ssh closes what it inherits.
    return f"/proc/{os.getpid()}/fd/{handle}"
