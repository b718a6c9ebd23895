"""Scripted faults. Their outcomes are those seen on libvirt 9.0 and QEMU 7.2 (see each effect)."""

from __future__ import annotations

from drivers.errors import AuthFailed, Busy, DriverError, NotFound, Rejected, Unreachable
from drivers.fake.model import FakeFault, FakeHost
from drivers.words import gettext_noop as _

HANG = "hang"  # open() against a silent listener was still stuck after 25 s: only a killed process ends it
SLOW = "slow"
STALE = "stale"
CALL_EFFECTS = frozenset({HANG, SLOW, STALE, "unreachable", "auth_failed", "rejected", "busy", "not_found", "broken"})

REFUSED = "refused"  # the target will not have it; nothing happened
TARGET_KILLED = "target_killed"  # error in 0.07 s, code 1; guest lives at its source, the half at the target dies
SOURCE_KILLED = "source_killed"  # code 38 at once; guest lives at its source; after the restart the job is gone
CABLE_CUT = "cable_cut"  # copying stands still, error after 6.5 s; guest lives at its source
STALL = "stall"  # never converges; runs until it is cancelled
BOTH_RUNNING = "both_running"  # must never be; what a console has to tell apart and report
LOST = "lost"  # the target's QEMU dies right after the switch: runs nowhere
MOVE_EFFECTS = frozenset({REFUSED, TARGET_KILLED, SOURCE_KILLED, CABLE_CUT, STALL, BOTH_RUNNING, LOST})

STORM = "storm"  # ten thousand events at once
BREAK = "break"  # the connection is lost
MISS = "miss"  # something happened, nobody knows to what
WATCH_EFFECTS = frozenset({STORM, BREAK, MISS})
EFFECTS = {"migration": MOVE_EFFECTS, "watch": WATCH_EFFECTS}

_ERRORS: dict[str, DriverError] = {
    "unreachable": Unreachable(_("The host does not answer. Check that it is up and the network reaches it.")),
    "auth_failed": AuthFailed(_("The host refused the sign-in. Check the user name and the password or key.")),
    "rejected": Rejected(_("The host refused this.")),
    "busy": Busy(_("Another operation holds this guest. Try again when it has ended.")),
    "not_found": NotFound(_("This guest is not on this host any more.")),
}


def take_fault(host: FakeHost, at: str) -> FakeFault | None:
    """Use up one scripted fault of this host, counted in its `fired`; None when there is none."""
    for fault in host.faults:
        if fault.at == at and fault.times != 0:
            fault.fired += 1
            fault.times -= fault.times > 0
            return fault
    return None


def error_of(fault: FakeFault) -> Exception | None:
    """What the fault raises; None when it has another effect."""
    if fault.do == "broken":
        return RuntimeError("a driver with a bug in it")
    error = _ERRORS.get(fault.do)
    return error.copy() if error else None
