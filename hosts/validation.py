"""Where a source may be: parts checked when they are typed, addresses checked again when a worker connects.

A person may name hosts in private networks (RFC 1918, unique local IPv6), since hypervisors live there. Addresses
that mean this machine, its neighbours on the wire or a cloud's metadata service are refused unless they lie inside
GUESTHOUSE_SOURCE_NETWORKS.
"""

import base64
import binascii
import hashlib
import ipaddress
import re
import socket
import threading
from dataclasses import replace
from functools import cache
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from core.crypto import UnreadableSecret
from core.errors import Invalid
from drivers.errors import AuthFailed, Rejected, Unreachable
from drivers.types import Endpoint, Transport
from hosts.certificates import KIND, describe_presented
from hosts.models import Connection

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

RESOLVE_SECONDS = 5.0
NETWORK_TRANSPORTS = frozenset({Transport.TCP, Transport.TLS, Transport.SSH})
DEFAULT_PORTS = {Transport.TCP: 16509, Transport.TLS: 16514, Transport.SSH: 22}
LARGEST_PORT = 65535
LONGEST_HOST_NAME = 253
LONGEST_SECRET = 20_000

# Python calls more networks "private" than we refuse, and fewer "reserved"; so each is named here with its reason.
REFUSED_NETWORKS: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "unspecified"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local; cloud metadata"),
    ("100.64.0.0/10", "carrier-grade NAT; cloud metadata"),
    ("192.0.0.0/24", "IETF protocol assignments; cloud metadata"),
    # Source: https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
    ("168.63.129.16/32", "Azure's platform"),
    ("192.88.99.0/24", "6to4 relays"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved and broadcast"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::/96", "IPv4-compatible, deprecated"),
    ("::ffff:0:0/96", "IPv4-mapped"),
    ("::ffff:0:0:0/96", "IPv4-translated"),
    ("64:ff9b::/96", "NAT64 names an IPv4 address"),
    ("64:ff9b:1::/48", "local NAT64"),
    ("100::/64", "discard only"),
    ("2001::/32", "Teredo names an IPv4 address"),
    ("2002::/16", "6to4 names an IPv4 address"),
    ("fd00:ec2::/32", "cloud metadata"),
    ("fd20:ce::/32", "cloud metadata"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local, deprecated"),
    ("ff00::/8", "multicast"),
)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_USERNAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,99}")
_SOURCE_NAME = re.compile(r"[^\x00-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]{1,100}")
_HOST_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/]{40,2000}={0,2}")
_CERTIFICATE = re.compile(r"x509 [A-Za-z0-9+/]{40,90000}={0,2}")


def checked_name(text: str, field: str = "name") -> str:
    """The name of a source or datacenter; `field` is where it was typed. Raises: Invalid."""
    name = text.strip()
    if not _SOURCE_NAME.fullmatch(name):
        raise Invalid(_("A name has 1 to 100 characters and no control characters."), field=field)
    return name


def checked_address(text: str) -> str:
    """A host name or an IP address, in one spelling; an IP address must also be one that may be used.

    Raises: Invalid.
    """
    address = text.strip().lower().removesuffix(".")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    ip = as_ip(address)
    if ip is None:
        return _checked_host_name(address)
    if not is_permitted(ip):
        raise Invalid(refusal_sentence(), field="address")
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id:
        raise Invalid(_("Enter the address alone, without a zone."), field="address")
    return str(ip)


def _checked_host_name(name: str) -> str:
    labels = name.split(".")
    # A last label of digits makes resolvers read the whole as an IPv4 address: 127.1, 2130706433, 0x7f.1.
    numeric = re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1])
    if len(name) > LONGEST_HOST_NAME or numeric or not all(map(_LABEL.fullmatch, labels)):
        raise Invalid(
            _("Enter a host name or an IP address alone, such as kvm-01.example.org or 192.0.2.10."),
            field="address",
        )
    return name


def checked_port(value: Any) -> int | None:
    """A port, or None for the transport's own. Raises: Invalid."""
    if value in (None, ""):
        return None
    if not re.fullmatch(r"[0-9]{1,5}", str(value)) or not 1 <= int(value) <= LARGEST_PORT:
        raise Invalid(_("A port is a number from 1 to 65535."), field="port")
    return int(value)


def checked_username(text: str) -> str:
    """A user name on the hypervisor. Raises: Invalid."""
    name = text.strip()
    if name and not _USERNAME.fullmatch(name):
        raise Invalid(_("A user name has letters, digits and . _ - @ only."), field="username")
    return name


def checked_private_key(text: str) -> str:
    """An OpenSSH or PEM private key without a passphrase. The error never repeats it. Raises: Invalid."""
    key = text.strip().replace("\r\n", "\n")
    if not key:
        return ""
    if len(key) > LONGEST_SECRET or not _loads(key):
        raise Invalid(
            _("This is not a private key we can use; paste the whole file of an SSH key without a passphrase."),
            field="private_key",
        )
    return f"{key}\n"


def checked_pem_key(text: str) -> str:
    """The key of a certificate. Raises: Invalid."""
    key = text.strip().replace("\r\n", "\n")
    if len(key) > LONGEST_SECRET or "BEGIN OPENSSH" in key or not _loads(key):
        raise Invalid(
            _("This is not the key of a certificate; paste the whole PEM file, without a passphrase."),
            field="client_key",
        )
    return f"{key}\n"


