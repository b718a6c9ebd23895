"""Sources from the server's own configuration: a URI parsed strictly into parts. The page never takes one.

libvirt itself would run programs a URI names (`qemu+ext:///system?command=…`) and read files (`test:///etc/passwd`),
so only the few forms below are known, and what is stored is written anew from the parts.
"""

import re
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, parse_qsl, urlsplit

from django.utils.translation import gettext as _

from core.errors import Invalid
from drivers.types import Hypervisor, Transport
from hosts.validation import checked_address, checked_port, checked_username

LONGEST_URI = 500
_SOCKET = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._-]*){1,20}")
_FAKE_NAME = re.compile(r"/[A-Za-z0-9][A-Za-z0-9._-]{0,60}")
_FAKE_VALUE = re.compile(r"[A-Za-z0-9._/-]{1,200}")
_FAKE_OPTIONS = {
    "fleet": frozenset({"guests", "seed", "hang", "slow", "flap", "events", "cluster"}),
    "world": frozenset({"file"}),
}


@dataclass(frozen=True, slots=True)
class SourceParts:
    """What a URI says. `uri` is set only where there is no address."""

    kind: str
    transport: Transport
    address: str = ""
    port: int | None = None
    username: str = ""
    uri: str = ""
    hypervisor: Hypervisor = Hypervisor.QEMU


def parse_uri(text: str) -> SourceParts:
    """The parts of one of the URIs we know.

    Raises: Invalid for every other.
    """
    if len(text) > LONGEST_URI or not re.fullmatch(r"[!-~]+", text):
        raise _unknown()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _unknown() from error
    if parts.fragment or parts.password is not None or text.endswith(("#", "?")):
        raise _unknown()
    # urlsplit folds the scheme's case; a URI that is not spelled as documented is not one of ours.
    if not text.startswith(f"{parts.scheme}:"):
        raise _unknown()
    hypervisor, _plus, way = parts.scheme.partition("+")
    if hypervisor not in list(Hypervisor) or parts.scheme.endswith("+"):
        return _other(parts)
    readers = {"tcp": _tcp, "tls": _tls, "ssh": _ssh, "": _local, "unix": _socket}
    reader = readers.get(way)
    if reader is None:
        raise _unknown()
    return replace(reader(parts, checked_port(port)), hypervisor=Hypervisor(hypervisor))


def _other(parts: SplitResult) -> SourceParts:
    """Those that speak to no hypervisor of libvirt's. Raises: Invalid."""
    reader = {"test": _test, "fake": _fake}.get(parts.scheme)
    if reader is None:
        raise _unknown()
    return reader(parts)


def _tcp(parts: SplitResult, port: int | None) -> SourceParts:
    if parts.username is not None or parts.path != "/system" or parts.query:
        raise _unknown()
    return SourceParts("libvirt", Transport.TCP, _address(parts), port)


def _tls(parts: SplitResult, port: int | None) -> SourceParts:
    return replace(_tcp(parts, port), transport=Transport.TLS)


def _ssh(parts: SplitResult, port: int | None) -> SourceParts:
    if not parts.username or parts.path != "/system" or parts.query:
        raise _unknown()
    return SourceParts("libvirt", Transport.SSH, _address(parts), port, checked_username(parts.username))


def _address(parts: SplitResult) -> str:
    """The host, without the brackets that only an IPv6 address has."""
    address = checked_address(parts.hostname or "")
    if "[" in parts.netloc and ":" not in address:
        raise _unknown()
    return address


def _local(parts: SplitResult, _port: int | None) -> SourceParts:
    if parts.netloc or parts.path != "/system" or parts.query:
        raise _unknown()
    return SourceParts("libvirt", Transport.UNIX, uri=f"{parts.scheme}:///system")


def _socket(parts: SplitResult, _port: int | None) -> SourceParts:
    options = _options(parts)
    path = options.pop("socket", None)
    if parts.netloc or parts.path != "/system" or options:
        raise _unknown()
    if path is None:
        return SourceParts("libvirt", Transport.UNIX, uri=f"{parts.scheme}:///system")
    if not _SOCKET.fullmatch(path):
        raise _unknown()
    return SourceParts("libvirt", Transport.UNIX, uri=f"{parts.scheme}:///system?socket={path}")


def _test(parts: SplitResult) -> SourceParts:
    if parts.netloc or parts.path != "/default" or parts.query:
        raise _unknown()
    return SourceParts("libvirt", Transport.TEST, uri="test:///default")


def _fake(parts: SplitResult) -> SourceParts:
    allowed = _FAKE_OPTIONS.get(parts.netloc)
    options = _options(parts)
    if allowed is None or not _FAKE_NAME.fullmatch(parts.path) or not allowed.issuperset(options):
        raise _unknown()
    if not all(map(_FAKE_VALUE.fullmatch, options.values())):
        raise _unknown()
    query = "&".join(f"{name}={value}" for name, value in options.items())
    uri = f"fake://{parts.netloc}{parts.path}" + (f"?{query}" if query else "")
    return SourceParts("fake", Transport.FAKE, uri=uri)


def _options(parts: SplitResult) -> dict[str, str]:
    """The query's options; each once and with a value."""
    if not parts.query:
        return {}
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
    except ValueError as error:
        raise _unknown() from error
    if len(dict(pairs)) != len(pairs):
        raise _unknown()
    return dict(pairs)


def _unknown() -> Invalid:
    return Invalid(
        _(
            "This address of a source is not known; use qemu:///system, qemu+unix:///system?socket=/path, "
            "qemu+ssh://user@host/system, qemu+tls://host/system, qemu+tcp://host/system, the same with lxc or xen in "
            "place of qemu, or test:///default."
        ),
        field="uri",
    )
