"""Taking snapshots, going back to them and deleting them. Imported only by workers."""

from __future__ import annotations

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from drivers.errors import Rejected
from drivers.isolation import RemoteSession
from drivers.requests import RevertOutcome, SnapshotRef, SnapshotRequest, TaskPhase, TaskProgress
from drivers.types import Finding, Severity
from hosts.acts import At, Impossible, Turn, Unclear
from hosts.words import translated
from inventory.acts.runner import GuestAct
from operations.handle import JobHandle


def create(handle: JobHandle) -> None:
    CreateSnapshot(handle).run()


def revert(handle: JobHandle) -> None:
    RevertSnapshot(handle).run()


def delete(handle: JobHandle) -> None:
    DeleteSnapshot(handle).run()


class CreateSnapshot(GuestAct):
    def act(self, at: At) -> str:
        asked = self.parameters
        request = SnapshotRequest(asked["name"], asked["notes"], asked["memory"], asked["quiesce"])
        if not self.is_asked("take"):
            warnings = weigh(self.look(at.host, lambda session: session.check_snapshot(at.ref, request)))
            if warnings:
                self.handle.note(warnings=warnings)
        self.follow(
            "take", at, lambda session, turn: session.create_snapshot(at.ref, request, turn.stamp, turn.not_after)
        )
        return " ".join([_("The snapshot is taken."), self.handle.checkpoint.get("warnings", "")]).strip()


class DeleteSnapshot(GuestAct):
    def act(self, at: At) -> str:
        snapshot, children = _ref_of(self), bool(self.parameters["children"])
        self.follow(
            "delete",
            at,
            lambda session, turn: session.delete_snapshot(at.ref, snapshot, turn.stamp, children, turn.not_after),
        )
        return _("The snapshot is deleted.")


class RevertSnapshot(GuestAct):
    """Going back cannot be told from the outside. So the guest is claimed by a stamp, which going back takes away.

    Two steps: nobody reverts before the claim is noted as done, and whoever takes over after that asks first.
    """

    def act(self, at: At) -> str:
        snapshot = _ref_of(self)
        if not self.is_asked("revert"):
            weigh(self.look(at.host, lambda session: session.check_revert(at.ref, snapshot)))
        self.tell("claim", at, lambda session, turn: session.claim_guest(at.ref, turn.stamp, turn.not_after))
        stamp = self.asked["claim"]["stamp"]
        try:
            self.follow("revert", at, lambda session, turn: _revert_once(session, turn, at, snapshot), stamp=stamp)
        except Rejected:  # or an attempt before this one came in after it was asked about
            outcome = self.look(at.host, lambda session: session.find_revert(at.ref, snapshot, stamp))
            if outcome is not RevertOutcome.DONE:
                raise
            self.note_done("revert")
        return _("The guest is as it was when the snapshot was taken.")

    def sentence_cancelled(self) -> str:
        return _("Cancelled before anything was done.")


def _revert_once(session: RemoteSession, turn: Turn, at: At, snapshot: SnapshotRef) -> TaskProgress:
    """Raises: DriverError; Unclear when an attempt before this one left the guest half way."""
    if turn.again:
        outcome = session.find_revert(at.ref, snapshot, turn.stamp)
        if outcome is RevertOutcome.DONE:
            return TaskProgress(TaskPhase.ENDED)
        if outcome is RevertOutcome.UNCLEAR:
            raise Unclear(
                _(
                    "Reverting was begun, and the guest is not what the snapshot says. It is not tried again by "
                    "itself: look at the guest, then revert again or start it."
                )
            )
    return session.revert_snapshot(at.ref, snapshot, turn.stamp, turn.not_after)


def weigh(findings: tuple[Finding, ...]) -> str:
    """The warnings as sentences. Raises: Impossible for an error."""
    found = [translated(finding) for finding in findings]
    for finding in found:
        if finding.severity is Severity.ERROR:
            raise Impossible(" ".join(part for part in (finding.message, finding.fix) if part))
    return " ".join(finding.message for finding in found if finding.severity is Severity.WARNING)


def _ref_of(act: GuestAct) -> SnapshotRef:
    made_at = act.parameters.get("created_at") or ""
    return SnapshotRef(act.parameters["name"], parse_datetime(made_at) if made_at else None)
