"""libvirt's states and their reasons in our words. Source: https://libvirt.org/html/libvirt-libvirt-domain.html"""

from __future__ import annotations

import libvirt

from drivers.types import GuestState

_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: GuestState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: GuestState.RUNNING,  # waits for a resource, as Xen says it
    libvirt.VIR_DOMAIN_PAUSED: GuestState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: GuestState.RUNNING,  # on its way down, still there
    libvirt.VIR_DOMAIN_SHUTOFF: GuestState.OFF,
    libvirt.VIR_DOMAIN_CRASHED: GuestState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: GuestState.SUSPENDED,
}
_REASONS: dict[int, tuple[str, ...]] = {
    libvirt.VIR_DOMAIN_RUNNING: (
        "",
        "booted",
        "migrated",
        "restored",
        "from snapshot",
        "unpaused",
        "migration canceled",
        "save canceled",
        "woken up",
        "crashed",
        "post-copy",
        "post-copy failed",
    ),
    libvirt.VIR_DOMAIN_PAUSED: (
        "",
        "user",
        "migration",
        "save",
        "dump",
        "I/O error",
        "watchdog",
        "from snapshot",
        "shutting down",
        "snapshot",
        "crashed",
        "starting up",
        "post-copy",
        "post-copy failed",
    ),
    libvirt.VIR_DOMAIN_SHUTDOWN: ("shutting down", "shutting down"),
    libvirt.VIR_DOMAIN_SHUTOFF: (
        "",
        "shutdown",
        "destroyed",
        "crashed",
        "migrated",
        "saved",
        "failed",
        "from snapshot",
        "daemon",
    ),
    libvirt.VIR_DOMAIN_CRASHED: ("", "panicked"),
}


def state_of(code: int) -> GuestState:
    return _STATES.get(code, GuestState.UNKNOWN)


def reason_of(code: int, reason: int) -> str:
    reasons = _REASONS.get(code, ())
    return reasons[reason] if 0 <= reason < len(reasons) else ""
