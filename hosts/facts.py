"""From what a hypervisor says to what our columns hold: nothing too long, negative or unstorable, and nothing lost.

Also the digest by which a poll sees that nothing changed.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec
from django.utils.translation import gettext as _

BIGGEST = 2**63 - 1
BIGGEST_INTEGER = 2**31 - 1
LONGEST_NOTES = 65_536
LONGEST_JSON = 1 << 20
MOST_ITEMS = 10_000
MOST_FINDINGS = 50
ZERO = "00000000-0000-0000-0000-000000000000"
_NOTHING: tuple[Any, ...] = ("", None, [], (), {})
_USUAL = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_NAMESPACE = uuid.UUID("6d9e6c1b-3f0e-5b0a-9c55-5a3c0f3a6a10")

_encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
_as_json: Callable[[Any], bytes] = msgspec.json.Encoder().encode
_TOO_LONG = b'{"too_long":true}'


def digest(value: Any) -> str:
    """The same for the same facts, in any process."""
    return blake2b(canonical(value), digest_size=16).hexdigest()


def canonical(value: Any) -> bytes:
    try:
        return _encode(value)
    except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError):
        # Lone surrogates and integers beyond 64 bits: a hostile answer, but still one that can be compared.
        return repr(value).encode("utf-8", "backslashreplace")


def json_bytes(value: Any) -> bytes:
    """A fact as JSON columns hold it on both databases, encoded; cut to pieces where it does not fit.

    Runs for every guest that changed: what needs no mending is not looked at twice.
    """
    try:
        body = _as_json(value)
    except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError):
        body = b""
    if body and len(body) <= LONGEST_NOTES and b"\\u0000" not in body:
        return body
    body = _as_json(sparse(value))
    return body if len(body) <= LONGEST_JSON else _TOO_LONG


def text(value: str, longest: int) -> str:
    """Storable on both databases and short enough; an ellipsis shows that it was cut."""
    if len(value) <= longest and value.isascii() and "\x00" not in value:
        return value
    clean = value.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


# For fields that say the same of many objects: a full read looks at a million of them.
word = lru_cache(maxsize=4096)(text)


def key_text(value: str, longest: int) -> str:
    """As `text`, but different values stay different: for references."""
    clean = text(value, longest)
    if clean == value:
        return value
    return f"{clean[: longest - 34]}~{digest(value)}"


def sparse(value: Any, longest: int = LONGEST_NOTES) -> Any:
    """A fact as JSON holds it: without what is empty or unknown, and storable on both databases."""
    if isinstance(value, msgspec.Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {name: sparse(item, longest) for name, item in value.items() if item not in _NOTHING}
    if isinstance(value, list | tuple):
        return [sparse(item, longest) for item in value[:MOST_ITEMS]]
    if isinstance(value, str):
        return text(str(value), longest)
    if isinstance(value, datetime):
        return msgspec.to_builtins(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return min(max(value, -BIGGEST), BIGGEST)
    return value


def number(value: int, biggest: int = BIGGEST) -> int:
    """Neither negative nor larger than its column."""
    return value if 0 <= value <= biggest else min(max(value, 0), biggest)


def identity(value: str, *parts: object) -> str:
    """A UUID in its usual form; one made from `parts` when a source reports none that means something."""
    if _USUAL(value) and value != ZERO:
        return value
    try:
        normal = str(uuid.UUID(value))
    except ValueError:
        normal = ZERO
    return normal if normal != ZERO else str(uuid.uuid5(_NAMESPACE, "/".join(map(str, parts))))


def is_identity(value: str) -> bool:
    if _USUAL(value):
        return value != ZERO
    try:
        return uuid.UUID(value).int != 0
    except ValueError:
        return False


@dataclass(slots=True)
class Findings:
    """What had to be changed or refused: sentences by what they are about, as `kind:digest of its reference`.

    A finding stays from read to read until its object is looked at again: unchanged ones are not.
    """

    kept: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, stored: list[dict[str, str]]) -> Findings:
        return cls({item["about"]: item["message"] for item in stored})

    def look_at(self, about: str) -> None:
        self.kept.pop(about, None)

    def add(self, about: str, message: str) -> None:
        if about in self.kept or len(self.kept) < MOST_FINDINGS:
            self.kept[about] = message

    def forget_all_but(self, present: set[str]) -> None:
        """Drop what is about objects the source no longer has; `present` holds their digests."""
        self.kept = {about: message for about, message in self.kept.items() if about.partition(":")[2] in present}

    def dump(self) -> list[dict[str, str]]:
        return [{"about": about, "message": message} for about, message in sorted(self.kept.items())]


def cut_finding(name: str) -> str:
    return _("What the source says of %(name)s does not fit: it was cut or corrected.") % {"name": name}
