"""What every part needs."""

from __future__ import annotations

import uuid as uuids

from drivers.libvirt.xml import BrokenXML, Node, read_xml

KIB = 1024
MIB = 1024 * 1024
LONGEST_NAME = 255


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
