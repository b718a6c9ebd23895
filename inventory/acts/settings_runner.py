"""Changing a guest's settings, one step each. Imported only by workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils.translation import gettext as _

from drivers.errors import DriverError
from drivers.isolation import RemoteSession
from drivers.requests import Effect
from hosts.acts import At, Impossible, Turn
from hosts.words import sentence
from inventory.acts.runner import GuestAct, when
from inventory.acts.values import LABELS
from operations.handle import JobHandle

Changes = dict[str, Any]
Set = Callable[[RemoteSession, str, Changes, float], Effect | None]


def run(handle: JobHandle) -> None:
    EditGuest(handle).run()


def _rename(session: RemoteSession, ref: str, wanted: Changes, not_after: float) -> None:
    session.rename_guest(ref, wanted["name"], not_after)


def _autostart(session: RemoteSession, ref: str, wanted: Changes, not_after: float) -> None:
    session.set_autostart(ref, wanted["autostart"], not_after)


def _notes(session: RemoteSession, ref: str, wanted: Changes, not_after: float) -> None:
    session.set_notes(ref, wanted["title"], wanted["notes"], not_after)


def _memory(session: RemoteSession, ref: str, wanted: Changes, not_after: float) -> Effect:
    return session.set_memory(ref, wanted["memory_bytes"], wanted.get("most_memory_bytes", 0), not_after)


def _vcpus(session: RemoteSession, ref: str, wanted: Changes, not_after: float) -> Effect:
    return session.set_vcpus(ref, wanted["vcpus"], wanted.get("most_vcpus", 0), not_after)


# The name comes first: it is what a host most likely refuses.
STEPS: tuple[tuple[str, tuple[str, ...], Set], ...] = (
    ("name", ("name",), _rename),
    ("autostart", ("autostart",), _autostart),
    ("notes", ("title", "notes"), _notes),
    ("memory", ("memory_bytes", "most_memory_bytes"), _memory),
    ("vcpus", ("vcpus", "most_vcpus"), _vcpus),
)


class EditGuest(GuestAct):
    def act(self, at: At) -> str:
        changes, told = self.parameters["changes"], list[str]()
        for step, names, put in STEPS:
            named = [name for name in names if name in changes]
            if named:
                told.append(self._put(step, named, put, at, told))
        return " ".join(told)

    def _put(self, step: str, names: list[str], put: Set, at: At, told: list[str]) -> str:
        """Do one step, and say from when on it counts. Raises: Impossible, which says what was done before."""
        labels = ", ".join(str(LABELS[name]) for name in names)
        try:
            effect = self._effect(step, names, put, at)
        except DriverError as error:
            refusal = _("%(settings)s: %(reason)s") % {"settings": labels, "reason": sentence(error)}
            raise Impossible(" ".join([*told, refusal])) from None
        return _("%(settings)s: changed %(when)s.") % {"settings": labels, "when": when(effect)}

    def _effect(self, step: str, names: list[str], put: Set, at: At) -> Effect:
        wanted = {**self.parameters["with"], **self.parameters["changes"]}

        def call(session: RemoteSession, turn: Turn) -> Effect:
            return put(session, at.ref, wanted, turn.not_after) or Effect.NOW

        return self.change(step, at, call, {name: self.parameters["changes"][name] for name in names})
