"""Jobs that make several things on a host, and take away what they made when one of them fails.

A `Build` is a `HostAct` whose steps are said in the job's story. Each thing made is noted with how it is undone; when
something speaks against the rest, what this job made is undone from the last to the first, nothing else is, and what
could not be undone is named. Whoever takes over goes on with the undoing where it stood.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.utils.translation import gettext as _

from core.db import write_transaction
from drivers.errors import DriverError
from hosts.acts import At, Call, HostAct, Impossible, Unclear
from hosts.words import sentence
from operations.errors import CancelRequested
from operations.models import JobState

T = TypeVar("T")


class Failed(Exception):
    """It failed, what was made is undone; how it ends."""

    def __init__(self, to: JobState, message: str) -> None:
        super().__init__(message)
        self.to = to


class Build(HostAct):
    """Subclasses write `build`, and `undo_<kind>` for each kind of thing that they note by `made`."""

    def build(self) -> str:
        """Do it step by step. Raises: as `perform`."""
        raise NotImplementedError

    def perform(self) -> str:
        if "ended" in self.handle.checkpoint:  # an earlier worker was undoing it
            self._undo()
        try:
            return self.build()
        except CancelRequested:
            self._give_up(JobState.CANCELLED, _("Cancelled."))
        except Impossible as error:
            self._give_up(JobState.FAILED, str(error))
        except DriverError as error:
            self._give_up(JobState.FAILED, sentence(error))
        except Unclear as error:
            raise Unclear(f"{error} {_left_sentence(self.things)}".strip()) from None
        raise AssertionError("not reached")

    def run(self) -> None:
        try:
            super().run()
        except Failed as error:
            self.end(error.to, str(error))

    # -- saying

    def said(self, step: str, message: str) -> None:
        """Tell in the story that a step is done, once."""
        if step not in self._told:
            with write_transaction():
                self.handle.say(message)
                self.handle.note(told=[*self._told, step])

    @property
    def _told(self) -> list[str]:
        return list(self.handle.checkpoint.get("told") or [])

    # -- what was made

    @property
    def things(self) -> list[dict[str, Any]]:
        return list(self.handle.checkpoint.get("made") or [])

    def made(self, kind: str, name: str, **values: Any) -> None:
        """Note what this job made, or is about to make under a name nobody else would use; once."""
        thing = {"kind": kind, "name": name, **values}
        if thing not in self.things:
            self.handle.note(made=[*self.things, thing])

    def _give_up(self, to: JobState, message: str) -> None:
        self.handle.note(ended={"state": to.value, "message": message, "in_doubt": self.in_doubt})
        self._undo()

    def _undo(self) -> None:
        """Raises: Failed."""
        ended = self.handle.checkpoint["ended"]
        had = bool(self.things)
        left = [thing for thing in reversed(self.things) if not self._undo_one(thing)]
        message = ended["message"]
        if left:
            raise Failed(JobState.NEEDS_ATTENTION, f"{message} {_left_sentence(left)}")
        to = JobState(ended["state"])
        if had:
            message = f"{message} {_('What this task had made is removed again.')}"
        elif to is JobState.CANCELLED:
            message = f"{message} {_('Nothing was changed.')}"
        if ended["in_doubt"]:
            raise Failed(
                JobState.NEEDS_ATTENTION,
                f"{message} {_('Whether what was asked for last was done is not known; look at the host.')}",
            )
        raise Failed(to, message)

    def _undo_one(self, thing: dict[str, Any]) -> bool:
        step = f"undo {thing['kind']} {thing['name']}"
        try:
            getattr(self, f"undo_{thing['kind']}")(step, thing)
        except DriverError as error:
            reason = sentence(error)
        except (Impossible, Unclear) as error:
            reason = str(error)
        else:
            self.said(step, _("%(name)s is removed again.") % {"name": thing["name"]})
            return True
        self.said(step, _("%(name)s is left over: %(reason)s") % {"name": thing["name"], "reason": reason})
        return False

    def require_wanted(self) -> None:
        """What is being undone is undone to its end, whoever asks to stop."""
        try:
            super().require_wanted()
        except CancelRequested:
            self.handle.job.state = JobState.CANCELLING
            if "ended" not in self.handle.checkpoint:
                raise

    # -- the steps, said

    def step(self, step: str, at: At, call: Call[T], answer: type[T], message: str) -> T:
        found = self.ask(step, at, call, answer)
        self.said(step, message)
        return found

    def order(self, step: str, at: At, call: Call[None], message: str) -> None:
        self.tell(step, at, call)
        self.said(step, message)

    def once(self, step: str, act: Callable[[], None]) -> None:
        """Something of ours that is to be done once, and may be done again."""
        if not self.is_done(step):
            act()
            self.note_done(step)


def _left_sentence(things: list[dict[str, Any]]) -> str:
    names = ", ".join(str(thing["name"]) for thing in things)
    return _("Look what is left of: %(names)s.") % {"names": names} if names else ""
