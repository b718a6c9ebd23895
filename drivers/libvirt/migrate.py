"""Live migration, peer to peer: the source host's libvirt runs it, with or without us.

Our call into libvirt lasts as long as the move, in a thread and on a connection of its own. What it returns is kept
as a sentence for a person and never trusted as the outcome: that is asked of both hosts.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import libvirt

from drivers.errors import Busy, DriverError, NotFound, Rejected
from drivers.libvirt import states, uri
from drivers.libvirt.connection import Connection, probe
from drivers.libvirt.errors import migration_error
from drivers.libvirt.jobs import JobReading, read_arrival, read_job, read_stamp, write_stamp
from drivers.libvirt.lines import Lines
from drivers.libvirt.text import whole
from drivers.libvirt.xml import BrokenXML, Node, read_xml
from drivers.types import (
    Endpoint,
    Finding,
    GuestState,
    MigrationPhase,
    MigrationPlan,
    MigrationProgress,
    Severity,
)
from drivers.words import Parameters
from drivers.words import gettext_noop as _

BASE_FLAGS = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER
# Without these the target would forget the guest at its next power-off, and the source would keep a second definition.
PERSISTENT_FLAGS = libvirt.VIR_MIGRATE_UNDEFINE_SOURCE | libvirt.VIR_MIGRATE_PERSIST_DEST
START_LOOK_S = 5.0  # how long to watch whether a move is refused at once
START_LOOK_INTERVAL_S = 0.05
MOST_REMEMBERED = 500
CACHED_BY_HOST = frozenset({"default", "writeback", "writethrough", "unsafe"})
# A worker that slept may wake and ask again for what another one has since seen to its end.
BEGUN_BEFORE = _("This attempt was begun before and runs no more; it is not begun twice.")
TOO_LATE = _("The host took too long to answer, so that the move was not begun. Try again.")
_MOVABLE = frozenset({GuestState.RUNNING, GuestState.PAUSED})


@dataclass(slots=True, eq=False)
class Attempt:
    """One call into libvirt that moves a guest. Written by its own thread, read by the others."""

    guest_uuid: str
    stamp: str
    source: Endpoint
    not_after: float = math.inf
    ended: threading.Event = field(default_factory=threading.Event)
    seen_running: bool = False
    cancelled: bool = False
    error: DriverError | None = None
    last: MigrationProgress | None = None

    @property
    def has_succeeded(self) -> bool:
        """Whether libvirt's call returned without an error. Not the outcome: that is asked of both hosts."""
        return self.ended.is_set() and self.error is None and not self.cancelled

    def run(self, connection: Connection, domain: Any, target: str, flags: int) -> None:
        """Make the call; returns when libvirt does."""
        try:
            # Nothing comes between this look and the call: who sleeps here and wakes up late has lost the right to it.
            if time.monotonic() >= self.not_after:
                self.error = Busy(TOO_LATE)
                return
            domain.migrateToURI3(target, {}, flags)
        except libvirt.libvirtError as error:
            self.cancelled = error.get_error_code() == libvirt.VIR_ERR_OPERATION_ABORTED
            self.error = None if self.cancelled else migration_error(error)
        finally:
            self.ended.set()
            connection.close()


