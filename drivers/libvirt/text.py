"""Text and numbers from a hypervisor we do not trust: cleaned and bounded."""

from __future__ import annotations

import re

LARGEST_NUMBER = 2**62  # fits every database's and every message format's integer
# Controls but tab and line feed, lone surrogates, and what changes the direction of the text around it.
_UNWANTED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
_LINE_BREAKS = re.compile(r"\s+")


def clean(text: str, limit: int) -> str:
    """One line without controls or direction marks, at most `limit` characters."""
    # Twice the limit is plenty before the cleaning, and spares a regular expression over megabytes.
    part = text[: limit * 2]
    if not (part.isascii() and part.isprintable() and "  " not in part):  # nearly all is: this is much quicker
        part = _LINE_BREAKS.sub(" ", _UNWANTED.sub("", part))
    return part.strip()[:limit]


def clean_notes(text: str, limit: int) -> str:
    """As `clean`, but keeps line breaks; a cut is marked."""
    notes = _UNWANTED.sub("", text[: limit * 2].replace("\r\n", "\n")).strip()
    return notes if len(notes) <= limit else notes[: limit - 1] + "…"


def whole(value: object, *, scale: int = 1, largest: int = LARGEST_NUMBER) -> int:
    """A number that is at least 0 and at most `largest`; 0 for what is none."""
    try:
        number = int(str(value)[:40]) * scale
    except ValueError:
        return 0
    return max(0, min(number, largest))
