"""Moving one guest: check, start, watch, and ask both hosts where it is. Goes on from wherever another worker stopped.

The database's token fences writes, not hypervisors. So: PREPARING is written before the hypervisor is asked, the
stamp is in the guest before it moves, and whoever takes over reads the stamp and asks both hosts before anything else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from core.db import write_transaction
from drivers.errors import Busy, DriverError, NotFound, Rejected, Unreachable
from drivers.isolation import RemoteSession
from drivers.types import Finding, MigrationPhase, MigrationPlan, MigrationProgress, Severity
from hosts.models import Host
from hosts.sessions import open_session
from hosts.validation import resolve_endpoint
from hosts.words import sentence, sentence_of, translated
from inventory.models import Guest
from inventory.recording import Arrival
from inventory.services import place_guest, suspect_guest
from migrations import planner
from migrations.models import GuestMigration
from migrations.outcome import End, Sight, Verdict, Word, end_of, judge
from migrations.progress import as_progress, with_sample
from operations.errors import CancelRequested
from operations.handle import JobHandle
from operations.models import JobState

log = logging.getLogger(__name__)

OpenSession = Callable[..., AbstractContextManager[RemoteSession]]

POLL_SECONDS = 0.3
LAST_POLL_SECONDS = 0.05  # the guest stands still: its end is a moment away
ASK_SECONDS = 10.0  # one question; the peers' own keepalive gives up after 6.5 s
START_SECONDS = 30.0
# The source may tell nothing for this long while it copies (its libvirtd restarts, a switch reboots) before we ask the
# target, too.
SILENCE_SECONDS = 20.0
# An unclear answer may take this long to become clear; then a person must look.
VERIFY_SECONDS = 60.0
# A start that nobody saw taken may still be: a call that waits for the guest's lock gives up after 30.8 s (measured
# with libvirt 9.0).
LATE_START_SECONDS = 35.0
VERIFY_PAUSE_SECONDS = 0.5

STATES = {MigrationPhase.COPYING: JobState.COPYING, MigrationPhase.SWITCHING: JobState.SWITCHING}
FORWARD = (JobState.PREPARING, JobState.COPYING, JobState.SWITCHING)


def bounded(milliseconds: int | None) -> int | None:
    """As the column holds it, whatever a host said: 24 days."""
    return None if milliseconds is None else max(0, min(milliseconds, 2**31 - 1))


class Impossible(Exception):
    """A check stands against the move; nothing has been asked of a hypervisor."""


def run(handle: JobHandle) -> None:
    """The runner of the kind `migration`."""
    Attempt(handle).run()


def leave_unclear(handle: JobHandle) -> None:
    """What the engine writes with the end of a move that it gives up: nobody knows which host has the guest.

    Transaction: joins the caller's.
    """
    Attempt(handle).suspect_both()


class Attempt:
    """One attempt in the hands of one worker."""

    def __init__(self, handle: JobHandle, sessions: OpenSession = open_session) -> None:
        self.handle = handle
        self.sessions = sessions
        self.migration = GuestMigration.objects.select_related(
            "guest", "source_host__source", "target_host__source"
        ).get(pk=handle.job.pk)
        self.error = ""
        self.cancel_taken = False
        # Whether the start is known to be taken or refused: then nothing of it can come later.
        self.start_is_settled = self.handle.state in {JobState.COPYING, JobState.SWITCHING}
        self.last: MigrationProgress | None = None

    @property
    def stamp(self) -> str:
        return self.migration.stamp

    @property
    def uuid(self) -> str:
        return self.migration.guest_uuid

    def run(self) -> None:
        if self.handle.state in {JobState.QUEUED, JobState.CHECKING}:
            self.begin()
            return
        if self.handle.state is JobState.CANCELLING and not self.may_have_begun():
            self.end_unchanged(JobState.CANCELLED, "")
            return
        try:
            self.resume()
        except Impossible as error:
            with write_transaction():
                self.suspect_both()
                self.handle.switch(JobState.NEEDS_ATTENTION, str(error))

    def may_have_begun(self) -> bool:
        """Whether any worker came so far that a hypervisor may have been asked."""
        return self.handle.job.steps.filter(state=JobState.PREPARING).exists()

    # -- before anything happened

    def begin(self) -> None:
        """Check, and start when nothing stands against it. What ends here has changed nothing."""
        try:
            if self.handle.state is JobState.QUEUED:
                self.handle.switch(JobState.CHECKING)
            plan = self.check()
            self.handle.pause(0)
            self.handle.switch(JobState.PREPARING)
        except CancelRequested:
            self.end_unchanged(JobState.CANCELLED, "")
        except Impossible as error:
            self.end_unchanged(JobState.FAILED, str(error))
        except DriverError as error:
            self.end_unchanged(JobState.FAILED, sentence(error))
        else:
            self.start(plan)

    def end_unchanged(self, to: JobState, message: str) -> None:
        self.handle.switch(to, message or _("Cancelled before anything was moved."))

    def check(self) -> MigrationPlan:
        """Ask the database again, then both hosts.

        Raises: Impossible, DriverError.
        """
        source, target = self.hosts()
        guest = self.migration.guest
        if guest is None or guest.host_id != source.pk:
            raise Impossible(_("The guest is not on %(host)s any more.") % {"host": source.name})
        knowledge = replace(planner.learn(guest, [target]), open_job=None)  # that is this one
        findings = planner.judge(knowledge, target).findings
        self.require_no_error(findings)
        plan = self.plan(self.require_sight(), target)
        with self.sessions(source.source, deadline_s=START_SECONDS) as session:
            findings += tuple(map(translated, session.check_migration(plan)))
        self.require_no_error(findings)
        self.handle.confirm()
        GuestMigration.objects.filter(pk=self.migration.pk).update(findings=planner.as_data(findings))
        return plan

    def require_no_error(self, findings: Iterable[Finding]) -> None:
        found = tuple(findings)
        errors = [finding for finding in found if finding.severity is Severity.ERROR]
        if errors:
            self.handle.confirm()
            GuestMigration.objects.filter(pk=self.migration.pk).update(findings=planner.as_data(found))
            raise Impossible(" ".join(part for part in (errors[0].message, errors[0].fix) if part))

    def require_sight(self) -> Sight:
        """The source's word, when it runs the guest and the target has nothing of it.

        Raises: Impossible.
        """
        here, there = self.look_at_both()
        for sight, wanted in ((here, Word.RUNS), (there, Word.ABSENT)):
            if sight.word is not wanted:
                raise Impossible(
                    _("%(host)s %(word)s, so the guest cannot be moved now.")
                    % {"host": sight.host_name, "word": sight.word.value}
                )
        return here

    def plan(self, here: Sight, target: Host) -> MigrationPlan:
        assert here.sighting is not None  # noqa: S101 - a host that runs it has sighted it
        return MigrationPlan(
            guest_ref=here.sighting.ref,
            guest_uuid=self.uuid,
            target=resolve_endpoint(target.source),
            live=self.migration.live,
        )

    # -- the start, and whatever an earlier worker left behind

    def start(self, plan: MigrationPlan) -> None:
        """Ask the source host to move the guest. However the call ends, what follows looks at the hosts."""
        source, _target = self.hosts()
        try:
            with self.sessions(source.source, deadline_s=START_SECONDS) as session:
                # Last: a worker that slept past its lease must not wake up and start what another one watches. What it
                # could still do in the moment after this, the stamp in the guest stops.
                self.handle.confirm()
                session.start_migration(plan, self.stamp, self.handle.lease_ends)
        except Unreachable as error:
            self.error = sentence(error)
            self.resume(started=True)  # it may have been taken or not
        except Busy as error:
            self.end_unchanged(JobState.FAILED, sentence(error))
        except DriverError as error:
            self.error = sentence(error)
            self.start_is_settled = True
            self.settle()
        else:
            self.follow()  # whether the hypervisor begins or still lets it wait, the readings tell

    def resume(self, *, started: bool = False) -> None:
        """Go on from what the hosts say: adopt a move that runs, start one that was never begun, or verify."""
        here, there = self.look_at_both()
        if self.is_under_way(here):
            self.follow()
        elif not started and self.was_never_begun(here, there):
            self.start_again(here)
        else:
            self.settle()

    def is_under_way(self, here: Sight) -> bool:
        """Whether the source host still works on this attempt, by the stamp in the guest."""
        if here.word is not Word.MOVING:
            return False
        source, _target = self.hosts()
        try:
            with self.sessions(source.source, deadline_s=ASK_SECONDS) as session:
                return session.find_migration(self.uuid, self.stamp)
        except DriverError:
            return False

    def was_never_begun(self, here: Sight, there: Sight) -> bool:
        """No stamp, no job, and the guest where it was: the worker before died ahead of its call."""
        unstamped = here.sighting is not None and here.sighting.stamp != self.stamp
        return (
            self.handle.state is JobState.PREPARING
            and (here.word, there.word) == (Word.RUNS, Word.ABSENT)
            and unstamped
        )

    def start_again(self, here: Sight) -> None:
        try:
            self.handle.pause(0)
            plan = self.plan(here, self.hosts()[1])
        except (CancelRequested, DriverError) as error:
            self.error = sentence(error) if isinstance(error, DriverError) else ""
            self.start_is_settled = True  # what was never begun, nobody else begins: the job is ours
            self.settle()
        else:
            self.start(plan)

    # -- while it runs

    def follow(self) -> None:
        """Watch it, then verify how it ended."""
        self.watch()
        self.settle()

    def settle(self) -> None:
        """Verify how it ended; should it turn out to run on, watch it again."""
        while not self.verify():
            self.start_is_settled = True
            if self.handle.state is JobState.VERIFYING:
                self.handle.switch(JobState.COPYING)
            self.watch()

    def watch(self) -> None:
        """Read the attempt until nothing of it runs on the source host any more, or sight of it is lost."""
        silent_since: float | None = None
        while True:
            try:
                reading = self.poll()
                silent_since = None
            except DriverError as error:
                self.error = sentence(error)
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > SILENCE_SECONDS:
                    break
                reading = None
            if reading is not None and self.take_in(reading):
                break
            self.wait(LAST_POLL_SECONDS if self.handle.state is JobState.SWITCHING else POLL_SECONDS)

    def poll(self) -> MigrationProgress:
        source, _target = self.hosts()
        with self.sessions(source.source, deadline_s=ASK_SECONDS) as session:
            if self.handle.state is JobState.CANCELLING and not self.cancel_taken:
                self.ask_to_abort(session)
            return session.poll_migration(self.uuid, self.stamp)

    def ask_to_abort(self, session: RemoteSession) -> None:
        try:
            session.cancel_migration(self.uuid, self.stamp)
            self.cancel_taken = True
        except Rejected:
            self.cancel_taken = True  # too late: the end will say so
        except NotFound:
            pass  # not begun yet or just over: the next reading tells

    def take_in(self, reading: MigrationProgress) -> bool:
        """Show a reading; whether it was the last one."""
        if reading.phase is MigrationPhase.ENDED:
            self.error = sentence_of(reading) or (
                _("Somebody cancelled it on the host itself.") if reading.cancelled else ""
            )
            self.last = replace(self.last or reading, downtime_ms=reading.downtime_ms or None)
            self.start_is_settled |= bool(self.error)  # the hypervisor's call returned
            return True
        self.start_is_settled |= reading.phase in STATES
        self.error = ""
        self.last = reading
        self.go_forward(STATES.get(reading.phase))
        self.handle.progress(as_progress(reading), also=lambda: self.save_sample(reading))
        return False

    def go_forward(self, to: JobState | None) -> None:
        """Follow the phase; a reading never takes the state back."""
        now = self.handle.state
        if to is None or now not in FORWARD or FORWARD.index(to) <= FORWARD.index(now):
            return
        try:
            self.handle.switch(to)
        except CancelRequested:
            self.note_cancel()

    def save_sample(self, reading: MigrationProgress) -> None:
        self.migration.samples = with_sample(self.migration.samples, reading)
        GuestMigration.objects.filter(pk=self.migration.pk).update(
            samples=self.migration.samples, bytes_moved=reading.bytes_processed
        )

    def wait(self, seconds: float) -> None:
        try:
            self.handle.pause(seconds)
        except CancelRequested:
            self.note_cancel()

    def note_cancel(self) -> None:
        self.handle.job.state = JobState.CANCELLING

    # -- where is it?

    def verify(self) -> bool:
        """Ask both hosts until what they say is clear, or for as long as it is worth; false when it runs on."""
        if self.handle.state is not JobState.VERIFYING and self.handle.state is not JobState.CANCELLING:
            try:
                self.handle.switch(JobState.VERIFYING)
            except CancelRequested:
                self.note_cancel()
        began_at = time.monotonic()
        while True:
            asked_at = timezone.now()
            here, there = self.look_at_both()
            if self.is_under_way(here):
                return False
            verdict, waited = judge(here, there), time.monotonic() - began_at
            if self.is_final(verdict, here, waited) or waited > VERIFY_SECONDS:
                break
            self.wait(VERIFY_PAUSE_SECONDS)
        self.finish(verdict, here, there, asked_at)
        return True

    def is_final(self, verdict: Verdict, here: Sight, waited: float) -> bool:
        """Whether nothing can come after these words.

        A guest that stands where it was, with our stamp, may be about to leave: a worker that was killed or stopped
        right then may have asked for it, and nobody saw the answer.
        """
        if verdict is not Verdict.STAYED or self.start_is_settled:
            return verdict is not Verdict.UNCLEAR
        asked = here.sighting is not None and here.sighting.stamp == self.stamp
        return not asked or waited > LATE_START_SECONDS

    def look_at_both(self) -> tuple[Sight, Sight]:
        """The source's word, then the target's: in this order a guest that moves meanwhile is seen, not missed."""
        source, target = self.hosts()
        return self.look(source), self.look(target)

    def look(self, host: Host) -> Sight:
        try:
            with self.sessions(host.source, deadline_s=ASK_SECONDS) as session:
                return Sight(host.name, answered=True, sighting=session.sight_guest(self.uuid))
        except DriverError as error:
            log.info("%s: %s", host.name, error.message)
            return Sight(host.name, answered=False)

    def finish(self, verdict: Verdict, here: Sight, there: Sight, asked_at: Any) -> None:
        """Write the end, and with it where the guest is."""
        cancelled = self.handle.state is JobState.CANCELLING
        end = end_of(verdict, here, there, cancelled=cancelled, error=self.error)
        self.handle.confirm()
        self.read_total(verdict)
        self.remove_stamp(verdict)
        with write_transaction():
            self.place(verdict, here, there, asked_at)
            self.write_end(end)

    def read_total(self, verdict: Verdict) -> None:
        """What the whole move came to: the target knows, until the stamp is gone. Not to know it harms nothing."""
        if verdict is not Verdict.MOVED:
            return
        _source, target = self.hosts()
        try:
            with self.sessions(target.source, deadline_s=ASK_SECONDS) as session:
                total = session.poll_migration(self.uuid, self.stamp)
        except DriverError as error:
            log.info("What the move %s came to is not known: %s", self.migration.pk, error.message)
            return
        last = self.last or total
        self.last = replace(
            last,
            downtime_ms=last.downtime_ms if total.downtime_ms is None else total.downtime_ms,
            bytes_processed=last.bytes_processed if total.bytes_processed is None else total.bytes_processed,
        )

    def remove_stamp(self, verdict: Verdict) -> None:
        """Where the guest arrived. Where it stayed the stamp stays, too: it stops a late worker from beginning this
        attempt again, and the next attempt writes its own."""
        if verdict is not Verdict.MOVED:
            return
        _source, target = self.hosts()
        try:
            with self.sessions(target.source) as session:
                session.clear_stamp(self.uuid, self.stamp)
        except DriverError as error:
            log.info("The stamp of %s stays in the guest: %s", self.migration.pk, error.message)

    def place(self, verdict: Verdict, here: Sight, there: Sight, asked_at: Any) -> None:
        guest = self.migration.guest
        if guest is None:
            return
        if verdict is Verdict.UNCLEAR:
            self.suspect(guest, here, there, asked_at)
            return
        source, target = self.hosts()
        moved = verdict is Verdict.MOVED
        sighting = there.sighting if moved else here.sighting
        assert sighting is not None  # noqa: S101 - a clear verdict names a host that sighted it
        place_guest(
            guest=guest,
            host=target if moved else source,
            ref=sighting.ref,
            state=sighting.state,
            evidence_at=asked_at,
            arrival=self.arrival() if moved else None,
        )

    def arrival(self) -> Arrival:
        """For history."""
        last = self.last
        downtime, moved = (last.downtime_ms, last.bytes_processed) if last else (None, None)
        return Arrival(self.migration.pk, bounded(downtime), moved)

    def suspect(self, guest: Guest, here: Sight, there: Sight, asked_at: Any) -> None:
        """Have every host that did not deny the guest asked before anybody starts it; the next readings tell more."""
        for host, sight in zip(self.hosts(), (here, there), strict=True):
            if sight.word is not Word.ABSENT:
                ref = sight.sighting.ref if sight.sighting else guest.ref
                suspect_guest(guest=guest, host=host, ref=ref, evidence_at=asked_at)

    def suspect_both(self) -> None:
        """As `suspect`, when neither host was asked; one of them may not be in the inventory any more."""
        migration = self.migration
        if migration.guest is None or not self.may_have_begun():
            return
        for host in filter(None, (migration.source_host, migration.target_host)):
            suspect_guest(guest=migration.guest, host=host, ref=migration.guest.ref, evidence_at=timezone.now())

    def write_end(self, end: End) -> None:
        progress = dict(self.handle.job.progress)
        if end.state is JobState.SUCCEEDED:
            progress |= {"percent": 100, "bytes_remaining": 0, "rate_bytes_per_s": None, "seconds_left": None}
            self.save_figures()
        self.handle.switch(end.state, end.message, progress=progress)

    def save_figures(self) -> None:
        """What the whole move came to, as far as anybody read it."""
        if self.last is None:
            return
        figures = {"downtime_ms": bounded(self.last.downtime_ms), "bytes_moved": self.last.bytes_processed}
        known = {name: value for name, value in figures.items() if value is not None}
        GuestMigration.objects.filter(pk=self.migration.pk).update(**known)

    def hosts(self) -> tuple[Host, Host]:
        """Source and target.

        Raises: Impossible when one was removed from the inventory meanwhile.
        """
        source, target = self.migration.source_host, self.migration.target_host
        if source is None or target is None:
            raise Impossible(_("One of the two hosts was removed from the inventory."))
        return source, target
