"""Names that are typed for volumes: checked before anything is asked of a host, which checks again."""

from __future__ import annotations

import re

from django.utils.translation import gettext as _

from core.errors import Invalid

# The least that every driver takes; a name is never a path.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+@-]{0,198}")
_ODD = re.compile(r"[^A-Za-z0-9._+@-]+")
LARGEST_VOLUME_BYTES = 1 << 60


def checked_volume_name(text: str, field: str = "name") -> str:
    """Raises: Invalid."""
    name = text.strip()
    if not _NAME.fullmatch(name):
        raise Invalid(
            _("A name begins with a letter or digit and has at most 199 letters, digits, spaces and . _ + @ -"),
            field=field,
        )
    return name


def volume_name_like(text: str) -> str:
    """A name for a volume after another name, such as that of a file somebody sends; folders in it count for nothing.

    Empty when nothing of it can stay.
    """
    last = re.split(r"[/\\]", text)[-1]
    return _ODD.sub("-", last).lstrip("._+@-")[:199].rstrip("-")


def checked_capacity(value: int, field: str = "capacity_bytes") -> int:
    """Raises: Invalid."""
    if not 0 < value <= LARGEST_VOLUME_BYTES:
        raise Invalid(_("This is not the size of a volume."), field=field)
    return value