class Attempts:
    """The attempts this process started, by guest and stamp. Sessions come and go; these stay until they are old."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._known: dict[tuple[str, str], Attempt] = {}

    def find(self, guest_uuid: str, stamp: str) -> Attempt | None:
        with self._guard:
            return self._known.get((guest_uuid, stamp))

    def add(self, attempt: Attempt) -> None:
        with self._guard:
            self._known[attempt.guest_uuid, attempt.stamp] = attempt
            ended = [key for key, known in self._known.items() if known.ended.is_set()]
            for key in ended[: max(0, len(self._known) - MOST_REMEMBERED)]:
                del self._known[key]


ATTEMPTS = Attempts()


class Migrations:
    """The migrations of one session."""

    def __init__(self, endpoint: Endpoint, connection: Connection, lines: Lines) -> None:
        self._endpoint = endpoint
        self._connection = connection
        self._lines = lines
        self._own: list[Attempt] = []

    def is_busy(self) -> bool:
        self._own = [attempt for attempt in self._own if not attempt.ended.is_set()]
        return bool(self._own)

    def check(self, plan: MigrationPlan) -> tuple[Finding, ...]:
        try:
            domain = self._find(plan.guest_uuid)
        except NotFound:
            return (
                _finding("guest_here", _("The guest is not on this host any more."), _("Refresh, then try again.")),
            )
        findings = tuple(_check(self._connection, domain, plan))
        if not any(finding.severity is Severity.ERROR for finding in findings):
            self._lines.open(plan.guest_uuid)  # ahead of the start, which comes next
        return findings

    def start(self, plan: MigrationPlan, stamp: str, not_after: float) -> None:
        """As the contract says. Refused at once means: libvirt's call failed within START_LOOK_S before a job began."""
        target = uri.migration_uri(plan.target)
        domain = self._find(plan.guest_uuid)
        if self._is_under_way(domain, plan.guest_uuid, stamp):
            return
        if states.state_of(self._connection.call(domain.state)[0]) not in _MOVABLE:
            raise Rejected(_("The guest is not running; start it, then migrate it."))
        flags = BASE_FLAGS | (PERSISTENT_FLAGS if self._connection.call(domain.isPersistent) else 0)
        self._lines.open(plan.guest_uuid)
        if time.monotonic() >= not_after:
            raise Busy(TOO_LATE)
        write_stamp(self._connection, domain, stamp)
        attempt = self._launch(Attempt(plan.guest_uuid, stamp, self._endpoint, not_after), target, flags)
        self._look_at_start(attempt, domain)

    def _is_under_way(self, domain: Any, guest_uuid: str, stamp: str) -> bool:
        """Whether this very attempt runs. Raises: Busy when something else does; Rejected when it has ended."""
        known = ATTEMPTS.find(guest_uuid, stamp)
        if known is not None and not known.ended.is_set():
            return True
        stamped = read_stamp(self._connection, domain) == stamp
        if not read_job(self._connection, domain).active:
            if stamped:
                raise Rejected(BEGUN_BEFORE)
            return False
        if stamped:
            return True
        raise Busy(_("Another operation of this guest is under way; wait for its end."))

    def _launch(self, attempt: Attempt, target: str, flags: int) -> Attempt:
        connection = self._lines.take(attempt.guest_uuid)
        domain = connection.call(connection.raw.lookupByUUIDString, attempt.guest_uuid)
        ATTEMPTS.add(attempt)
        self._own.append(attempt)
        run = (connection, domain, target, flags)
        threading.Thread(target=attempt.run, args=run, daemon=True, name=f"migrate-{attempt.guest_uuid}").start()
        return attempt

    def _look_at_start(self, attempt: Attempt, domain: Any) -> None:
        until = time.monotonic() + START_LOOK_S
        while not attempt.ended.wait(START_LOOK_INTERVAL_S) and time.monotonic() < until:
            try:
                job = read_job(self._connection, domain)
            except NotFound:
                return  # moved already
            if job.outgoing and (job.figures or {}).get("memory_total"):
                attempt.seen_running = True
                return
        if attempt.ended.is_set() and attempt.error is not None:
            raise Rejected(attempt.error.template, **attempt.error.parameters)

    def find(self, guest_uuid: str, stamp: str) -> bool:
        known = ATTEMPTS.find(guest_uuid, stamp)
        if known is not None and not known.ended.is_set():
            return True
        try:
            domain = self._find(guest_uuid)
            job = read_job(self._connection, domain)
            return job.outgoing and read_stamp(self._connection, domain) == stamp
        except NotFound:
            return False

    def poll(self, guest_uuid: str, stamp: str) -> MigrationProgress:
        attempt = self._begun_here(guest_uuid, stamp)
        try:
            progress = self._read_progress(guest_uuid, stamp)
        except NotFound:
            progress = None  # the source gives the guest up just before libvirt's call returns
        if progress is not None:
            if attempt is not None:
                attempt.seen_running = True
                attempt.last = progress
            return progress
        if attempt is not None and not attempt.has_succeeded:
            return _without_job(attempt)
        arrived = self._read_arrival(guest_uuid, stamp)
        # Where the guest left, only the last reading on the way is known.
        return arrived if attempt is None or arrived.bytes_total is not None else _without_job(attempt)

    def _begun_here(self, guest_uuid: str, stamp: str) -> Attempt | None:
        """The attempt if it left from this host: its target's session may live in the same process."""
        known = ATTEMPTS.find(guest_uuid, stamp)
        here = self._endpoint
        left_from = (known.source.transport, known.source.address, known.source.port, known.source.uri) if known else ()
        return known if left_from == (here.transport, here.address, here.port, here.uri) else None

    def _read_progress(self, guest_uuid: str, stamp: str) -> MigrationProgress | None:
        """The running job's figures; None when no job of this attempt runs."""
        domain = self._find(guest_uuid)
        job = read_job(self._connection, domain)
        if not job.outgoing or read_stamp(self._connection, domain) != stamp:
            return None
        return progress_of(job, paused_for_switch=self._is_switching(domain))

    def _read_arrival(self, guest_uuid: str, stamp: str) -> MigrationProgress:
        """What the whole move came to, when the guest of this attempt is here."""
        try:
            domain = self._find(guest_uuid)
            if read_stamp(self._connection, domain) != stamp:
                return MigrationProgress(MigrationPhase.ENDED)
            return total_of(read_arrival(self._connection, domain))
        except NotFound:
            return MigrationProgress(MigrationPhase.ENDED)

    def _is_switching(self, domain: Any) -> bool:
        return is_switching(*self._connection.call(domain.state))

    def cancel(self, guest_uuid: str, stamp: str) -> None:
        domain = self._find(guest_uuid)
        job = read_job(self._connection, domain)
        if not job.outgoing or read_stamp(self._connection, domain) != stamp:
            raise NotFound(_("This migration is not under way on this host."))
        if self._is_switching(domain):
            raise Rejected(_("It is too late to cancel: the guest is already switching to the target host."))
        self._connection.call(domain.abortJob)

    def clear_stamp(self, guest_uuid: str, stamp: str) -> None:
        try:
            domain = self._find(guest_uuid)
            if read_stamp(self._connection, domain) != stamp:
                return
            if read_job(self._connection, domain).active:
                raise Busy(_("Another operation of this guest is under way; wait for its end."))
            write_stamp(self._connection, domain, "")
        except NotFound:
            return

    def _find(self, guest_uuid: str) -> Any:
        return self._connection.call(self._connection.raw.lookupByUUIDString, guest_uuid)


