"""No URI but ours reaches libvirt: it would run programs and read files for others."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import Rejected
from drivers.libvirt import uri
from drivers.types import Endpoint, Hypervisor, Transport

HOSTILE = [
    "qemu+ext:///system?command=/bin/true",
    "qemu+ssh://h/system?command=/bin/true",
    "qemu+unix:///system?socket=/s&command=/bin/true",
    "qemu:///system?command=/x",
    "qemu+unix:///system?socket=relative",
    "qemu+unix:///system?socket=/a/../b",
    "qemu+unix:///system?socket=/s%00",
    "qemu+unix:///system?socket=/s\n",
    "qemu+unix:///session?socket=/s",
    "test:///etc/passwd",
    "test:///default?x=1",
    "test:///default/",
    "qemu+tcp://h/system",
    "xen:///",
    "remote:///default",
    "",
]


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("text", HOSTILE)
def test_only_the_known_local_uris_pass(transport: Transport, text: str) -> None:
    with pytest.raises(Rejected):
        uri.local_uri(Endpoint("libvirt", transport, uri=text))


@pytest.mark.parametrize(
    ("transport", "text"),
    [
        (Transport.UNIX, "qemu:///system"),
        (Transport.UNIX, "qemu+unix:///system"),
        (Transport.UNIX, "qemu+unix:///system?socket=/run/libvirt/libvirt-sock"),
        (Transport.TEST, "test:///default"),
    ],
)
def test_the_servers_own_configuration_may_name_these(transport: Transport, text: str) -> None:
    assert uri.local_uri(Endpoint("libvirt", transport, uri=text)) == text


@pytest.mark.parametrize("hypervisor", list(Hypervisor))
def test_each_hypervisor_has_its_own_scheme(hypervisor: Hypervisor) -> None:
    by_tcp = Endpoint("libvirt", Transport.TCP, "192.0.2.1", hypervisor=hypervisor)
    assert uri.tcp_uri(by_tcp) == f"{hypervisor.value}+tcp://192.0.2.1:16509/system"
    assert uri.socket_uri(by_tcp, "/tmp/x y/s") == f"{hypervisor.value}+unix:///system?socket=/tmp/x%20y/s"
    local = Endpoint("libvirt", Transport.UNIX, uri=f"{hypervisor.value}:///system", hypervisor=hypervisor)
    assert uri.local_uri(local) == local.uri


def test_a_target_by_tls_is_named_as_its_certificate_is() -> None:
    target = Endpoint("libvirt", Transport.TLS, "192.0.2.1", server_name="kvm-02.example.org")
    assert uri.migration_uri(target) == "qemu+tls://kvm-02.example.org:16514/system"
    assert uri.migration_uri(replace(target, server_name="")) == "qemu+tls://192.0.2.1:16514/system"
    with pytest.raises(Rejected):
        uri.migration_uri(replace(target, server_name="h/system?pkipath=/tmp"))


@pytest.mark.parametrize(
    ("transport", "text"), [(Transport.TEST, "qemu:///system"), (Transport.UNIX, "test:///default")]
)
def test_a_transport_takes_only_its_own(transport: Transport, text: str) -> None:
    with pytest.raises(Rejected):
        uri.local_uri(Endpoint("libvirt", transport, uri=text))


@pytest.mark.parametrize(
    ("address", "port", "wanted"),
    [
        ("192.0.2.1", None, "qemu+tcp://192.0.2.1:16509/system"),
        ("kvm-01.example.org", 16510, "qemu+tcp://kvm-01.example.org:16510/system"),
        ("2001:db8::1", None, "qemu+tcp://[2001:db8::1]:16509/system"),
    ],
)
def test_tcp(address: str, port: int | None, wanted: str) -> None:
    assert uri.tcp_uri(Endpoint("libvirt", Transport.TCP, address=address, port=port)) == wanted


BAD_ADDRESSES = [
    "",
    "h/system?command=/x",
    "h?x",
    "h#x",
    "u@h",
    "h:1",
    "-oProxyCommand=x",
    "a b",
    "h\n",
    "h%2f",
    "fe80::1%eth0",
    "a..b",
    ".",
    "a" * 64,
    "ü.example",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
@pytest.mark.parametrize("build", [uri.tcp_uri, uri.migration_uri])
def test_an_address_cannot_smuggle_anything(build: object, address: str) -> None:
    for transport in (Transport.TCP, Transport.SSH):
        with pytest.raises(Rejected):
            build(Endpoint("libvirt", transport, address=address, username="u"))  # type: ignore[operator]


@given(st.text(max_size=60))
def test_whatever_is_accepted_stays_one_host(text: str) -> None:
    try:
        built = uri.tcp_uri(Endpoint("libvirt", Transport.TCP, address=text))
    except Rejected:
        return
    assert built.startswith("qemu+tcp://")
    assert built.endswith(":16509/system")
    assert not set(built.removeprefix("qemu+tcp://").removesuffix("/system")) & set("/?#@ %\n\r\t\\")


@pytest.mark.parametrize("port", [0, -1, 65536, True])
def test_a_port_is_a_port(port: int) -> None:
    with pytest.raises(Rejected):
        uri.tcp_uri(Endpoint("libvirt", Transport.TCP, address="h", port=port))


@pytest.mark.parametrize("username", ["", "-l", "a b", "a/b", "a?b", "a:b", "a\n", "é"])
def test_a_user_name_cannot_smuggle_anything(username: str) -> None:
    with pytest.raises(Rejected):
        uri.migration_uri(Endpoint("libvirt", Transport.SSH, address="h", username=username))


def test_where_a_guest_moves_to() -> None:
    tcp = Endpoint("libvirt", Transport.TCP, address="192.0.2.1")
    ssh = Endpoint("libvirt", Transport.SSH, address="h", port=2222, username="vm@corp", password="s3cret")
    assert uri.migration_uri(tcp) == "qemu+tcp://192.0.2.1:16509/system"
    assert uri.migration_uri(ssh) == "qemu+ssh://vm%40corp@h:2222/system?no_tty=1"
    for transport in (Transport.UNIX, Transport.TEST, Transport.FAKE):
        with pytest.raises(Rejected):
            uri.migration_uri(Endpoint("libvirt", transport, address="h", uri="qemu:///system"))
