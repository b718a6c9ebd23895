"""Settings of simulated guests. What a running one cannot take, waits for its next start."""

from __future__ import annotations

import math

from drivers.errors import Rejected
from drivers.fake.model import FakeGuest, FakeWaiting
from drivers.fake.ops_tasks import UP, TaskCalls
from drivers.requests import Effect
from drivers.types import GuestState
from drivers.words import gettext_noop as _

MOST_VCPUS = 4096
LONGEST_NAME = 99


class EditCalls(TaskCalls):
    def rename_guest(self, guest_ref: str, name: str, not_after: float = math.inf) -> None:
        if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or "/" in name or name != name.strip():
            raise Rejected(_("This is not the name of a guest."))
        with self._editing("rename_guest", guest_ref, not_after) as (host, guest):
            if guest.name == name:
                return
            if guest.state is not GuestState.OFF:
                raise Rejected(_("The guest is not off; power it off, then rename it."))
            if guest.snapshots:
                raise Rejected(_("The guest has snapshots, which know it by its name; delete them, then rename it."))
            if any(other.name == name for other in host.guests.values()):
                raise Rejected(_("Another guest of this host has this name; choose another."))
            guest.name = name

    def set_notes(self, guest_ref: str, title: str, notes: str, not_after: float = math.inf) -> None:
        with self._editing("set_notes", guest_ref, not_after) as (_host, guest):
            guest.title, guest.notes = " ".join(title.split()), notes.strip()

    def set_autostart(self, guest_ref: str, on: bool, not_after: float = math.inf) -> None:
        with self._editing("set_autostart", guest_ref, not_after) as (_host, guest):
            guest.autostart = on

    def set_memory(self, guest_ref: str, memory_bytes: int, most_bytes: int = 0, not_after: float = math.inf) -> Effect:
        if memory_bytes < 1 << 20 or 0 < most_bytes < memory_bytes:
            raise Rejected(_("This is not an amount of memory that a guest can have."))
        with self._editing("set_memory", guest_ref, not_after) as (_host, guest):
            most_now = max(guest.memory_bytes, guest.most_memory_bytes)
            most = max(most_bytes or most_now, memory_bytes)
            if guest.state not in UP:
                guest.memory_bytes, guest.most_memory_bytes = memory_bytes, most
                return Effect.NOW
            waiting = waiting_of(guest)
            waiting.memory_bytes, waiting.most_memory_bytes = memory_bytes, most
            if memory_bytes <= most_now:
                guest.memory_bytes, guest.most_memory_bytes = memory_bytes, most_now
            return Effect.NOW if most == most_now else Effect.AFTER_NEXT_START

    def set_vcpus(self, guest_ref: str, vcpus: int, most: int = 0, not_after: float = math.inf) -> Effect:
        if not 1 <= vcpus <= MOST_VCPUS or most > MOST_VCPUS or 0 < most < vcpus:
            raise Rejected(_("This is not a number of virtual CPUs that a guest can have."))
        with self._editing("set_vcpus", guest_ref, not_after) as (_host, guest):
            most_now = max(guest.vcpus, guest.most_vcpus)
            most = max(most or most_now, vcpus)
            if guest.state not in UP:
                guest.vcpus, guest.most_vcpus = vcpus, most
                return Effect.NOW
            waiting = waiting_of(guest)
            waiting.vcpus, waiting.most_vcpus = vcpus, most
            if vcpus <= most_now:
                guest.vcpus, guest.most_vcpus = vcpus, most_now
            return Effect.NOW if most == most_now else Effect.AFTER_NEXT_START


def waiting_of(guest: FakeGuest) -> FakeWaiting:
    guest.waiting = guest.waiting or FakeWaiting()
    return guest.waiting


def apply_waiting(guest: FakeGuest) -> None:
    """What has waited for the guest to be off."""
    waiting, guest.waiting = guest.waiting, None
    if waiting is None:
        return
    guest.memory_bytes = waiting.memory_bytes or guest.memory_bytes
    guest.most_memory_bytes = waiting.most_memory_bytes or guest.most_memory_bytes
    guest.vcpus = waiting.vcpus or guest.vcpus
    guest.most_vcpus = waiting.most_vcpus or guest.most_vcpus
    guest.disks = guest.disks if waiting.disks is None else waiting.disks
    guest.nics = guest.nics if waiting.nics is None else waiting.nics
