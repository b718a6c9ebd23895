"""libvirt over TLS on a real host: both sides look at the other's certificate, and neither looks away."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.errors import AuthFailed, DriverError, HostKeyChanged, Rejected, Unreachable
from drivers.isolation import SessionPool
from drivers.libvirt.connection import Connection
from drivers.tls import fact_of, probe_certificate
from drivers.types import Endpoint, Transport
from lab import tls
from lab.api import Lab, LabHost
from lab.hosts import init_pid
from tests.certificates import CLIENT, SERVER, load, make
from tests.contract.conftest import lab_endpoint
from tests.contract.subjects import DEADLINE_S
from tests.contract.test_reads import settled


@pytest.fixture
def host(wide_lab: Lab) -> LabHost:
    return wide_lab.hosts[0]


def read(folder: Path, name: str) -> str:
    return (folder / name).read_text()


@pytest.fixture
def endpoint(host: LabHost) -> Endpoint:
    """Verified by the lab's own CA."""
    folder = tls.client_folder(host.lab.place)
    return Endpoint(
        kind="libvirt",
        transport=Transport.TLS,
        address=host.address,
        server_name=host.fqdn,
        ca_certificate=read(folder, "cacert.pem"),
        client_certificate=read(folder, "clientcert.pem"),
        private_key=read(folder, "clientkey.pem"),
    )


@pytest.fixture
def pinned(endpoint: Endpoint) -> Endpoint:
    """Verified by what a person accepted."""
    return replace(endpoint, ca_certificate="", host_key=probe_certificate(endpoint).key)


@pytest.mark.parametrize("way", ["endpoint", "pinned"])
def test_the_same_is_read_as_by_tcp(way: str, host: LabHost, pool: SessionPool, request: pytest.FixtureRequest) -> None:
    reached: Endpoint = request.getfixturevalue(way)
    with (
        pool.session(reached, deadline_s=DEADLINE_S) as by_tls,
        pool.session(lab_endpoint(host), deadline_s=DEADLINE_S) as by_tcp,
    ):
        seen = settled(by_tls.snapshot())
        assert seen.server_certificate == probe_certificate(reached).key
        assert settled(by_tcp.snapshot()).guests == seen.guests
        assert by_tls.read_states().complete


def refusal(endpoint: Endpoint, pool: SessionPool) -> DriverError:
    with pytest.raises(DriverError) as raised, pool.session(endpoint, deadline_s=DEADLINE_S):
        pytest.fail("opened")  # pragma: no cover
    assert "BEGIN" not in raised.value.message
    return raised.value


def test_a_client_of_another_authority_is_refused(host: LabHost, endpoint: Endpoint, pool: SessionPool) -> None:
    folder = tls.stranger_folder(host.lab.place)
    stranger = replace(
        endpoint, client_certificate=read(folder, "clientcert.pem"), private_key=read(folder, "clientkey.pem")
    )
    error = refusal(stranger, pool)
    assert isinstance(error, AuthFailed)
    assert "refused the client certificate" in error.message


def test_a_host_of_another_authority_is_refused(endpoint: Endpoint, pool: SessionPool) -> None:
    error = refusal(replace(endpoint, ca_certificate=make("other CA", ca=True).pem), pool)
    assert type(error) is AuthFailed
    assert "did not sign" in error.message


@pytest.mark.parametrize("name", ["kvm-99.lab", "10.66.0.99"])
def test_a_certificate_for_somebody_else_is_refused(endpoint: Endpoint, pool: SessionPool, name: str) -> None:
    error = refusal(replace(endpoint, server_name=name), pool)
    assert type(error) is AuthFailed
    assert name in error.message


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"ca_certificate": ""}, AuthFailed),  # and none was accepted
        ({"ca_certificate": "rubbish"}, Rejected),
        ({"ca_certificate": "", "host_key": "x509 AAAA"}, Rejected),
        ({"ca_certificate": "", "host_key": "ssh-ed25519 AAAA"}, Rejected),
        ({"private_key": make("other").key}, AuthFailed),
        ({"client_certificate": ""}, AuthFailed),
        ({"port": 16509}, Unreachable),  # which speaks without TLS
        ({"port": 9}, Unreachable),
    ],
)
def test_what_is_refused(
    endpoint: Endpoint, pool: SessionPool, change: dict[str, str], kind: type[DriverError]
) -> None:
    assert type(refusal(replace(endpoint, **change), pool)) is kind  # type: ignore[arg-type]


def test_a_certificate_that_the_accepted_one_signed_is_not_the_accepted_one(
    host: LabHost, endpoint: Endpoint, pool: SessionPool
) -> None:
    """Accepting one certificate makes nobody an authority, not even when it is one."""
    import ssl

    authority = fact_of(ssl.PEM_cert_to_DER_cert(endpoint.ca_certificate)).key
    error = refusal(replace(endpoint, ca_certificate="", host_key=authority), pool)
    assert isinstance(error, HostKeyChanged)


def write_inside(host: LabHost, path: str, content: str) -> None:
    """Its /etc is its own: nobody outside sees it."""
    enter = ["nsenter", "-t", str(init_pid(host.lab.place, host.name)), "-m", "-r", "--"]
    subprocess.run([*enter, "tee", path], input=content.encode(), stdout=subprocess.DEVNULL, check=True)


@pytest.fixture
def renewed(host: LabHost, pinned: Endpoint) -> Iterator[str]:
    """The host gets a new certificate after `pinned` was accepted; that one's fingerprint."""
    before = probe_certificate(pinned).fingerprint
    folder = host.lab.place.folder / "pki" / "authority"
    authority = load(read(folder, "cacert.pem"), read(folder, "cakey.pem"))
    made = make(host.fqdn, authority, usage=(SERVER, CLIENT), names=(host.fqdn,), addresses=(host.address,))
    write_inside(host, "/etc/pki/libvirt/servercert.pem", made.pem)
    write_inside(host, "/etc/pki/libvirt/private/serverkey.pem", made.key)
    host.kill_libvirtd()
    host.start_libvirtd()
    yield before


def test_a_changed_certificate_is_refused_until_it_is_accepted(
    pinned: Endpoint, endpoint: Endpoint, renewed: str, pool: SessionPool
) -> None:
    presented = probe_certificate(pinned)
    error = refusal(pinned, pool)
    assert isinstance(error, HostKeyChanged)
    assert renewed in error.message
    assert presented.fingerprint in error.message
    with pool.session(replace(pinned, host_key=presented.key), deadline_s=DEADLINE_S) as session:
        assert session.read_states().complete
    with pool.session(endpoint, deadline_s=DEADLINE_S) as session:  # whoever trusts the CA need not care
        assert session.read_states().complete


def test_nothing_secret_is_on_a_disk(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    connection = Connection(endpoint)
    try:
        assert connection.is_alive()
        assert list(tmp_path.iterdir()) == []  # the private socket is gone, too
    finally:
        connection.close()
