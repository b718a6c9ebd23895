"""The handshake and the pump behind it, against TLS servers of our own: what libvirt does not do by itself."""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from drivers import tls
from drivers.errors import AuthFailed, HostKeyChanged, Unreachable
from drivers.libvirt import tls_tunnel
from drivers.libvirt.tls_tunnel import MOST_WAITING, Pump, TlsTunnel
from drivers.tls import connect, fact_of, probe_certificate
from drivers.types import Endpoint, Hypervisor, Transport
from tests.certificates import CLIENT, SERVER, Made, make

CA = make("CA", ca=True)
HOST = make("kvm-01", CA, usage=(SERVER,), names=("kvm-01.example.org",), addresses=("127.0.0.1",))
OURS = make("console", CA, usage=(CLIENT,))

Serve = Callable[[ssl.SSLSocket], None]


def welcome(secure: ssl.SSLSocket) -> None:
    secure.sendall(tls.WELCOME)


@contextmanager
def server(made: Made, folder: Path, serve: Serve = welcome) -> Iterator[Endpoint]:
    """One that demands a certificate of our CA, as libvirtd does. What it does with each connection is `serve`'s."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (folder / "server.pem").write_text(made.pem + made.key)
    context.load_cert_chain(folder / "server.pem")
    context.load_verify_locations(cadata=CA.pem)
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                plain, _address = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(plain, server_side=True) as secure:
                    serve(secure)
            except OSError:
                plain.close()

    threading.Thread(target=accept, daemon=True).start()
    with closing(listener):
        yield Endpoint(
            kind="libvirt",
            transport=Transport.TLS,
            address="127.0.0.1",
            port=listener.getsockname()[1],
            server_name="kvm-01.example.org",
            ca_certificate=CA.pem,
            client_certificate=OURS.pem,
            private_key=OURS.key,
        )


def test_both_sides_agree(tmp_path: Path) -> None:
    with server(HOST, tmp_path) as endpoint:
        secure, presented = connect(endpoint)
        with secure:
            assert secure.version() in {"TLSv1.2", "TLSv1.3"}
        assert presented == probe_certificate(endpoint)
        assert presented == fact_of(ssl.PEM_cert_to_DER_cert(HOST.pem))


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (make("kvm-01", CA, usage=(SERVER,), names=("kvm-01.example.org",), days=-0.5), "has expired"),
        (make("kvm-01", CA, usage=(SERVER,), names=("kvm-01.example.org",), since=-0.5), "not valid yet"),
        (make("kvm-01", CA, usage=(SERVER,), names=("kvm-02.example.org",)), "is not for kvm-01.example.org"),
        (make("kvm-01", make("CA", ca=True), usage=(SERVER,), names=("kvm-01.example.org",)), "did not sign"),
        (make("kvm-01", usage=(SERVER,), names=("kvm-01.example.org",)), "did not sign"),
    ],
)
def test_a_certificate_that_will_not_do(made: Made, says: str, tmp_path: Path) -> None:
    with server(made, tmp_path) as endpoint, pytest.raises(AuthFailed, match=says):
        connect(endpoint)


def test_by_address_the_address_must_stand_in_it(tmp_path: Path) -> None:
    with server(HOST, tmp_path) as endpoint:
        connect(replace(endpoint, server_name="127.0.0.1"))[0].close()
        with pytest.raises(AuthFailed, match=r"is not for 127\.0\.0\.2"):
            connect(replace(endpoint, server_name="127.0.0.2"))


def test_an_accepted_certificate_needs_neither_name_nor_authority(tmp_path: Path) -> None:
    own = make("whatever")
    with server(own, tmp_path) as endpoint:
        pinned = replace(endpoint, ca_certificate="", host_key=fact_of(ssl.PEM_cert_to_DER_cert(own.pem)).key)
        connect(pinned)[0].close()
        with pytest.raises(HostKeyChanged):
            connect(replace(pinned, host_key=fact_of(ssl.PEM_cert_to_DER_cert(HOST.pem)).key))


def test_a_client_the_host_does_not_know(tmp_path: Path) -> None:
    stranger = make("console", usage=(CLIENT,))
    with server(HOST, tmp_path) as endpoint, pytest.raises(AuthFailed, match="refused the client certificate"):
        connect(replace(endpoint, client_certificate=stranger.pem, private_key=stranger.key))


def test_a_host_that_hangs_up_after_the_handshake_refused(tmp_path: Path) -> None:
    """As libvirtd does for a name that is not on its list."""
    with (
        server(HOST, tmp_path, lambda _secure: None) as endpoint,
        pytest.raises(AuthFailed, match="tls_allowed_dn_list"),
    ):
        connect(endpoint)


def test_a_host_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_LIMIT_S", 0.1)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        endpoint = Endpoint(
            "libvirt",
            Transport.TLS,
            "127.0.0.1",
            silent.getsockname()[1],
            ca_certificate=CA.pem,
            client_certificate=OURS.pem,
            private_key=OURS.key,
        )
        for ask in (connect, probe_certificate):
            with pytest.raises(Unreachable, match="does not go on"):
                ask(endpoint)


# -- the pump


def echo(secure: ssl.SSLSocket) -> None:
    secure.sendall(tls.WELCOME)
    while data := secure.recv(10_000):
        secure.sendall(data)


def through(tunnel: TlsTunnel) -> socket.socket:
    """What libvirt would be."""
    plain = socket.socket(socket.AF_UNIX)
    plain.settimeout(60)
    plain.connect(tunnel.uri.partition("socket=")[2])
    tunnel.forget_secrets()
    return plain


def received(plain: socket.socket, length: int) -> bytes:
    found = bytearray()
    while len(found) < length and (data := plain.recv(1 << 16)):
        found += data
    return bytes(found)


def test_much_goes_both_ways_at_once(tmp_path: Path) -> None:
    """More than all buffers hold, while nobody reads at first."""
    sent = os.urandom(8 << 20)
    with server(HOST, tmp_path, echo) as endpoint:
        tunnel = TlsTunnel(endpoint)
        with through(tunnel) as plain:
            threading.Thread(target=plain.sendall, args=(sent,), daemon=True).start()
            assert received(plain, len(sent)) == sent
        tunnel.close()


def test_what_the_host_said_last_arrives(tmp_path: Path) -> None:
    def farewell(secure: ssl.SSLSocket) -> None:
        secure.sendall(tls.WELCOME + b"x" * 300_000)

    with server(HOST, tmp_path, farewell) as endpoint:
        tunnel = TlsTunnel(endpoint)
        with through(tunnel) as plain:
            assert received(plain, 300_001) == b"x" * 300_000
        tunnel.close()


def test_a_host_that_takes_nothing_keeps_no_processor_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirt has gone, and what it sent last still waits for the host: that it has gone is not told over and over."""
    told: list[tuple[int, int]] = []

    def poll() -> SimpleNamespace:
        waiting = select.poll()
        return SimpleNamespace(register=waiting.register, poll=lambda: told.extend(waiting.poll(0)))

    events = {name: getattr(select, name) for name in ("POLLIN", "POLLOUT")}
    monkeypatch.setattr(tls_tunnel, "select", SimpleNamespace(poll=poll, **events))
    (plain, libvirt), (host, _silent) = socket.socketpair(), socket.socketpair()
    libvirt.close()
    host.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            host.send(b"x" * MOST_WAITING)
    pump = Pump(plain, SimpleNamespace(fileno=host.fileno, pending=int))  # type: ignore[arg-type]
    pump._to_secure += b"x" * MOST_WAITING
    pump._wait()
    assert told == []


