"""Jobs that ask a hypervisor for something: the base of their runners. Imported only by workers.

A runner is a subclass of `HostAct` with one method:

    class GrowDisk(HostAct):
        def perform(self) -> str:
            at = At(host, guest_ref)
            self.look(host, lambda session: session.sight_guest(...))  # questions, as many as you like
            effect = self.ask(
                "grow", at, lambda session, turn: session.grow_disk(at.ref, "vda", size, turn.not_after), Effect
            )
            return _("The disk has grown.")  # with this sentence it has succeeded

    def run(handle: JobHandle) -> None:
        GrowDisk(handle).run()

`perform` is called again from its start by whoever takes over. Each thing that is asked for is a *step* with a name of
its own in this job. A step that ended is not asked for again: its answer is in the job's checkpoint. One that was asked
for and whose end nobody noted is asked for again with the same `turn.stamp` and `turn.again` set, which the contract in
`drivers.ops` makes harmless. So a step is one call that changes something, or one lasting task:

- `ask` and `tell`: a call that is done when it returns, with an answer or none.
- `follow`: a lasting task, read on until it has ended; its bytes become the job's progress.
- `look`: a question. Never a step.

What goes wrong ends the job by itself, so catch only what you can undo, and raise it again:

- A DriverError that says "no" fails the job with its sentence. Nothing was done by this step; steps before it were.
- Impossible, raised by you: what we know speaks against it. Fails the job with your sentence.
- CancelRequested comes before a step that was never asked for, from `require_wanted`. Whatever was asked for is
  followed to its end, since hypervisors have no way back in the middle of it.
- Unclear: it was asked for, and then the host fell silent for good. Ends in `needs_attention`. So does whatever else
  ends the job while a step is `in_doubt`.
- Stop (LeaseLost, HandOver) is nobody's to catch.

At the end the sources that were asked are read in full at once, so that pages show what came of it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import UUID

import msgspec
from django.utils.translation import gettext as _

from core.db import write_transaction
from core.decoding import convert
from drivers.errors import AuthFailed, Busy, DriverError, NotFound, Unreachable, Unsure
from drivers.isolation import RemoteSession
from drivers.ops import error_in
from drivers.requests import TaskPhase, TaskProgress
from hosts.meter import Meter
from hosts.models import Host
from hosts.polling import read_now
from hosts.sessions import open_session
from hosts.words import sentence
from operations.errors import CancelRequested
from operations.handle import JobHandle
from operations.models import JobState

ASK_SECONDS = 10.0
# Longer than a call of libvirt waits for a guest's lock before it gives up: 30.8 s (measured with libvirt 9.0).
ACT_SECONDS = 40.0
POLL_SECONDS = 0.5
RETRY_SECONDS = 2.0
# A host that was asked may be silent for so long (its libvirtd restarts, a switch reboots); then a person must look.
SILENCE_SECONDS = 60.0
# What an earlier worker began, such as a snapshot of a large memory, may keep the guest busy for so long.
BUSY_SECONDS = 45 * 60.0
# A task whose process dies so often will not get through.
MOST_LOSSES = 5

T = TypeVar("T")
OpenSession = Callable[..., AbstractContextManager[RemoteSession]]


class Impossible(Exception):
    """What we know speaks against it; nothing more is asked of the hypervisor. The text is the job's last sentence."""


class Unclear(Exception):
    """It was asked for, and nobody can tell what became of it. The text is the job's last sentence."""


class TaskLost(Exception):
    """The process that ran a task is gone: the step is asked for again."""


@dataclass(frozen=True, slots=True)
class At:
    """Where a step is done. `ref` is what drivers prepare the call for: a guest's, a datastore's UUID, a network's."""

    host: Host  # with its source loaded
    ref: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What one call is made with. `again`: this step may have been asked for before, by this worker or another."""

    stamp: str
    again: bool
    not_after: float


Call = Callable[[RemoteSession, Turn], T]
"""Makes one call with the turn's `not_after`, and with its stamp and `again` where the driver takes them."""


