"""A guest's settings: name, notes, autostart, memory, virtual CPUs.

libvirt keeps two descriptions of a guest that runs: the live one, and the stored one it starts from next time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import libvirt

from drivers.errors import NotFound, Rejected
from drivers.libvirt.connection import Connection
from drivers.libvirt.jobs import require_idle
from drivers.libvirt.parse.common import try_xml
from drivers.libvirt.refusals import asked, is_only_later, refusal_of
from drivers.libvirt.states import state_of
from drivers.libvirt.tasks import Calls, in_time
from drivers.libvirt.text import whole
from drivers.libvirt.write_xml import checked_name, notes_of, title_of
from drivers.libvirt.xml import Node
from drivers.requests import Effect
from drivers.types import GuestState
from drivers.words import gettext_noop as _

LIVE, CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG
KIB = 1024
LEAST_MEMORY_BYTES = 1 << 20
MOST_VCPUS = 4096


@dataclass(frozen=True, slots=True)
class Described:
    """A guest's two descriptions: `live` is none when it is off, `stored` when it is transient."""

    live: Node | None
    stored: Node | None

    @property
    def flags(self) -> int:
        return (LIVE if self.live else 0) | (CONFIG if self.stored else 0)


def described(line: Connection, domain: Any) -> Described:
    live = try_xml(str(line.call(domain.XMLDesc, 0))) if line.call(domain.isActive) else None
    stored = None
    if line.call(domain.isPersistent):
        stored = try_xml(str(line.call(domain.XMLDesc, libvirt.VIR_DOMAIN_XML_INACTIVE)))
    if live is None and stored is None:
        raise Rejected(_("The guest's definition cannot be read."))
    return Described(live, stored)


def try_live(line: Connection, method: Callable[..., Any], *args: Any) -> bool:
    """Call it for the guest that runs. Returns False when that has to wait for the next start. Raises: DriverError."""
    try:
        line.call_raw(method, *args)
    except libvirt.libvirtError as error:
        if is_only_later(error):
            return False
        raise refusal_of(error) from None
    return True


class EditCalls(Calls):
    """A session's edits of guests."""

    def rename_guest(self, guest_ref: str, name: str, not_after: float = math.inf) -> None:
        checked_name(name)
        with self._guest(guest_ref) as (line, domain):
            if domain.name() == name:
                return
            require_idle(line, domain)
            if state_of(line.call(domain.state)[0]) is not GuestState.OFF:
                raise Rejected(_("The guest is not off; power it off, then rename it."))
            if line.call(domain.snapshotNum):
                raise Rejected(_("The guest has snapshots, which know it by its name; delete them, then rename it."))
            require_free_name(line, name)
            in_time(not_after)
            asked(line, domain.rename, name, 0)

    def set_notes(self, guest_ref: str, title: str, notes: str, not_after: float = math.inf) -> None:
        with self._guest(guest_ref) as (line, domain):
            require_idle(line, domain)
            flags = described(line, domain).flags
            in_time(not_after)
            for kind, text in (
                (libvirt.VIR_DOMAIN_METADATA_TITLE, title_of(title)),
                (libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, notes_of(notes)),
            ):
                asked(line, domain.setMetadata, kind, text or None, None, None, flags)

    def set_autostart(self, guest_ref: str, on: bool, not_after: float = math.inf) -> None:
        with self._guest(guest_ref) as (line, domain):
            if not line.call(domain.isPersistent):
                raise Rejected(
                    _("The host forgets this guest when it is powered off, so that it cannot start by itself.")
                )
            in_time(not_after)
            asked(line, domain.setAutostart, int(on))

    def set_memory(self, guest_ref: str, memory_bytes: int, most_bytes: int = 0, not_after: float = math.inf) -> Effect:
        if memory_bytes < LEAST_MEMORY_BYTES or 0 < most_bytes < memory_bytes:
            raise Rejected(_("This is not an amount of memory that a guest can have."))
        with self._guest(guest_ref) as (line, domain):
            require_idle(line, domain)
            both = described(line, domain)
            in_time(not_after)
            if both.stored:
                _store_memory(line, domain, both.stored, memory_bytes, most_bytes)
            return _now_or_later(both, _give_memory(line, domain, both.live, memory_bytes, most_bytes))

    def set_vcpus(self, guest_ref: str, vcpus: int, most: int = 0, not_after: float = math.inf) -> Effect:
        if not 1 <= vcpus <= MOST_VCPUS or most > MOST_VCPUS or 0 < most < vcpus:
            raise Rejected(_("This is not a number of virtual CPUs that a guest can have."))
        with self._guest(guest_ref) as (line, domain):
            require_idle(line, domain)
            both = described(line, domain)
            in_time(not_after)
            if both.stored:
                _store_vcpus(line, domain, both.stored, vcpus, most)
            return _now_or_later(both, _give_vcpus(line, domain, both.live, vcpus, most))


def require_free_name(line: Connection, name: str) -> None:
    """Raises: Rejected when a guest of this host has it."""
    try:
        line.call(line.raw.lookupByName, name)
    except NotFound:
        return
    raise Rejected(_("Another guest of this host has this name; choose another."))


def _now_or_later(both: Described, given: bool) -> Effect:
    """Raises: Rejected for a transient guest, which has no next start."""
    if given:
        return Effect.NOW
    if not both.stored:
        raise Rejected(_("That is more than the most this guest may have."))
    return Effect.AFTER_NEXT_START


def _store_memory(line: Connection, domain: Any, stored: Node, memory: int, most: int) -> None:
    most_now = stored.bytes("memory", default_unit="KiB")
    most = most or max(memory, most_now)
    if most != most_now:
        asked(line, domain.setMemoryFlags, most // KIB, CONFIG | libvirt.VIR_DOMAIN_MEM_MAXIMUM)
    asked(line, domain.setMemoryFlags, memory // KIB, CONFIG)


def _give_memory(line: Connection, domain: Any, live: Node | None, memory: int, most: int) -> bool:
    """Whether the guest has it all now."""
    if live is None:
        return True
    most_now = live.bytes("memory", default_unit="KiB")
    if memory > most_now:
        return False
    return try_live(line, domain.setMemoryFlags, memory // KIB, LIVE) and most in {0, most_now}


def _vcpus_of(node: Node) -> tuple[int, int]:
    """Switched on, and the most."""
    most = whole(node.text("vcpu"))
    return whole(node.get("current", path="vcpu")) or most, most


def _store_vcpus(line: Connection, domain: Any, stored: Node, vcpus: int, most: int) -> None:
    most_now = _vcpus_of(stored)[1]
    most = most or max(vcpus, most_now)
    steps = [(vcpus, CONFIG)]
    if most != most_now:
        # Neither may pass the other on the way.
        steps.insert(0 if most > most_now else 1, (most, CONFIG | libvirt.VIR_DOMAIN_VCPU_MAXIMUM))
    for number, flags in steps:
        asked(line, domain.setVcpusFlags, number, flags)


def _give_vcpus(line: Connection, domain: Any, live: Node | None, vcpus: int, most: int) -> bool:
    """Whether the guest has them all now."""
    if live is None:
        return True
    now, most_now = _vcpus_of(live)
    if vcpus > most_now:
        return False
    given = vcpus == now or try_live(line, domain.setVcpusFlags, vcpus, LIVE)
    return given and most in {0, most_now}