def is_switching(state: int, reason: int) -> bool:
    """Whether the move stopped the guest here, or took it away already: its job may show for a moment longer.

    Seen with libvirt 11.3: shut off, migrated, and the job still unbounded.
    """
    paused = (state, reason) == (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION)
    return paused or states.state_of(state) not in _MOVABLE


def progress_of(job: JobReading, *, paused_for_switch: bool) -> MigrationProgress:
    """libvirt's figures in our words. Pure."""
    figures = job.figures or {}
    total = figures.get("data_total") or figures.get("memory_total") or 0
    elapsed_ms = figures.get("time_elapsed")
    if not total:
        return MigrationProgress(MigrationPhase.PREPARING, elapsed_ms=elapsed_ms)
    page = figures.get("memory_page_size") or 4096
    downtime = figures.get("downtime")
    return MigrationProgress(
        phase=MigrationPhase.SWITCHING if paused_for_switch else MigrationPhase.COPYING,
        bytes_total=total,
        bytes_processed=figures.get("data_processed", figures.get("memory_processed")),
        bytes_remaining=figures.get("data_remaining", figures.get("memory_remaining")),
        rate_bytes_per_s=figures.get("memory_bps"),
        dirty_rate_bytes_per_s=whole(figures["memory_dirty_rate"], scale=page)
        if "memory_dirty_rate" in figures
        else None,
        iteration=figures.get("memory_iteration"),
        # Until the guest stands still, the figure is the hypervisor's guess.
        downtime_ms=downtime if paused_for_switch else None,
        expected_downtime_ms=None if paused_for_switch else downtime,
        elapsed_ms=elapsed_ms,
    )