class HostAct:
    """One job in the hands of one worker."""

    def __init__(self, handle: JobHandle, sessions: OpenSession = open_session) -> None:
        self.handle = handle
        self.sessions = sessions
        self._not_after = 0.0  # of the last call
        self._refused: set[str] = set()  # steps to which a host said no

    def perform(self) -> str:
        """Do it, and say in one sentence how it ended.

        Raises: DriverError, Impossible, Unclear, CancelRequested.
        """
        raise NotImplementedError

    def run(self) -> None:
        """Do it or go on with it, and end the job."""
        try:
            if self.handle.state is JobState.QUEUED:
                self.handle.switch(JobState.RUNNING)
            message = self.perform()
        except CancelRequested:
            self.end(JobState.NEEDS_ATTENTION if self.in_doubt else JobState.CANCELLED, self.sentence_cancelled())
        except Impossible as error:
            self.end_refused(str(error))
        except Unclear as error:
            self.end(JobState.NEEDS_ATTENTION, str(error))
        except DriverError as error:
            self.end_refused(sentence(error))
        else:
            self.end(JobState.SUCCEEDED, message)

    def end_refused(self, reason: str) -> None:
        """It cannot go on. That is a failure, unless a step was asked for of which nobody knows the end."""
        if self.in_doubt:
            self.end(JobState.NEEDS_ATTENTION, _sentence_doubt(reason))
        else:
            self.end(JobState.FAILED, reason)

    def end(self, to: JobState, message: str) -> None:
        """End the job, and have what it touched read again."""
        with write_transaction():
            self.write_end(to)
            request_reads(self.handle)
            self.handle.switch(to, message)

    def write_end(self, to: JobState) -> None:
        """What else is written with the end, in its transaction: nothing, unless a subclass says so."""

    def sentence_cancelled(self) -> str:
        if self.asked:
            return _("Cancelled. What had been done until then stays.")
        return _("Cancelled before anything was done.")

    # -- what was asked for, by this worker or one before

    @property
    def asked(self) -> dict[str, Any]:
        """The steps that were begun, by name."""
        return self.handle.checkpoint.get("asked") or {}

    def is_asked(self, step: str) -> bool:
        return step in self.asked

    def is_done(self, step: str) -> bool:
        return step in (self.handle.checkpoint.get("done") or {})

    @property
    def in_doubt(self) -> bool:
        """Whether a step was asked for, by this worker or one before, and nobody knows how it ended."""
        return any(not self.is_done(step) and step not in self._refused for step in self.asked)

    def note_done(self, step: str, answer: Any = None) -> None:
        """Write down that a step has ended, with an answer made of lists, dicts, texts and numbers."""
        self.handle.note(done={**(self.handle.checkpoint.get("done") or {}), step: answer})

    # -- asking

    def look(self, host: Host, call: Callable[[RemoteSession], T], *, seconds: float = ASK_SECONDS) -> T:
        """Ask a question, as often as you like. While a step is in doubt, a silent host is asked again for a while.

        Raises: DriverError.
        """
        patience = Patience()
        while True:
            try:
                with self.sessions(host.source, deadline_s=seconds) as session:
                    return call(session)
            except (Unreachable, AuthFailed):
                if not self.in_doubt or patience.is_spent("silent", SILENCE_SECONDS):
                    raise
            self.wait(RETRY_SECONDS)

    def ask(self, step: str, at: At, call: Call[T], answer: type[T]) -> T:
        """Have a step done and return what the driver answered, now or to the worker before.

        Raises: DriverError, Unclear, CancelRequested.
        """
        if self.is_done(step):
            return cast("T", convert(self.handle.checkpoint["done"][step], answer))
        found = self._insist(step, at, lambda _patience: self._call(step, at, call))
        self.note_done(step, msgspec.to_builtins(found))
        return found

    def tell(self, step: str, at: At, call: Call[None]) -> None:
        """Have a step done that answers nothing. Raises: as `ask`."""
        if not self.is_done(step):
            self._insist(step, at, lambda _patience: self._call(step, at, call))
            self.note_done(step)

    def follow(
        self, step: str, at: At, call: Call[TaskProgress], *, meter: Meter | None = None, stamp: str = ""
    ) -> None:
        """Have a lasting task done, and show how far it is. A `stamp` is given where it is not to be a new one.

        Raises: as `ask`.
        """
        shown = meter or Meter()
        if not self.is_done(step):
            self._insist(
                step, at, lambda patience: self._watch(step, at, self._call(step, at, call, stamp), shown, patience)
            )
            self.note_done(step)

    def require_wanted(self) -> None:
        """Before anything new is begun. Raises: CancelRequested."""
        if self.handle.state is JobState.CANCELLING:
            raise CancelRequested
        self.handle.pause(0)

    def wait(self, seconds: float) -> None:
        """Between two looks at what goes on; a request to cancel is heeded at the next `require_wanted`."""
        try:
            self.handle.pause(seconds)
        except CancelRequested:
            self.handle.job.state = JobState.CANCELLING

    # -- one step

    def _call(self, step: str, at: At, call: Call[T], stamp: str = "") -> T:
        """Call once. The note stands before the call, so that whoever takes over knows that it may have been made."""
        with self.sessions(at.host.source, deadline_s=ACT_SECONDS) as session:
            # Ahead: a far host takes seconds for it, and the lease that the call carries is counted from the note.
            session.prepare_operation(at.ref)
            again = self.is_asked(step)
            if again:
                self.handle.confirm()
            else:
                self.require_wanted()
                self._note_asked(step, at, stamp)
            self.handle.require_time()
            self._not_after = self.handle.lease_ends
            return call(session, Turn(self.asked[step]["stamp"], again, self._not_after))

    def _note_asked(self, step: str, at: At, stamp: str) -> None:
        told = {"stamp": stamp or f"{self.handle.job.pk}-{secrets.token_hex(8)}", "source": str(at.host.source_id)}
        self.handle.note(asked={**self.asked, step: told})

    def _watch(self, step: str, at: At, reading: TaskProgress, meter: Meter, patience: Patience) -> None:
        """Read a task on until it has ended as asked. Raises: DriverError; TaskLost."""
        stamp = self.asked[step]["stamp"]
        while reading.phase is TaskPhase.RUNNING:
            patience.heard()
            self.handle.progress(meter.read(reading.bytes_total, reading.bytes_done))
            self.wait(POLL_SECONDS)
            reading = self.look(at.host, lambda session: session.poll_task(at.ref, stamp))
        if reading.phase is TaskPhase.UNKNOWN:
            raise TaskLost
        error = error_in(reading)
        if error is not None:
            raise error

    def _insist(self, step: str, at: At, attempt: Callable[[Patience], T]) -> T:
        """Attempt it until there is an answer, for as long as an earlier call may have been taken."""
        patience = Patience()
        while True:
            again = self.is_asked(step)
            try:
                return attempt(patience)
            except TaskLost:
                if patience.lose_task():
                    raise Unclear(_sentence_silent(at)) from None
            except DriverError as error:
                self._weigh(step, at, error, patience, again=again)
            self.wait(RETRY_SECONDS)

    def _weigh(self, step: str, at: At, error: DriverError, patience: Patience, *, again: bool) -> None:
        """Raise what ends the step; returns when it is to be asked for again."""
        if not self.is_asked(step):
            raise error  # it never came to the call
        if isinstance(error, Busy):
            self._weigh_busy(step, at, error, patience, again=again)
        elif isinstance(error, Unreachable | AuthFailed):
            if patience.is_spent("silent", SILENCE_SECONDS):
                raise Unclear(_sentence_silent(at))
        elif isinstance(error, NotFound) and again:
            raise Unclear(_sentence_doubt(sentence(error)))
        elif isinstance(error, Unsure):
            raise Unclear(sentence(error))
        else:
            self._refused.add(step)
            raise error

    def _weigh_busy(self, step: str, at: At, error: Busy, patience: Patience, *, again: bool) -> None:
        """Nothing was done by this call. Only when it was the first does that mean that nothing was done at all."""
        if again:
            if patience.is_spent("busy", BUSY_SECONDS):
                raise Unclear(_("%(host)s is still busy with it. Look there how it ended.") % {"host": at.host.name})
            return
        self.handle.note(asked={name: told for name, told in self.asked.items() if name != step})
        if time.monotonic() < self._not_after or patience.is_spent("late", SILENCE_SECONDS):
            raise error


