"""Where people meet a guest: displays, serial lines, and the channels its own programs speak on."""

from __future__ import annotations

from collections.abc import Iterator

from drivers.libvirt.parse.common import whole_or_none
from drivers.libvirt.text import clean
from drivers.libvirt.xml import LONGEST_PATH, Node
from drivers.types import ConsoleFact, DisplayFact

HIGHEST_PORT = 65_535
_KINDS = ("serial", "parallel", "console", "channel")
_CONNECTED = {"connected": True, "disconnected": False}


def displays_of(node: Node) -> Iterator[DisplayFact]:
    for display in node.all("devices/graphics"):
        listeners = list(display.all("listen"))
        told = (listener.get("address") for listener in listeners)
        sockets = (listener.get("socket", limit=LONGEST_PATH) for listener in listeners)
        yield DisplayFact(
            kind=display.get("type", limit=32),
            address=next((address for address in told if address), "")
            or display.get("listen")
            or display.get("address"),
            port=whole_or_none(display.get("port"), smallest=1, largest=HIGHEST_PORT),
            tls_port=whole_or_none(display.get("tlsPort"), smallest=1, largest=HIGHEST_PORT),
            socket=next((socket for socket in sockets if socket), "") or display.get("socket", limit=LONGEST_PATH),
        )


def consoles_of(node: Node) -> Iterator[ConsoleFact]:
    """libvirt shows the first serial line as a console, too; it is one."""
    has_serial = node.has("devices/serial")
    for kind in _KINDS:
        for device in node.all(f"devices/{kind}"):
            if kind == "console" and has_serial and device.get("type", path="target") == "serial":
                continue
            yield ConsoleFact(
                kind=kind,
                target=_target(device),
                backend=device.get("type", limit=32),
                source=_source(device),
                connected=_CONNECTED.get(device.get("state", path="target")),
            )


def _target(device: Node) -> str:
    target = device.find("target")
    if target is None:
        return ""
    kind = target.get("type", limit=32)
    address = _host_port(target.get("address"), target.get("port"))
    return target.get("name") or (f"{kind} {address}" if kind == "guestfwd" and address else kind)


def _source(device: Node) -> str:
    """The path, address or name behind it; of a line with two ends the one it speaks to."""
    for source in sorted(device.all("source"), key=lambda source: source.get("mode") != "connect"):
        found = (
            source.get("path", limit=LONGEST_PATH)
            or _host_port(source.get("host"), source.get("service", limit=16))
            or source.get("channel")
            or source.get("master", limit=LONGEST_PATH)
        )
        if found:
            return found
    return device.get("tty")


def _host_port(host: str, port: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    return clean(f"{shown}:{port}" if port else shown, 255)
