"""Reading XML from a hypervisor we do not trust: no entities, no document types, no network, bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from lxml import etree

from drivers.libvirt.text import clean, whole

MAX_XML_CHARACTERS = 8 * 1024 * 1024  # libvirt's own bound for a string is 4 MiB
LONGEST_VALUE = 255
LONGEST_PATH = 4096
MOST_CHILDREN = 512
_UNITS = {
    "b": 1,
    "bytes": 1,
    "KB": 10**3,
    "k": 2**10,
    "KiB": 2**10,
    "MB": 10**6,
    "M": 2**20,
    "MiB": 2**20,
    "GB": 10**9,
    "G": 2**30,
    "GiB": 2**30,
    "TB": 10**12,
    "T": 2**40,
    "TiB": 2**40,
    "PB": 10**15,
    "P": 2**50,
    "PiB": 2**50,
    "EB": 10**18,
    "E": 2**60,
    "EiB": 2**60,
}


class BrokenXML(Exception):
    """Not well-formed, too large, or with a document type."""


def read_xml(text: str) -> Node:
    """Raises: BrokenXML."""
    if len(text) > MAX_XML_CHARACTERS:
        raise BrokenXML
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(text.encode(), parser)
    except (etree.XMLSyntaxError, UnicodeEncodeError, ValueError):
        raise BrokenXML from None
    docinfo: Any = root.getroottree().docinfo
    if docinfo.doctype:
        raise BrokenXML
    return Node(root)


class Node:
    """One element, read with bounds."""

    __slots__ = ("element",)

    def __init__(self, element: etree._Element) -> None:
        self.element = element

    @property
    def tag(self) -> str:
        return str(self.element.tag)

    def find(self, path: str) -> Node | None:
        found = self.element.find(path)
        return None if found is None else Node(found)

    def all(self, path: str, *, most: int = MOST_CHILDREN) -> Iterator[Node]:
        """The elements at `path`, at most so many."""
        return (Node(element) for element in islice(self.element.iterfind(path), most))

    def get(self, name: str, *, path: str = ".", limit: int = LONGEST_VALUE) -> str:
        """An attribute's cleaned value; empty when it is not there."""
        found = self.element if path == "." else self.element.find(path)
        return "" if found is None else clean(str(found.get(name) or ""), limit)

    def raw_text(self, path: str) -> str:
        found = self.element.find(path)
        return "" if found is None else str(found.text or "")

    def text(self, path: str, *, limit: int = LONGEST_VALUE) -> str:
        """An element's cleaned text; empty when it is not there."""
        return clean(self.raw_text(path), limit)

    def has(self, path: str) -> bool:
        return self.element.find(path) is not None

    def bytes(self, path: str, *, default_unit: str) -> int:
        """A size with libvirt's `unit` attribute, in bytes; 0 when it is missing or nonsense."""
        unit = self.get("unit", path=path) or default_unit
        return whole(self.raw_text(path).strip(), scale=_UNITS.get(unit, 0))
