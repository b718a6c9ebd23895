"""Connection URIs, built from validated parts only.

libvirt runs a local program for `qemu+ext:///…?command=`, and its test driver reads any file named in its path. So no
URI a person typed ever gets here: the scheme is ours, the parts are checked, and the query is a fixed set of ours.
Source: https://libvirt.org/uri.html
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace
from urllib.parse import quote

from drivers.errors import Rejected
from drivers.types import Endpoint, Hypervisor, Transport
from drivers.words import gettext_noop as _

TCP_PORT = 16509
TLS_PORT = 16514
SSH_PORT = 22
LARGEST_PORT = 65535
LONGEST_HOST_NAME = 253
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_USERNAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,99}")
_SOCKET_URI = re.compile(r"(?:qemu|lxc|xen)\+unix:///system\?socket=(?:/[A-Za-z0-9][A-Za-z0-9._-]*){1,20}")
_LOCAL_URIS = {
    Transport.UNIX: frozenset(f"{name}{way}:///system" for name in Hypervisor for way in ("", "+unix")),
    Transport.TEST: frozenset({"test:///default"}),
}


def tcp_uri(endpoint: Endpoint) -> str:
    """Raises: Rejected for parts that are not an address and a port."""
    return f"{endpoint.hypervisor}+tcp://{_authority(endpoint, TCP_PORT)}/system"


def socket_uri(endpoint: Endpoint, path: str) -> str:
    """Of the private socket of a tunnel."""
    return f"{endpoint.hypervisor}+unix:///system?socket={quote(path)}"


def local_uri(endpoint: Endpoint) -> str:
    """A URI from the server's own configuration: a socket of this machine, or libvirt's test driver.

    Raises: Rejected for anything else.
    """
    known = endpoint.uri in _LOCAL_URIS.get(endpoint.transport, frozenset())
    if known or (endpoint.transport is Transport.UNIX and _SOCKET_URI.fullmatch(endpoint.uri)):
        return endpoint.uri
    raise Rejected(_("This address of a source is not allowed."))


def migration_uri(target: Endpoint) -> str:
    """Where the source host's libvirt connects to for a peer-to-peer migration, by its own credentials.

    Raises: Rejected for a target that other hosts cannot reach.
    """
    if target.transport is Transport.TCP:
        return tcp_uri(target)
    if target.transport is Transport.TLS:
        # By name, where there is one: it is what the certificate is made out to, and the source host checks it.
        return f"qemu+tls://{_authority(replace(target, address=name_of(target)), TLS_PORT)}/system"
    if target.transport is Transport.SSH:
        user = quote(checked_username(target.username), safe="")
        return f"qemu+ssh://{user}@{_authority(target, SSH_PORT)}/system?no_tty=1"
    raise Rejected(_("The target host is known here by a local socket only, so that no other host can reach it."))


def name_of(endpoint: Endpoint) -> str:
    """Whom a host's certificate must be for."""
    return endpoint.server_name or endpoint.address


def checked_username(name: str) -> str:
    """Raises: Rejected."""
    if not _USERNAME.fullmatch(name):
        raise Rejected(_("The user name for SSH is missing or has characters that are not allowed."))
    return name


def checked_address(address: str) -> str:
    """A host name or IP literal, as it stands in a URI. Raises: Rejected."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return _checked_host_name(address)
    if ip.version == 4:  # noqa: PLR2004
        return str(ip)
    if ip.scope_id:
        raise Rejected(_("An IPv6 address with a zone cannot be used."))
    return f"[{ip}]"


def _checked_host_name(name: str) -> str:
    if not name or len(name) > LONGEST_HOST_NAME or not all(map(_HOST_LABEL.fullmatch, name.split("."))):
        raise Rejected(_("The address is neither a host name nor an IP address."))
    return name


def checked_port(port: int | None, default: int) -> int:
    """Raises: Rejected for a number that is no port."""
    if port is None:
        return default
    if isinstance(port, bool) or not 1 <= port <= LARGEST_PORT:
        raise Rejected(_("The port is not a number from 1 to 65535."))
    return port


def _authority(endpoint: Endpoint, default_port: int) -> str:
    return f"{checked_address(endpoint.address)}:{checked_port(endpoint.port, default_port)}"