def test_no_host_starts_the_handshake_again(tmp_path: Path) -> None:
    """With another certificate, it might be."""
    with server(HOST, tmp_path) as endpoint:
        secure, _presented = connect(endpoint)
        with secure:
            assert secure.context.options & ssl.OP_NO_RENEGOTIATION


def test_closed_before_anybody_came(tmp_path: Path) -> None:
    with server(HOST, tmp_path, echo) as endpoint:
        tunnel = TlsTunnel(endpoint)
        path = Path(tunnel.uri.partition("socket=")[2])
        assert path.exists()
        assert path.parent.stat().st_mode & 0o777 == 0o700
        tunnel.close()
        assert not path.parent.exists()


def test_closing_ends_the_connection(tmp_path: Path) -> None:
    with server(HOST, tmp_path, echo) as endpoint:
        tunnel = TlsTunnel(endpoint)
        with through(tunnel) as plain:
            plain.sendall(b"ping")
            assert received(plain, 4) == b"ping"
            tunnel.close()
            assert plain.recv(1) == b""


def test_the_hypervisor_is_named(tmp_path: Path) -> None:
    with server(HOST, tmp_path, echo) as endpoint:
        tunnel = TlsTunnel(replace(endpoint, hypervisor=Hypervisor.LXC))
        assert tunnel.uri.startswith("lxc+unix:///system?socket=/")
        tunnel.close()
