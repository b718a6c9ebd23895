"""Reads a host object by object, and knows whether something that is there stayed unread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drivers.errors import DriverError, NotFound, NotSupported, Rejected, Unreachable
from drivers.libvirt.connection import Connection
from drivers.words import gettext_noop as _

# Of all descriptions in one read. Two thousand guests with forty devices each take a sixth of it.
MOST_TEXT = 128 * 1024 * 1024


class Reader:
    """One pass over a host. What vanishes meanwhile is not there; what cannot be read makes it incomplete."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.raw = connection.raw
        self.call = connection.call
        self.complete = True
        self._text_left = MOST_TEXT

    def read(self, method: Callable[..., Any], *args: Any) -> Any:
        """One object's property; None when the object vanished or could not be read.

        Raises: Unreachable; Rejected when the host tells more than one read may hold.
        """
        try:
            value = self.call(method, *args)
        except NotFound:
            return None
        except Unreachable:
            raise
        except DriverError:
            self.complete = False
            return None
        if isinstance(value, str):
            self._count(len(value))
        return value

    def _count(self, characters: int) -> None:
        """A host that never stops describing itself must not fill our memory."""
        self._text_left -= characters
        if self._text_left < 0:
            most = MOST_TEXT // 1024**2
            raise Rejected(_("The host describes itself in more than %(most)s MiB; nothing of it is read."), most=most)

    def optional(self, otherwise: Any, method: Callable[..., Any], *args: Any) -> Any:
        """What only some hosts can tell. A broken connection is still an error."""
        try:
            return self.call(method, *args)
        except (NotSupported, Rejected):
            return otherwise

    def all(self, method: Callable[..., Any], most: int) -> list[Any]:
        """All objects of a kind that not every host has, at most so many."""
        found = list(self.optional([], method, 0))
        self.complete &= len(found) <= most
        return found[:most]

    def marked(self, method: Callable[..., Any], flag: int) -> frozenset[str]:
        """The UUIDs of the objects with a property, in one round trip. Ask only where there are some."""
        return frozenset(one.UUIDString() for one in self.read(method, flag) or ())
