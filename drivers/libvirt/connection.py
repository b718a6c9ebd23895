"""One libvirt connection: opened with our credentials only, kept alive, used by one thread at a time.

Measured with libvirt 9.0: while one thread is inside a long call such as a migration, the calls of other threads on
the same connection sometimes wait for seconds. So calls on a connection take turns, and whatever runs for long gets
a connection of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import libvirt

from drivers.errors import DriverError, NotSupported
from drivers.libvirt import uri
from drivers.libvirt.errors import guarded
from drivers.libvirt.tls_tunnel import TlsTunnel
from drivers.libvirt.tunnel import Tunnel
from drivers.reach import reach
from drivers.types import Endpoint, Transport

PROBE_LIMIT_S = 3.0
# A host that fell silent fails a call after interval x (count + 1), 8 s; without it the call hangs for minutes.
KEEPALIVE_INTERVAL_S = 2
KEEPALIVE_COUNT = 3
_TUNNELS: dict[Transport, type[Tunnel] | type[TlsTunnel]] = {Transport.SSH: Tunnel, Transport.TLS: TlsTunnel}
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
        self._tunnel: Tunnel | TlsTunnel | None = None
        self.raw: Any = self._connect(endpoint)
        with suppress(NotSupported):  # a local driver without a wire
            self.call(self.raw.setKeepAlive, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT)

    def _connect(self, endpoint: Endpoint) -> Any:
        if endpoint.transport is Transport.TCP:
            return _open(uri.tcp_uri(endpoint), endpoint)
        if endpoint.transport not in _TUNNELS:
            return _open(uri.local_uri(endpoint), endpoint)
        self._tunnel = _TUNNELS[endpoint.transport](endpoint)
        try:
            raw = _open(self._tunnel.uri, endpoint)
        except DriverError as error:
            explained = self._tunnel.explain(error)
            self._tunnel.close()
            raise explained from None
        self._tunnel.forget_secrets()
        return raw

    @property
    def server_certificate(self) -> str:
        """What the host presented by TLS, spelled as Endpoint.host_key; else empty."""
        return self._tunnel.server_certificate if isinstance(self._tunnel, TlsTunnel) else ""

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
        if self._tunnel is not None:
            self._tunnel.close()


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
    if endpoint.transport not in ports:  # by TLS we connect by ourselves
        return
    host = uri.checked_address(endpoint.address).strip("[]")
    port = uri.checked_port(endpoint.port, ports[endpoint.transport])
    reach(host, port, PROBE_LIMIT_S).close()


def _open(target: str, endpoint: Endpoint) -> Any:
    return guarded(libvirt.openAuth, target, [list(_ASKED_FOR), _Answers(endpoint), None], 0)


def start_event_loop() -> None:
    """Keep-alives need a running event loop: one thread for the life of the process."""
    with _loop_guard:
        _start_event_loop_once()


_loop_guard = threading.Lock()


@cache
def _start_event_loop_once() -> None:
    libvirt.registerErrorHandler(lambda *_error: None, None)  # it prints every error to stderr otherwise
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run_events, daemon=True, name="libvirt-events").start()


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
