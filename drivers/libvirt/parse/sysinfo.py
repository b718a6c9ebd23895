"""What a host's firmware says of it (SMBIOS, which libvirt reads with dmidecode)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from drivers.libvirt.parse.common import try_xml
from drivers.libvirt.text import clean
from drivers.libvirt.xml import LONGEST_VALUE, Node

LONGEST_ENTRY = 128
# What board makers leave in for whoever builds the machine: no names. In lower case, letters and digits only.
# Source: systemd's hwdb.d/20-dmi-id.hwdb, which marks such vendors, products and versions as rubbish; for serial
# numbers, boards and chassis also netdata's status-file-dmi.c; and what dmidecode prints for an empty field.
PLACEHOLDERS = frozenset(
    {
        "0123456789",
        "1234567890",
        "123456789",
        "12345678",
        "assettag",
        "badindex",
        "baseboardserialnumber",
        "boardserialnumber",
        "chassismanufacture",
        "chassismanufacturer",
        "chassisserialnumber",
        "default",
        "defaultstring",
        "empty",
        "invalid",
        "manufacturer",
        "na",
        "nil",
        "none",
        "noneprovided",
        "notapplicable",
        "notavailable",
        "notpresent",
        "notset",
        "notspecified",
        "null",
        "oem",
        "oemdefaultstring000",
        "outofspec",
        "productname",
        "serialnumber",
        "systemmanufacturer",
        "systemname",
        "systemproductname",
        "systemserialnumber",
        "tbd",
        "tobefilledbyoem",
        "tobefilledbyoemproduct",
        "typename",
        "undefined",
        "unknow",
        "unknown",
    }
)
_ALL_THE_SAME = re.compile(r"0{0,3}|(.)\1{3,}")  # nothing at all, 0, 00000000, xxxxxxx
# A virtual machine's processor is named after its machine type, e.g. pc-q35-7.2 from QEMU.
_MADE_UP_PROCESSORS = frozenset({"qemu", "bochs", "seabios"})
_REVISION = re.compile(r".{1,3}|\d+\.\d.*")  # what some ARM, POWER and s390 hosts say instead of a model
_VENDORS = (
    (re.compile(r"\bintel\b|genuineintel", re.IGNORECASE), "Intel"),
    (re.compile(r"\bamd\b|authenticamd|advanced micro devices", re.IGNORECASE), "AMD"),
)
_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})")
_FIRST_CENTURY = 70  # a year of two digits, as SMBIOS before 2.3 had them, is 1970 to 2069


@dataclass(frozen=True, slots=True)
class Firmware:
    """Placeholders are left out."""

    vendor: str = ""
    model: str = ""
    white_box: bool | None = None
    serial: str = ""
    board: str = ""
    bios_version: str = ""
    bios_date: str = ""
    cpu_model: str = ""
    cpu_vendor: str = ""


def firmware(xml: str) -> Firmware:
    node = try_xml(xml)
    if node is None:
        return Firmware()
    vendor, model = _entry(node, "system", "manufacturer"), _entry(node, "system", "product")
    board_vendor, board = _entry(node, "baseBoard", "manufacturer"), _entry(node, "baseBoard", "product")
    cpu_model, cpu_vendor = _processor(node)
    return Firmware(
        vendor=vendor or board_vendor,
        model=model or board,
        white_box=not (vendor and model) if _is_smbios(node) else None,
        serial=_entry(node, "system", "serial") or _entry(node, "baseBoard", "serial"),
        board=f"{board_vendor} {board}".strip(),
        bios_version=_entry(node, "bios", "version"),
        bios_date=iso_date(_entry(node, "bios", "date")),
        cpu_model=cpu_model,
        cpu_vendor=cpu_vendor,
    )


def _is_smbios(node: Node) -> bool:
    """Only SMBIOS has these parts: what libvirt makes of /proc/cpuinfo elsewhere names no maker of anything."""
    return node.has("system") and (node.has("bios") or node.has("baseBoard"))


def named(text: str) -> str:
    """The text when it names something; empty for a placeholder."""
    told = clean(text, LONGEST_ENTRY)
    bare = "".join(character for character in told.lower() if character.isalnum())
    return "" if bare in PLACEHOLDERS or _ALL_THE_SAME.fullmatch(bare) else told


def _entry(node: Node, part: str, name: str) -> str:
    """The first that names something, since a blade has several boards."""
    return next(_entries(node, part, name), "")


def _entries(node: Node, part: str, name: str) -> Iterator[str]:
    for entry in node.all(f"{part}/entry[@name='{name}']"):
        if told := named(entry.raw_text(".")[: 2 * LONGEST_VALUE]):
            yield told


def _processor(node: Node) -> tuple[str, str]:
    """(model, vendor) of the first processor that names itself: empty sockets are listed, too."""
    for processor in node.all("processor"):
        model, maker = _entry(processor, ".", "version"), _entry(processor, ".", "manufacturer")
        if model and not _REVISION.fullmatch(model) and maker.lower() not in _MADE_UP_PROCESSORS:
            text = f"{maker} {model}"
            return model, next((vendor for pattern, vendor in _VENDORS if pattern.search(text)), maker)
    return "", ""


def iso_date(text: str) -> str:
    """SMBIOS writes month/day/year; another spelling stays as it is."""
    told = _DATE.fullmatch(text)
    if told is None:
        return text
    month, day, year = (int(part) for part in told.groups())
    if len(told[3]) == 2:  # noqa: PLR2004
        year += 1900 if year >= _FIRST_CENTURY else 2000
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return text