def _loads(key: str) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    load = load_ssh_private_key if "BEGIN OPENSSH PRIVATE KEY" in key else load_pem_private_key
    try:
        # Whether its primes are prime takes half a minute with 8,192 bits, and it is the owner's own key.
        load(key.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def checked_password(text: str) -> str:
    """Raises: Invalid."""
    if len(text) > LONGEST_SECRET or any(character in text for character in "\0\r\n"):
        raise Invalid(_("This password is too long or holds a line break."), field="password")
    return text


def checked_host_key(text: str) -> str:
    """An SSH host key as `type base64`. Raises: Invalid."""
    key = " ".join(text.split()[:2])
    if not _HOST_KEY.fullmatch(key) or not _decodes(key.split()[1]):
        raise Invalid(_("This is not an SSH host key, such as ssh-ed25519 AAAA…"), field="host_key")
    return key


def checked_certificate(text: str) -> str:
    """A host's certificate as `x509 base64`. Raises: Invalid."""
    if not _CERTIFICATE.fullmatch(text) or not describe_presented(text):
        raise Invalid(_("This is not a certificate."), field="host_key")
    return text


def checked_identity(text: str) -> str:
    """What a host presented to be accepted: an SSH host key or a certificate. Raises: Invalid."""
    return checked_certificate(text) if is_certificate(text) else checked_host_key(text)


def is_certificate(host_key: str) -> bool:
    return host_key.startswith(f"{KIND} ")


def _decodes(text: str) -> bool:
    """Whether this is base64 and whole."""
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return True


def as_ip(text: str) -> IPAddress | None:
    """The address a text is, in its standard spelling only; None for a name."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_permitted(ip: IPAddress) -> bool:
    """Whether a source may be at this address."""
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id:
        ip = ipaddress.IPv6Address(int(ip))
    if any(ip in network for network in allowed_networks()):
        return True
    return not any(ip in network for network in _refused_networks())


def allowed_networks() -> list[IPNetwork]:
    """GUESTHOUSE_SOURCE_NETWORKS. Raises: ImproperlyConfigured, at start, when one is not a network."""
    return [ipaddress.ip_network(text.strip()) for text in settings.SOURCE_NETWORKS]


@cache
def _refused_networks() -> tuple[IPNetwork, ...]:
    return tuple(ipaddress.ip_network(network) for network, _reason in REFUSED_NETWORKS)


def refusal_sentence() -> str:
    return _(
        "This address is not allowed: it means this server itself, its direct neighbors or a special network. "
        "If it is right, allow it on the server with GUESTHOUSE_SOURCE_NETWORKS."
    )


def resolve_endpoint(source: Connection) -> Endpoint:
    """Where to connect: the address is resolved once and checked, so that a name cannot change its meaning after that.

    For workers only. Every address of the name must be permitted; the first is used.

    Raises: drivers.errors.Unreachable when the name is unknown, Rejected when an address is not permitted,
    AuthFailed when no host key was accepted yet or the stored credentials cannot be read.
    """
    try:
        endpoint = source.endpoint()
    except UnreadableSecret as error:
        raise AuthFailed(_("The stored credentials cannot be read on this server; enter them again.")) from error
    if endpoint.transport not in NETWORK_TRANSPORTS:
        return endpoint
    if endpoint.transport is Transport.SSH and not endpoint.host_key:
        raise AuthFailed(_("The host key was not accepted yet; test the source and accept its host key."))
    if endpoint.transport is Transport.TLS and not (endpoint.host_key or endpoint.ca_certificate):
        raise AuthFailed(_("The host's certificate was not accepted yet; test the source and accept it."))
    return pinned(endpoint)


def pinned(endpoint: Endpoint) -> Endpoint:
    """The endpoint with a checked IP address in place of a name, and its port filled in.

    Raises: as resolve_endpoint.
    """
    return replace(
        endpoint,
        address=permitted_address(endpoint.address),
        port=endpoint.port or DEFAULT_PORTS[endpoint.transport],
    )


def permitted_address(address: str) -> str:
    """Resolve a name or address and check every answer. Raises: Unreachable, Rejected."""
    ips = [ip] if (ip := as_ip(address)) else _lookup(address)
    if not all(map(is_permitted, ips)):
        raise Rejected(refusal_sentence())
    return str(ips[0])


def _lookup(name: str) -> list[IPAddress]:
    """Ask the resolver, but not for longer than we have: `getaddrinfo` has no time limit of its own."""
    answers: list[IPAddress] = []
    asking = threading.Thread(target=_ask_resolver, args=(name, answers), daemon=True, name="resolver")
    asking.start()
    asking.join(RESOLVE_SECONDS)
    found = list(answers)
    if not found:
        raise Unreachable(_("The name %(name)s is not known to this server; check its spelling.") % {"name": name})
    return found


def _ask_resolver(name: str, answers: list[IPAddress]) -> None:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return
    answers.extend(ipaddress.ip_address(entry[4][0]) for entry in found)


def fingerprint(host_key: str) -> str:
    """OpenSSH's SHA256:… form of a key given as `type base64`, openssl's of a certificate; empty for none."""
    if not host_key:
        return ""
    if is_certificate(host_key):
        return describe_presented(host_key).get("fingerprint", "")
    digest = hashlib.sha256(base64.b64decode(host_key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
