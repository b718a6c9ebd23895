"""The kinds of job that act on a guest's snapshots, settings and devices."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from inventory.acts import devices, rules, settings, snapshots
from operations.kinds import JobKind, register

_SNAPSHOTS = "inventory.acts.snapshots_runner"
_DEVICES = "inventory.acts.devices_runner:run"
KINDS = (
    JobKind(rules.SNAPSHOT_CREATE, partial(snapshots.title, rules.SNAPSHOT_CREATE), f"{_SNAPSHOTS}:create"),
    JobKind(rules.SNAPSHOT_REVERT, partial(snapshots.title, rules.SNAPSHOT_REVERT), f"{_SNAPSHOTS}:revert"),
    JobKind(rules.SNAPSHOT_DELETE, partial(snapshots.title, rules.SNAPSHOT_DELETE), f"{_SNAPSHOTS}:delete"),
    JobKind(rules.SETTINGS, settings.title, "inventory.acts.settings_runner:run"),
    JobKind(rules.MEDIA, devices.media_title, _DEVICES),
    *(
        JobKind(kind, partial(devices.disk_title, kind), _DEVICES)
        for kind in (rules.DISK_ADD, rules.DISK_GROW, rules.DISK_REMOVE)
    ),
    *(
        JobKind(kind, partial(devices.nic_title, kind), _DEVICES)
        for kind in (rules.NIC_ADD, rules.NIC_CHANGE, rules.NIC_REMOVE)
    ),
)


def register_kinds() -> None:
    for kind in KINDS:
        register(replace(kind, on_unclear="hosts.acts:request_reads"))
