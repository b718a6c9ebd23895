"""Writing XML for libvirt, from validated parts: every value is escaped, and what XML cannot hold is refused."""

from __future__ import annotations

import re

from lxml import etree

from drivers.errors import Rejected
from drivers.libvirt.text import clean, clean_notes
from drivers.words import gettext_noop as _

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+:@-]{0,98}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+@-]{0,198}")
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAC = re.compile(r"[0-9a-f][02468ace](?::[0-9a-f]{2}){5}")
_PATH = re.compile(r"/[^\x00-\x1f\x7f]{1,1023}")


def element(tag: str, text: str | None = None, /, **attributes: str) -> etree._Element:
    """Raises: Rejected for characters that XML cannot hold."""
    made = etree.Element(tag)
    add_values(made, text, attributes)
    return made


def add(parent: etree._Element, tag: str, text: str | None = None, /, **attributes: str) -> etree._Element:
    """Append a child; attributes that are empty are left out. Raises: Rejected."""
    made = etree.SubElement(parent, tag)
    add_values(made, text, attributes)
    return made


def add_values(made: etree._Element, text: str | None, attributes: dict[str, str]) -> None:
    try:
        made.text = text
        for name, value in attributes.items():
            if value:
                made.set(name.rstrip("_"), value)
    except ValueError:
        raise Rejected(_("A value has characters that are not allowed.")) from None


def written(node: etree._Element) -> str:
    return etree.tostring(node, encoding="unicode")


def checked_name(name: str) -> str:
    """Of a guest or a network. Raises: Rejected."""
    if not _NAME.fullmatch(name) or name != name.strip():
        raise Rejected(
            _("A name begins with a letter or digit and has at most 99 letters, digits, spaces and . _ + : @ -")
        )
    return name


def checked_file_name(name: str) -> str:
    """Of a volume or a snapshot, which libvirt names files by. Raises: Rejected."""
    if not _FILE_NAME.fullmatch(name) or name != name.strip():
        raise Rejected(
            _("A name begins with a letter or digit and has at most 199 letters, digits, spaces and . _ + @ -")
        )
    return name


def checked_device(name: str) -> str:
    """Of a bridge or another network device of the host. Raises: Rejected."""
    if not _DEVICE.fullmatch(name):
        raise Rejected(_("The name of a bridge has at most 15 letters, digits and . _ -"))
    return name


def checked_word(word: str) -> str:
    """One of the hypervisor's own words: a bus, a model, a format. Raises: Rejected."""
    if not _WORD.fullmatch(word):
        raise Rejected(_("A value has characters that are not allowed."))
    return word


def checked_mac(mac: str) -> str:
    """In lower case. Raises: Rejected for what is no single machine's address."""
    if not _MAC.fullmatch(mac.lower()) or mac.replace(":", "") == "0" * 12:
        raise Rejected(_("This is not the MAC address of a network adapter."))
    return mac.lower()


def checked_path(path: str) -> str:
    """Raises: Rejected for what is no absolute path without steps upward."""
    if not _PATH.fullmatch(path) or ".." in path.split("/"):
        raise Rejected(_("This is not the path of a volume."))
    return path


def title_of(text: str) -> str:
    return clean(text, 255)


def notes_of(text: str) -> str:
    return clean_notes(text, 8_000)