def total_of(figures: dict[str, int]) -> MigrationProgress:
    """What libvirt keeps of a move that is over. Pure."""
    return MigrationProgress(
        phase=MigrationPhase.ENDED,
        bytes_total=figures.get("data_total", figures.get("memory_total")),
        bytes_processed=figures.get("data_processed", figures.get("memory_processed")),
        iteration=figures.get("memory_iteration"),
        downtime_ms=figures.get("downtime"),
        elapsed_ms=figures.get("time_elapsed"),
    )


def _without_job(attempt: Attempt) -> MigrationProgress:
    """No job is to be seen: not yet, or not any more while libvirt's call finishes, or the call has returned."""
    last = attempt.last or MigrationProgress(MigrationPhase.ENDED)
    phase = MigrationPhase.ENDED
    if not attempt.ended.is_set():
        phase = MigrationPhase.SWITCHING if attempt.seen_running else MigrationPhase.PREPARING
    return MigrationProgress(
        phase=phase,
        bytes_total=last.bytes_total,
        bytes_processed=last.bytes_processed,
        bytes_remaining=last.bytes_remaining,
        iteration=last.iteration,
        downtime_ms=last.downtime_ms,
        elapsed_ms=last.elapsed_ms,
        error=attempt.error.template if attempt.error else "",
        error_parameters=tuple(attempt.error.parameters.items()) if attempt.error else (),
        cancelled=attempt.cancelled,
    )


# Checks only the hypervisor can answer


def _check(connection: Connection, domain: Any, plan: MigrationPlan) -> Iterator[Finding]:
    state = states.state_of(connection.call(domain.state)[0])
    if state not in _MOVABLE:
        yield _finding("guest_runs", _("The guest is not running on this host."), _("Start it, then migrate it."))
    elif read_job(connection, domain).active:
        yield _finding("no_other_job", _("Another operation of this guest is under way."), _("Wait for its end."))
    if connection.call(domain.snapshotNum):
        yield _finding(
            "no_snapshots", _("The guest has snapshots, which cannot move with it."), _("Delete its snapshots.")
        )
    yield from _check_devices(str(connection.call(domain.XMLDesc, 0)))
    yield from _check_target(plan.target)


def _check_devices(xml: str) -> Iterator[Finding]:
    try:
        node = read_xml(xml)
    except BrokenXML:
        yield _finding("definition", _("The guest's definition cannot be read."), _("Look at it on the host."))
        return
    if node.has("devices/hostdev") or any(_is_passed_through(nic) for nic in node.all("devices/interface")):
        yield _finding(
            "no_passthrough", _("A device of the host is passed through to the guest."), _("Detach the device.")
        )
    for disk in node.all("devices/disk"):
        cache = disk.get("cache", path="driver") or "default"
        on_files = disk.get("type") in {"file", "block"} and disk.get("device") == "disk" and not disk.has("readonly")
        if on_files and cache in CACHED_BY_HOST:
            target = disk.get("dev", path="target", limit=64)
            yield Finding(
                "disk_cache",
                Severity.WARNING,
                _("Disk %(disk)s is cached by the host (%(cache)s); on most shared storage such a guest is refused."),
                _("Set its cache to none."),
                (("disk", target), ("cache", cache)),
            )


def _is_passed_through(nic: Node) -> bool:
    return nic.get("type") == "hostdev"


def _check_target(target: Endpoint) -> Iterator[Finding]:
    try:
        uri.migration_uri(target)
    except Rejected as error:
        fix = _("Add the target host by TCP or SSH.")
        yield _finding("target_address", error.template, fix, tuple(error.parameters.items()))
        return
    if target.address in {"localhost", "::1"} or target.address.startswith("127."):
        yield _finding(
            "target_address",
            _("The target's address means the source host itself when the source host uses it."),
            _("Add the target host by an address all hosts can reach."),
        )
        return
    try:
        # Seen from here: what the source host sees, only the migration itself can tell.
        probe(target)
    except DriverError as error:
        fix, names = _("Check that the target host is up."), tuple(error.parameters.items())
        yield Finding("target_answers", Severity.WARNING, error.template, fix, names)


def _finding(check: str, message: str, fix: str, parameters: Parameters = ()) -> Finding:
    return Finding(check, Severity.ERROR, message, fix, parameters)
