"""Where a source may be, and the parts it is made of."""

import socket
import threading

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from core.crypto import encrypt
from core.errors import Invalid
from drivers.errors import AuthFailed, Rejected, Unreachable
from drivers.types import Transport
from hosts import validation
from hosts.apps import check_source_networks
from hosts.models import Source
from hosts.validation import checked_address, permitted_address, resolve_endpoint

PERMITTED = [
    "10.0.0.1",
    "172.16.5.4",
    "192.168.1.1",
    "192.0.2.10",
    "8.8.8.8",
    "fd12:3456::1",
    "2001:db8::1",
    "2a00:1450::1",
]
REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "168.63.129.16",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.192",
    "224.0.0.1",
    "239.1.1.1",
    "255.255.255.255",
    "240.0.0.1",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:7f00:1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001:0:1::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "100::1",
]
NOT_A_HOST = [
    "",
    " ",
    "a b",
    "-a",
    "a-",
    "a..b",
    ".a",
    "a/b",
    "a:22",
    "a@b",
    "a?b",
    "a#b",
    "a\nb",
    "a\0b",
    "a%00",
    "$(id)",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "127.0.0.01",
    "a.1",
    "1.2.3.4.5",
    "[::1",
    "münchen",
    "ⓛocalhost",
    "http://a",
    "x" * 64,
    "a." * 130 + "a",
]


@pytest.fixture
def answers(monkeypatch):
    """What the resolver says; a list of lists is given out one after the other, as a rebinding name server does."""
    given: list[list[str]] = []

    def getaddrinfo(name, port, **kwargs):
        addresses = given.pop(0) if len(given) > 1 else given[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return given


@pytest.mark.parametrize("address", PERMITTED)
def test_permitted_addresses(address):
    assert checked_address(address) == address
    assert permitted_address(address) == address


@pytest.mark.parametrize("address", REFUSED)
def test_refused_addresses_when_typed(address):
    with pytest.raises(Invalid) as error:
        checked_address(address)
    assert "GUESTHOUSE_SOURCE_NETWORKS" in error.value.message


@pytest.mark.parametrize("address", REFUSED)
def test_refused_addresses_when_a_name_resolves_to_them(address, answers):
    answers.append([address])
    with pytest.raises(Rejected):
        permitted_address("innocent.example.org")


def test_one_bad_address_among_good_ones_is_enough(answers):
    answers.append(["10.0.0.1", "127.0.0.1"])
    with pytest.raises(Rejected):
        permitted_address("innocent.example.org")


@pytest.mark.parametrize("text", NOT_A_HOST)
def test_not_a_host(text):
    with pytest.raises(Invalid) as error:
        checked_address(text)
    assert error.value.field == "address"


@pytest.mark.parametrize("zone", ["eth0", "a" * 300, "\0", "a\nb"])
def test_an_address_with_a_zone_is_refused(zone):
    """Whatever follows the % sign is unchecked text."""
    with pytest.raises(Invalid) as error:
        checked_address(f"fd00::1%{zone}")
    assert error.value.field == "address"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (" KVM-01.Example.Org. ", "kvm-01.example.org"),
        ("[fd00::A]", "fd00::a"),
        ("FD00:0:0::1", "fd00::1"),
        ("h_1", "h_1"),
    ],
)
def test_one_spelling(text, kept):
    assert checked_address(text) == kept


@given(st.text(max_size=80))
def test_whatever_is_typed_only_names_and_addresses_come_through(text):
    try:
        address = checked_address(text)
    except Invalid:
        return
    assert address.isascii()
    assert all(character.isalnum() or character in ".-_:" for character in address)


class TestAllowedByTheServer:
    def test_only_the_named_networks(self, settings):
        settings.SOURCE_NETWORKS = ["127.0.0.0/8", " ::1/128 "]
        assert checked_address("127.0.0.1") == "127.0.0.1"
        assert checked_address("::1") == "::1"
        with pytest.raises(Invalid):
            checked_address("169.254.169.254")

    def test_a_mistake_is_told_at_start(self, settings):
        settings.SOURCE_NETWORKS = ["localhost"]
        assert [message.id for message in check_source_networks()] == ["hosts.E001"]

    def test_right_ones_pass(self, settings):
        settings.SOURCE_NETWORKS = ["10.9.0.0/16"]
        assert check_source_networks() == []


