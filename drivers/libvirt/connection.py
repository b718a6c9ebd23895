"""One libvirt connection: opened with our credentials only, kept alive, used by one thread at a time.

Measured with libvirt 9.0: while one thread is inside a long call such as a migration, the calls of other threads on
the same connection sometimes wait for seconds. So calls on a connection take turns, and whatever runs for long gets
a connection of its own.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cache
from typing import Any

import libvirt

from drivers.errors import AuthFailed, NotSupported, Rejected, Unreachable
from drivers.libvirt import uri
from drivers.libvirt.errors import guarded
from drivers.types import Endpoint, Transport

PROBE_LIMIT_S = 3.0
# A host that fell silent fails a call after interval x (count + 1), 8 s; without it the call hangs for minutes.
KEEPALIVE_INTERVAL_S = 2
KEEPALIVE_COUNT = 3
_ASKED_FOR = {
    libvirt.VIR_CRED_AUTHNAME: "username",
    libvirt.VIR_CRED_USERNAME: "username",
    libvirt.VIR_CRED_PASSPHRASE: "password",
    libvirt.VIR_CRED_NOECHOPROMPT: "password",
}


class Connection:
    """Open until closed. Thread-safe: calls take turns."""

    def __init__(self, endpoint: Endpoint) -> None:
        start_event_loop()
        probe(endpoint)
        self._turn = threading.Lock()
        with ExitStack() as memory:
            target = _uri_of(endpoint, memory)
            asking = [list(_ASKED_FOR), _Answers(endpoint), None]
            self.raw: Any = guarded(libvirt.openAuth, target, asking, 0)
        with suppress(NotSupported):  # a local driver without a wire
            self.call(self.raw.setKeepAlive, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT)

    def call(self, method: Callable[..., Any], *args: Any) -> Any:
        """Call a method of the connection or of one of its objects, when it is our turn. Raises: DriverError."""
        with self._turn:
            return guarded(method, *args)

    def call_raw(self, method: Callable[..., Any], *args: Any) -> Any:
        """As `call`, for a caller that tells libvirt's errors apart itself. Raises: libvirt.libvirtError."""
        with self._turn:
            return method(*args)

    def is_alive(self) -> bool:
        try:
            return bool(self.raw.isAlive())
        except libvirt.libvirtError:
            return False

    def close(self) -> None:
        with suppress(libvirt.libvirtError):  # it was broken already
            self.raw.close()


class _Answers:
    """Answers what libvirt asks while it signs in: each question once, since it repeats a refused one for ever."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._known = {"username": endpoint.username, "password": endpoint.password}

    def __call__(self, questions: list[list[Any]], _data: object) -> int:
        for question in questions:
            answer = self._known.pop(_ASKED_FOR.get(question[0], ""), "")
            if not answer:
                return -1
            question[4] = answer
        return 0


def probe(endpoint: Endpoint) -> None:
    """See whether somebody listens, since libvirt's own connect has no time limit. Raises: Unreachable."""
    ports = {Transport.TCP: uri.TCP_PORT, Transport.SSH: uri.SSH_PORT}
    if endpoint.transport not in ports:
        return
    host = uri.checked_address(endpoint.address).strip("[]")
    port = uri.checked_port(endpoint.port, ports[endpoint.transport])
    try:
        socket.create_connection((host, port), timeout=PROBE_LIMIT_S).close()
    except ConnectionRefusedError:
        raise Unreachable(f"{host} refuses connections on port {port}; check that its service runs.") from None
    except socket.gaierror:
        raise Unreachable(f"The name {host} is not known here; check its spelling or the DNS.") from None
    except OSError:
        raise Unreachable(
            f"{host} does not answer on port {port}; check that it is up and no firewall is between."
        ) from None


def _uri_of(endpoint: Endpoint, memory: ExitStack) -> str:
    if endpoint.transport is Transport.TCP:
        return uri.tcp_uri(endpoint)
    if endpoint.transport is Transport.SSH:
        return _ssh_uri(endpoint, memory)
    return uri.local_uri(endpoint)


def _ssh_uri(endpoint: Endpoint, memory: ExitStack) -> str:
    if not endpoint.host_key:
        raise AuthFailed("No SSH host key was accepted for this source yet; accept it first.")
    if not endpoint.private_key and not endpoint.password:
        raise AuthFailed("This source has neither an SSH key nor a password; enter one.")
    parts = endpoint.host_key.split()
    if len(parts) < 2 or "\n" in endpoint.host_key:  # noqa: PLR2004
        raise Rejected("The accepted SSH host key is not one; accept it again.")
    host = uri.checked_address(endpoint.address).strip("[]")
    port = uri.checked_port(endpoint.port, uri.SSH_PORT)
    place = host if port == uri.SSH_PORT else f"[{host}]:{port}"
    known_hosts = _in_memory(memory, "known_hosts", f"{place} {parts[0]} {parts[1]}\n")
    key_file = _in_memory(memory, "key", endpoint.private_key) if endpoint.private_key else ""
    return uri.ssh_uri(endpoint, known_hosts=known_hosts, key_file=key_file)


def _in_memory(memory: ExitStack, name: str, text: str) -> str:
    """A file that is on no disk, readable by this process only, and gone when `memory` closes or the process dies."""
    handle = os.memfd_create(name)
    memory.callback(os.close, handle)
    os.write(handle, text.encode())
    return f"/proc/self/fd/{handle}"


def start_event_loop() -> None:
    """Keep-alives need a running event loop: one thread for the life of the process."""
    with _loop_guard:
        _start_event_loop_once()


_loop_guard = threading.Lock()


@cache
def _start_event_loop_once() -> None:
    libvirt.registerErrorHandler(lambda *_: None, None)  # it prints every error to stderr otherwise
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run_events, daemon=True, name="libvirt-events").start()


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