class Patience:
    """How long one reason to ask again has lasted without another word."""

    def __init__(self) -> None:
        self._reason = ""
        self._since = 0.0
        self._losses = 0

    def heard(self) -> None:
        """It goes on: what was before is forgotten."""
        self._reason = ""

    def is_spent(self, reason: str, seconds: float) -> bool:
        now = time.monotonic()
        if reason != self._reason:
            self._reason, self._since = reason, now
        return now - self._since >= seconds

    def lose_task(self) -> bool:
        """Whether that was once too often."""
        self._losses += 1
        return self._losses > MOST_LOSSES


def request_reads(handle: JobHandle) -> None:
    """Have the sources that a job's steps were asked of read in full at once.

    Also for `JobKind.on_unclear`: what the engine calls when it gives a job up.
    Transaction: joins the caller's, which ends the job.
    """
    steps = (handle.checkpoint.get("asked") or {}).values()
    for source_id in {UUID(step["source"]) for step in steps}:
        read_now(source_id, inventory=True)


def _sentence_silent(at: At) -> str:
    return _(
        "%(host)s was asked and then did not answer any more, so whether it was done is not known. What the next read "
        "of the host shows is how it is."
    ) % {"host": at.host.name}


def _sentence_doubt(reason: str) -> str:
    return _(
        "It was asked for, and before its end was known something went wrong: %(reason)s Whether it was done is not "
        "known; what the next read of the host shows is how it is."
    ) % {"reason": reason}
