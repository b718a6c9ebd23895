"""Reading what an administrator names for an import: lines of a file, or a range of addresses. Decides nothing."""

from __future__ import annotations

import csv
import io
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from django.utils.translation import gettext as _

from core.errors import Invalid

MOST_LINES = 1024
LARGEST_FILE = 512 * 1024  # bytes
LONGEST_SHOWN = 120
COLUMNS = ("name", "address", "transport", "port", "user", "datacenter", "hypervisor")
# What people call them.
_ALIASES = {"host": "address", "hostname": "address", "ip": "address", "username": "user", "login": "user"}
_KEY_KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
_SEPARATORS = ";\t,"
_BOUNDS = 2  # first and last


@dataclass(frozen=True, slots=True)
class Line:
    """One source as it was written, unchecked. `number` counts from 1, as an editor does."""

    number: int
    name: str = ""
    address: str = ""
    transport: str = ""
    port: str = ""
    user: str = ""
    datacenter: str = ""
    hypervisor: str = ""

    @property
    def text(self) -> str:
        """What a person recognizes it by."""
        return (f"{self.name} {self.address}".strip() or "–")[:LONGEST_SHOWN]  # noqa: RUF001 - a dash


def decode(content: bytes) -> str:
    """The text of a file. Raises: Invalid."""
    if len(content) > LARGEST_FILE:
        raise Invalid(_("This file is too large; split it."), field="file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(_("This file is not text; save it as CSV in UTF-8."), field="file") from error


def read_lines(text: str) -> list[Line]:
    """The sources of a CSV text, with a line of column names or without; or of one address a line.

    Empty lines and those that begin with # count for nothing.

    Raises: Invalid.
    """
    lines = text.lstrip("\ufeff").replace("\0", "\ufffd").splitlines()
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if not numbered:
        raise Invalid(_("There is no source in this."), field="file")
    if len(numbered) > MOST_LINES + 1:
        raise Invalid(_("An import has at most %(n)d sources; split it.") % {"n": MOST_LINES}, field="file")
    separator = next((one for one in _SEPARATORS if one in numbered[0][1]), ",")
    rows = [(number, _cells(line, separator)) for number, line in numbered]
    names = _names(rows[0][1])
    rows = rows[1:] if names else rows
    if not rows or len(rows) > MOST_LINES:
        return _none_or_too_many(len(rows))
    return [_line(number, cells, names or _usual(len(cells))) for number, cells in rows]


def _none_or_too_many(number: int) -> list[Line]:
    """Raises: Invalid."""
    if not number:
        raise Invalid(_("There is no source in this."), field="file")
    raise Invalid(_("An import has at most %(n)d sources; split it.") % {"n": MOST_LINES}, field="file")


def _cells(line: str, separator: str) -> list[str]:
    """Each line by itself: a quotation mark that is not closed spoils no other line."""
    try:
        rows = list(csv.reader(io.StringIO(line), delimiter=separator))
    except csv.Error:
        return [line]
    return [cell.strip() for cell in rows[0]] if rows else []


def _names(cells: list[str]) -> list[str]:
    """The columns, if this is the line that names them. Raises: Invalid for a column nobody knows."""
    names = [_ALIASES.get(cell.lower(), cell.lower()) for cell in cells]
    if "address" not in names:
        return []
    unknown = [cell for cell, name in zip(cells, names, strict=True) if name not in COLUMNS]
    if unknown:
        raise Invalid(
            _("There is no column “%(name)s”; the columns are %(known)s.")
            % {"name": unknown[0][:40], "known": ", ".join(COLUMNS)},
            field="file",
        )
    if len(set(names)) < len(names):
        raise Invalid(_("A column stands there twice."), field="file")
    return names


def _usual(count: int) -> list[str]:
    return ["address"] if count == 1 else list(COLUMNS)


def _line(number: int, cells: list[str], names: list[str]) -> Line:
    values = dict(zip(names, cells, strict=False))
    return Line(number=number, **values)


def read_range(text: str) -> list[Line]:
    """The addresses of a network (10.0.0.0/24) or from a first to a last one (10.0.0.5-10.0.0.40).

    Raises: Invalid.
    """
    words = "".join(text.split())
    try:
        addresses = list(_bounded(words) if "-" in words else _network(words))
    except (ValueError, TypeError) as error:
        raise Invalid(
            _("Enter a network such as 10.0.0.0/24, or a first and a last address such as 10.0.0.5-10.0.0.40."),
            field="range",
        ) from error
    return [Line(number=number, address=address) for number, address in enumerate(addresses, 1)]


def _network(text: str) -> Iterator[str]:
    """Without the addresses of the network itself and of its broadcast."""
    network = ipaddress.ip_network(text, strict=False)
    _require_few(network.num_addresses - (_BOUNDS if network.version == 4 else 0))  # noqa: PLR2004
    return map(str, network.hosts())


def _bounded(text: str) -> Iterator[str]:
    first, last = (ipaddress.ip_address(one) for one in text.split("-"))
    if first.version != last.version or int(last) < int(first) or "%" in text:
        raise ValueError
    _require_few(int(last) - int(first) + 1)
    return (str(type(first)(number)) for number in range(int(first), int(last) + 1))


def read_known_hosts(text: str) -> dict[str, str]:
    """Host keys as `type base64` by address, of OpenSSH's known_hosts; the best kind where there are several.

    Names that are hashed, patterns and revoked keys are left out.
    Source: https://man.openbsd.org/sshd.8#SSH_KNOWN_HOSTS_FILE_FORMAT
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        names, _space, key = line.strip().partition(" ")
        kind = key.split(" ")[0]
        if names.startswith(("#", "@", "|")) or kind not in _KEY_KINDS:
            continue
        for name in names.lower().split(","):
            address = name.partition("]")[0].lstrip("[")
            known = found.get(address, "").split(" ")[0]
            if not known or _KEY_KINDS.index(kind) < _KEY_KINDS.index(known):
                found[address] = " ".join(key.split()[:2])
    return found


def _require_few(number: int) -> None:
    if number > MOST_LINES:
        raise Invalid(
            _("A range has at most %(most)d addresses; this one has %(n)d.") % {"most": MOST_LINES, "n": number},
            field="range",
        )