class TestResolveEndpoint:
    def source(self, **values) -> Source:
        return Source(**{"kind": "libvirt", "transport": Transport.TCP, "address": "kvm.example.org", **values})

    def test_the_checked_address_is_the_one_that_is_used(self, answers):
        answers.append(["10.0.0.7"])
        endpoint = resolve_endpoint(self.source())
        assert (endpoint.address, endpoint.port) == ("10.0.0.7", 16509)

    def test_a_name_that_changes_its_meaning_gains_nothing(self, answers):
        """DNS rebinding: asked once only, so there is no second answer to connect to."""
        answers += [["10.0.0.7"], ["127.0.0.1"]]
        assert resolve_endpoint(self.source()).address == "10.0.0.7"
        with pytest.raises(Rejected):
            resolve_endpoint(self.source())

    def test_an_address_stored_when_it_was_allowed_is_checked_again(self):
        with pytest.raises(Rejected):
            resolve_endpoint(self.source(address="127.0.0.1"))

    def test_an_unknown_name(self, monkeypatch):
        def getaddrinfo(*args, **kwargs):
            raise socket.gaierror(-2, "secret resolver detail")

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        with pytest.raises(Unreachable) as error:
            resolve_endpoint(self.source())
        assert "kvm.example.org" in error.value.message
        assert "secret" not in error.value.message

    def test_a_resolver_that_hangs_is_not_waited_for(self, monkeypatch):
        release = threading.Event()
        monkeypatch.setattr(validation, "RESOLVE_SECONDS", 0.05)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: release.wait(30) and [])
        with pytest.raises(Unreachable):
            resolve_endpoint(self.source())
        release.set()

    def test_ssh_needs_an_accepted_host_key(self):
        with pytest.raises(AuthFailed) as error:
            resolve_endpoint(self.source(transport=Transport.SSH, username="root", address="10.0.0.7"))
        assert "host key" in error.value.message

    def test_ssh_carries_its_parts(self):
        source = self.source(transport=Transport.SSH, username="root", address="10.0.0.7", host_key="ssh-ed25519 AAAA")
        source.password_encrypted = encrypt("geheim")
        endpoint = resolve_endpoint(source)
        assert (endpoint.port, endpoint.username, endpoint.password) == (22, "root", "geheim")
        assert "geheim" not in repr(endpoint)

    def test_local_ones_have_no_address(self):
        endpoint = resolve_endpoint(self.source(transport=Transport.UNIX, address="", uri="qemu:///system"))
        assert (endpoint.address, endpoint.uri) == ("", "qemu:///system")

    def test_secrets_of_another_installation(self):
        with pytest.raises(AuthFailed):
            resolve_endpoint(self.source(password_encrypted="rubbish"))


class TestParts:
    @pytest.mark.parametrize(("value", "port"), [("", None), (None, None), ("22", 22), (65535, 65535)])
    def test_ports(self, value, port):
        assert validation.checked_port(value) == port

    @pytest.mark.parametrize("value", ["0", "65536", "-1", "x", "1e3", "22 ", "²²", "999999", 0])
    def test_odd_ports(self, value):
        with pytest.raises(Invalid):
            validation.checked_port(value)

    @pytest.mark.parametrize("name", ["-oProxyCommand=x", "a b", "a\nb", "a:b", "a/b", "x" * 101, "ü"])
    def test_odd_user_names(self, name):
        with pytest.raises(Invalid):
            validation.checked_username(name)

    @pytest.mark.parametrize("name", ["", " ", "a\0", "a\nb", "x" * 101, "a\u202eb", "a\u200b"])
    def test_odd_source_names(self, name):
        with pytest.raises(Invalid):
            validation.checked_name(name)

    @pytest.mark.parametrize("password", ["a\nb", "a\0b", "x" * 20_001])
    def test_odd_passwords(self, password):
        with pytest.raises(Invalid):
            validation.checked_password(password)

    @pytest.mark.parametrize(
        "key", ["rubbish-secret", "ssh-ed25519 AAAA", "x" * 20_001, "-----BEGIN RSA PRIVATE KEY-----\nx"]
    )
    def test_odd_private_keys_are_not_repeated(self, key):
        with pytest.raises(Invalid) as error:
            validation.checked_private_key(key)
        assert key not in str(error.value)
        assert error.value.__context__ is None or key not in str(error.value.__context__)

    @pytest.mark.parametrize("form", [serialization.PrivateFormat.OpenSSH, serialization.PrivateFormat.PKCS8])
    def test_private_keys(self, form):
        key = private_key(form)
        assert validation.checked_private_key(f"\r\n{key}".replace("\n", "\r\n")) == key

    @pytest.mark.parametrize("form", [serialization.PrivateFormat.OpenSSH, serialization.PrivateFormat.PKCS8])
    def test_nobody_waits_for_primes_to_be_proven(self, form):
        """With a large key that takes minutes. So one whose primes are none is taken, and fails at the sign-in."""
        p, q, e = (2**512 + 1) * 3, (2**512 + 3) * 3, 65537
        d = pow(e, -1, (p - 1) * (q - 1))
        numbers = rsa.RSAPrivateNumbers(
            p, q, d, d % (p - 1), d % (q - 1), pow(q // 3, -1, p), rsa.RSAPublicNumbers(e, p * q)
        )
        key = numbers.private_key(unsafe_skip_rsa_key_validation=True)
        pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
        assert validation.checked_private_key(pem) == pem

    def test_one_with_a_passphrase_is_refused(self):
        key = private_key(serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x"))
        with pytest.raises(Invalid):
            validation.checked_private_key(key)

    def test_fingerprint_is_that_of_openssh(self):
        # Source: GitHub's published host key and fingerprint,
        # https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/githubs-ssh-key-fingerprints
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
        assert validation.fingerprint(key) == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
        assert validation.fingerprint("") == ""

    @pytest.mark.parametrize("key", ["", "ssh-dss AAAA", "ssh-ed25519", "ssh-ed25519 !", "rubbish " + "A" * 60])
    def test_odd_host_keys(self, key):
        with pytest.raises(Invalid):
            validation.checked_host_key(key)

    @pytest.mark.parametrize("missing", [1, 2, 3])
    def test_a_host_key_cut_short(self, missing):
        """Its characters are right, but it cannot be decoded: no page could show its fingerprint."""
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
        with pytest.raises(Invalid) as error:
            validation.checked_host_key(key[:-missing])
        assert error.value.field == "host_key"


def private_key(form, encryption=None) -> str:
    return (
        Ed25519PrivateKey.generate()
        .private_bytes(serialization.Encoding.PEM, form, encryption or serialization.NoEncryption())
        .decode()
    )
