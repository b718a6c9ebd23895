"""What every part needs."""

from __future__ import annotations

import uuid as uuids

from drivers.libvirt.text import LARGEST_NUMBER, whole
from drivers.libvirt.xml import BrokenXML, Node, read_xml

KIB = 1024
MIB = 1024 * 1024
LONGEST_NAME = 255
_PCI_PARTS = ("domain", "bus", "slot", "function")


def try_xml(text: str) -> Node | None:
    try:
        return read_xml(text) if text else None
    except BrokenXML:
        return None


def clean_uuid(text: str) -> str:
    """A UUID in its standard spelling; empty for what is none."""
    try:
        return str(uuids.UUID(text.strip()))
    except ValueError:
        return ""


def pci_address(address: Node) -> str:
    """Of libvirt's `<address>`, as the operating system's tools print it: 0000:3b:00.0."""
    domain, bus, slot, function = (_number(address.get(name, limit=10)) for name in _PCI_PARTS)
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def _number(text: str) -> int:
    """Written as `0x0a` or `10`; 0 for what is none."""
    try:
        return min(max(0, int(text, 0)), 0xFFFF_FFFF)  # behind a volume management device a domain has five digits
    except ValueError:
        return 0


def whole_or_none(text: str, *, smallest: int = 0, largest: int = LARGEST_NUMBER) -> int | None:
    """A number in digits; None for what is none or out of bounds."""
    if not (text.isascii() and text.isdigit()):
        return None
    number = whole(text, largest=largest + 1)
    return number if smallest <= number <= largest else None
